/** How vifs begin and end: modes, agreement, close from either side, reconnection, death; nothing is left behind. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { destroyDomain } from '@ringside/gnttab-core';
import {
  broadcastMac,
  connectNetfront,
  NET_TRACE,
  NetfrontError,
  startNetback,
  type Modes,
  type NetbackOptions,
} from '@ringside/netif';
import {
  attach,
  backPath,
  collect,
  frame,
  frontPath,
  network,
  resources,
  rig,
  until,
  type Network,
} from './rig.ts';

const allModes = (['flip', 'copy'] as const).flatMap((rx) =>
  (['flip', 'copy'] as const).map((tx) => ({ rx, tx })),
);

describe('agreement', () => {
  test.each<[string, Partial<Modes>, NetbackOptions['offer'], Modes | RegExp]>([
    ['flip where both can', {}, {}, { rx: 'flip', tx: 'flip' }],
    [
      'copy where the backend cannot flip',
      {},
      { rxFlip: false, txFlip: false },
      { rx: 'copy', tx: 'copy' },
    ],
    ['what the frontend asks for', { rx: 'copy', tx: 'flip' }, {}, { rx: 'copy', tx: 'flip' }],
    [
      'no flip on demand if it is not offered',
      { tx: 'flip' },
      { txFlip: false },
      /cannot send by flip, possible is copy/,
    ],
    [
      'no copy on demand if it is not offered',
      { rx: 'copy' },
      { rxCopy: false },
      /cannot receive by copy, possible is flip/,
    ],
    ['nothing offered', {}, { rxCopy: false, rxFlip: false }, /possible is nothing/],
  ])('%s', async (_name, wanted, offer, outcome) => {
    const net = await rig({ seed: 5 });
    const netback = startNetback({ ...net.driver, offer: offer ?? {} });
    const member = net.guests[0];
    await attach(net, member);
    const connecting = connectNetfront({ ...member, handle: 0, ...wanted });
    if (outcome instanceof RegExp) {
      await expect(connecting).rejects.toThrow(NetfrontError);
      await expect(connecting).rejects.toThrow(outcome);
    } else {
      const front = await connecting;
      expect(front.modes).toEqual(outcome);
      expect(netback.vifs.get(`backend/vif/${member.guest.id}/0`)!.modes).toEqual(outcome);
      expect(front.mac).toBe(`00:16:3e:00:00:0${member.guest.id}`);
      await front.close();
    }
    await netback.close();
  });

  test('translated guests copy: they cannot name a frame to give away', async () => {
    const net = await network({}, { seed: 5, guestType: 'translated' });
    const [a, b] = net.fronts;
    expect(a.modes).toEqual({ rx: 'copy', tx: 'copy' });
    const received = collect(b);
    const frames = [60, 1514, 9000, 65_535].map((size) => frame(size, 1));
    await a.sendAll(frames);
    await until(net, () => received.length === frames.length);
    expect(received).toEqual(frames);
    for (const front of net.fronts) await front.close();
    await net.netback.close();
    expect(resources(net)).toEqual(resources(await rig({ seed: 5, guestType: 'translated' })));
  });

  test('both ends publish what io/netif.h and its history ask for', async () => {
    const net = await network({}, { seed: 5 });
    const { toolstack, guests } = net;
    const keysOf = async (path: string) => {
      const names = await toolstack.directory(path);
      const values = await Promise.all(names.map((name) => toolstack.read(`${path}/${name}`)));
      return Object.fromEntries(names.map((name, i) => [name, values[i]]));
    };
    expect(await keysOf(backPath(net, guests[0]))).toMatchObject({
      'feature-rx-copy': '1',
      'feature-rx-flip': '1',
      'feature-tx-flip': '1',
      'feature-sg': '1',
      state: '4',
    });
    expect(await keysOf(frontPath(guests[0]))).toMatchObject({
      'tx-ring-ref': expect.stringMatching(/^\d+$/) as string,
      'rx-ring-ref': expect.stringMatching(/^\d+$/) as string,
      'tx-flip-ring-ref': expect.stringMatching(/^\d+$/) as string,
      'event-channel': expect.stringMatching(/^\d+$/) as string,
      'request-rx-copy': '0',
      'feature-rx-notify': '1',
      'feature-sg': '1',
      state: '4',
    });
  });
});

describe('what the user of a vif sees', () => {
  test.each([true, false])(
    'keepFrames %s: whether frames are good after the emission',
    async (keepFrames) => {
      const net = await rig({ seed: 29 });
      const netback = startNetback(net.driver);
      for (const member of net.guests) await attach(net, member);
      const sender = await connectNetfront({ ...net.guests[0], handle: 0 });
      const receiver = await connectNetfront({ ...net.guests[1], handle: 0, keepFrames });
      const [kept, marks]: [Uint8Array[], number[]] = [[], []];
      receiver.packets$.subscribe((frames) => {
        kept.push(...frames);
        marks.push(...frames.map((bytes) => bytes[11]!));
      });
      for (let mark = 0; mark < 5; mark++) {
        sender.send(frame(60, mark));
        await until(net, () => kept.length > mark);
      }
      expect(marks).toEqual([0, 1, 2, 3, 4]);
      expect(kept.map((bytes) => bytes[11])).toEqual(keepFrames ? marks : [4, 4, 4, 4, 4]);
      await netback.close();
    },
  );

  test('counts come after each piece of work, and both streams end with the connection', async () => {
    const net = await network({}, { seed: 31 });
    const [a, b] = net.fronts;
    const seen: number[] = [];
    const ended: string[] = [];
    b.stats$.subscribe({
      next: ({ rx }) => seen.push(rx.frames),
      complete: () => ended.push('stats$'),
    });
    b.packets$.subscribe({ complete: () => ended.push('packets$') });
    await a.sendAll(Array.from({ length: 600 }, (_, i) => frame(60, i)));
    await until(net, () => seen.at(-1) === 600);
    expect(seen.every((frames, i) => i === 0 || frames >= seen[i - 1]!)).toBe(true);
    await b.close();
    expect(ended).toEqual(['packets$', 'stats$']);
    await expect(b.closed).resolves.toBeUndefined();
  });

  test('a guest without memory receives as soon as it has some (NF-17)', async () => {
    const net = await rig({ seed: 41 });
    const netback = startNetback(net.driver);
    for (const member of net.guests) await attach(net, member);
    const { memory } = net.guests[1].guest;
    const hoard = Array.from({ length: memory.freeCount - 2 }, () => memory.allocPage());
    const sender = await connectNetfront({ ...net.guests[0], handle: 0 });
    const receiver = await connectNetfront({ ...net.guests[1], handle: 0, rx: 'copy', tx: 'copy' });
    const received = collect(receiver);
    sender.send(frame(60, 1));
    await net.machine.scheduler.sleep(5e7);
    expect([memory.freeCount, received.length]).toEqual([0, 0]);
    expect(receiver.send(frame(60, 2))).toMatchObject({ reason: 'no memory' });
    memory.freePages(hoard);
    await until(net, () => received.length === 1);
    expect(received).toEqual([frame(60, 1)]);
    await netback.close();
  });

  test('the trace tells the way of a packet', async () => {
    const net = await network({}, { seed: 43 });
    const [a] = net.fronts;
    const [first, second] = [net.guests[0].guest.id, net.guests[1].guest.id];
    const { trace } = net.machine;
    const start = trace.written;
    trace.enabled = true;
    await a.sendAll([frame(5000, 1)]);
    await until(net, () => net.fronts[1].stats().rx.frames === 1);
    trace.enabled = false;
    const known = new Set<number>(Object.values(NET_TRACE));
    const way = trace
      .records(start)
      .filter(({ kind }) => known.has(kind))
      .map(({ name, domid, args }) => [name, domid, ...Object.values(args)]);
    const driver = net.driver.guest.id;
    expect(way).toEqual([
      ['netfront_sent', first, first, 0, 5000, 2],
      ['netback_took', driver, first, 0, 5000, 2],
      ['netback_delivered', driver, second, 0, 5000, 2],
      ['netfront_received', second, second, 0, 5000, 2],
    ]);
  });

  test('a full ring says so, and room is made while one waits for it', async () => {
    const net = await network({ tx: 'copy' }, { seed: 37 });
    const [a] = net.fronts;
    let sent = 0;
    while (a.send(frame(60, sent)) === 'sent') sent++;
    expect(sent).toBe(256);
    await a.room();
    expect(a.send(frame(60, sent))).toBe('sent');
  });
});

describe.each(allModes)('rx by $rx, tx by $tx', (modes) => {
  test('both directions at once, unicast between learned addresses', async () => {
    const net = await network(modes, { seed: 11 });
    const [a, b] = net.fronts;
    const [toA, toB] = [collect(a), collect(b)];
    const count = 2000;
    // The first frames teach the bridge; from then on nothing is flooded.
    a.send(frame(60, 1, broadcastMac));
    b.send(frame(60, 2, broadcastMac));
    await until(net, () => toA.length === 1 && toB.length === 1);
    const [macA, macB] = [0x020000000001, 0x020000000002];
    const sizes = Array.from({ length: count }, (_, i) => 60 + ((i * 37) % 9000));
    const send = async (front: typeof a, mark: number, to: number) =>
      front.sendAll(sizes.map((size) => frame(size, mark, to)));
    await Promise.all([send(a, 1, macB), send(b, 2, macA)]);
    await until(net, () => toA.length > count && toB.length > count);
    expect(
      toB.slice(1).every((bytes, i) => Buffer.compare(bytes, frame(sizes[i]!, 1, macB)) === 0),
    ).toBe(true);
    expect(
      toA.slice(1).every((bytes, i) => Buffer.compare(bytes, frame(sizes[i]!, 2, macA)) === 0),
    ).toBe(true);
    expect(net.netback.bridge.counters).toMatchObject({ flooded: 2, forwarded: 2 * count });
  });

  test('a broadcast reaches every other vif once', async () => {
    const net = await network(modes, { seed: 11 });
    const member = net.guests[0];
    await attach(net, member, 1);
    const third = await connectNetfront({ ...member, handle: 1, ...modes });
    const received = [...net.fronts, third].map(collect);
    await net.fronts[0].sendAll([60, 5000, 65_535].map((size) => frame(size, 1)));
    await until(net, () => received[1]!.length === 3 && received[2]!.length === 3);
    expect(received.map((frames) => frames.map(({ length }) => length))).toEqual([
      [],
      [60, 5000, 65_535],
      [60, 5000, 65_535],
    ]);
    expect(received[1]).toEqual(received[2]);
  });

  test('close and connect again, ten times: nothing is left behind', async () => {
    const net = await network(modes, { seed: 13 });
    const [a, b] = net.fronts;
    const member = net.guests[0];
    await a.close();
    const closedOnce = resources(net);
    for (let i = 0; i < 10; i++) {
      const front = await connectNetfront({ ...member, handle: 0, ...modes });
      const received = collect(front);
      await b.sendAll(Array.from({ length: 40 }, () => frame(3000, i)));
      await front.sendAll(Array.from({ length: 40 }, () => frame(3000, i)));
      await until(net, () => received.length === 40);
      await front.close();
      expect(resources(net)[1]).toEqual(closedOnce[1]);
    }
    await b.close();
    const pool = net.netback.bridge.packets.frames;
    expect(pool.lent).toBe(0);
    await net.netback.close();
    expect(pool.pages).toBe(0);
    expect(resources(net)).toEqual(resources(await rig({ seed: 13 })));
  });

  test('the guest dies with traffic under way: the backend lets go, the others live', async () => {
    const net = await network(modes, { seed: 17 });
    const [a, b] = net.fronts;
    for (let i = 0; i < 100; i++) {
      a.send(frame(9000, i));
      b.send(frame(9000, i));
    }
    const { guest } = net.guests[0];
    destroyDomain(guest.domain);
    await net.toolstack.rm(frontPath(net.guests[0]));
    await net.toolstack.rm(backPath(net, net.guests[0]));
    await until(net, () => net.netback.vifs.size === 1);
    const { sent } = await b.sendAll([frame(60, 1)]);
    expect(sent).toBe(1);
    await b.close();
    expect(net.netback.bridge.packets.frames.lent).toBe(0);
    await net.netback.close();
    const [driver] = resources(await rig({ seed: 17 }));
    expect(resources(net)[0]).toEqual(driver);
  });

  test('the backend goes with traffic under way: the guests get everything back', async () => {
    const net = await network(modes, { seed: 19 });
    const [a, b] = net.fronts;
    for (let i = 0; i < 100; i++) {
      a.send(frame(9000, i));
      b.send(frame(9000, i));
    }
    await net.netback.close();
    expect(await Promise.all([a.closed, b.closed])).toEqual([
      'the backend closed the connection',
      'the backend closed the connection',
    ]);
    expect(resources(net)).toEqual(resources(await rig({ seed: 19 })));
  });

  test('the toolstack unplugs a vif: online 0, state Closing', async () => {
    const net = await network(modes, { seed: 23 });
    const back = backPath(net, net.guests[0]);
    await net.toolstack.transaction(async (tx) => {
      await tx.write(`${back}/online`, '0');
      await tx.write(`${back}/state`, '5');
    });
    expect(await net.fronts[0].closed).toBe('the backend closed the connection');
    expect(await net.toolstack.read(`${back}/state`)).toBe('6');
  });

  test('frames in are frames out and frames dropped, whatever is sent and whenever it ends', async () => {
    const plan = fc.record({
      seed: fc.nat(1000),
      sizes: fc.array(fc.integer({ min: 1, max: 70_000 }), { maxLength: 60 }),
      closeAfterNs: fc.nat(2e5),
    });
    await fc.assert(
      fc.asyncProperty(plan, async ({ seed, sizes, closeAfterNs }) => {
        const net: Network = await network(modes, { seed });
        const [a, b] = net.fronts;
        const received = collect(b);
        const ending = net.machine.scheduler.sleep(closeAfterNs).then(() => b.close());
        const { sent, refused } = await a.sendAll(
          sizes.map((size, i) => frame(Math.max(size, 12), i)),
        );
        await ending;
        await a.close();
        expect(sent + refused.length).toBe(sizes.length);
        expect(refused.map(({ lengthBytes }) => lengthBytes)).toEqual(
          sizes.map((size) => Math.max(size, 12)).filter((size) => size < 14 || size > 65_535),
        );
        const [in1, in2] = [...net.netback.vifs.values()].map(({ traffic }) => traffic);
        expect(a.stats().tx.frames + a.stats().tx.droppedFrames).toBe(sent);
        const filtered = net.netback.bridge.counters.filtered;
        expect(in1!.tx.frames).toBe(in2!.rx.frames + in2!.rx.droppedFrames + filtered);
        expect(in2!.rx.frames).toBe(b.stats().rx.frames + b.stats().rx.droppedFrames);
        expect(received.length).toBe(b.stats().rx.frames);
        await net.netback.close();
        expect(resources(net)).toEqual(resources(await rig({ seed })));
      }),
      { numRuns: 6 },
    );
  });
});
