/** What a frontend may not do to a backend (NB-* of the catalogue of attacks): it loses its own vif, and nothing else. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { connectNetfront, startNetback, type Netback, type Netfront } from '@ringside/netif';
import {
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  NETTXF_extra_info,
  NETTXF_more_data,
} from '@ringside/netif/abi';
import { rawFront, type RawFront } from './raw.ts';
import { attach, backPath, collect, frame, resources, rig, until, type Rig } from './rig.ts';

const more = NETTXF_more_data;
const OK = NETIF_RSP_OKAY;
const ERROR = NETIF_RSP_ERROR;

let net: Rig;
let netback: Netback;
let honest: [Netfront, Netfront];
let received: Uint8Array[];
let baseline: ReturnType<typeof resources>;

beforeEach(async () => {
  net = await rig({ seed: 1 });
  baseline = resources(net);
  netback = startNetback({ ...net.driver, limitSlots: 32, stallNs: 1e8 });
  const member = net.guests[1];
  const connect = async (handle: number) => {
    await attach(net, member, handle);
    return connectNetfront({ ...member, handle });
  };
  honest = [await connect(0), await connect(1)];
  received = collect(honest[1]);
});

/** The honest vifs of another guest go on, and at the end nothing is left of any vif. */
async function nothingElseIsLost(): Promise<void> {
  const probe = frame(3000, 99);
  received.length = 0;
  expect(honest[0].send(probe)).toBe('sent');
  await until(net, () => received.length > 0);
  expect(received).toEqual([probe]);
  for (const front of honest) await front.close();
  await netback.close();
  expect(resources(net)[0]).toEqual(baseline[0]);
  expect(resources(net)[2]).toEqual(baseline[2]);
}
afterEach(nothingElseIsLost);

const attackerPath = () => `backend/vif/${net.guests[0].guest.id}/0`;
const vif = () => netback.vifs.get(attackerPath())!;
const attacker = (options?: Parameters<typeof rawFront>[2]): Promise<RawFront> =>
  rawFront(net, net.guests[0], options);

/** The statuses of all transmit responses so far. */
async function statuses(front: RawFront, count: number): Promise<number[]> {
  const got: number[] = [];
  await until(net, () => {
    got.push(...front.tx.drainResponses().items.map(({ status }) => status));
    return got.length >= count;
  });
  return got;
}

describe('tx: what is answered, and what is delivered', () => {
  const whole = frame(1800, 5);
  const cut = (count: number, bytes = 100) => Array.from({ length: count }, () => bytes);

  /** Slot sizes of one packet out of `whole`; the first slot's `size` is the total. */
  test.each<[string, number[]]>([
    ['one slot', [60]],
    ['two slots', [100, 200]],
    ['18 slots (NB-07)', cut(18)],
    ['18 tiny slots (NB-21)', cut(18, 1)],
    ['zero-length slots behind (NB-22)', [100, 0, 0]],
    ['zero-length slots between (NB-22)', [20, 0, 40, 0, 40]],
    ['the headers split over slots (NB-19)', [6, 6, 1, 1, 40]],
  ])('%s', async (_name, sizes) => {
    const front = await attacker();
    const { ref } = front.grant(whole);
    const total = sizes.reduce((sum, size) => sum + size);
    let offset = 0;
    front.transmit(
      ...sizes.map((size, k) => {
        const flags = k < sizes.length - 1 ? more : 0;
        const request = { gref: ref, offset, flags, size: k === 0 ? total : size };
        offset += size;
        return request;
      }),
    );
    expect(await statuses(front, sizes.length)).toEqual(sizes.map(() => OK));
    await until(net, () => received.length > 0);
    expect(received).toEqual([whole.subarray(0, total)]);
    await front.device.switchState(6);
  });

  test('a packet across the end of the ring, at every place (NB-03)', async () => {
    const front = await attacker();
    const { ref } = front.grant(whole);
    const slots = 7;
    for (let i = 0; i < 300; i++) {
      const bad = i % 3 === 0;
      for (let k = 0; k < slots; k++) {
        front.tx.put({
          gref: bad && k === 3 ? 77_777 : ref,
          offset: k * 100,
          flags: k < slots - 1 ? more : 0,
          id: k,
          size: k === 0 ? slots * 100 : 100,
        });
      }
      front.tx.pushRequests();
      front.port.notify();
      const expected = Array.from({ length: slots }, () => (bad ? ERROR : OK));
      expect(await statuses(front, slots)).toEqual(expected);
    }
    await until(net, () => received.length >= 200);
    expect(received.every((bytes) => Buffer.compare(bytes, whole.subarray(0, 700)) === 0)).toBe(
      true,
    );
    await front.device.switchState(6);
  });

  test.each([0, 2, 4])('a bad grant in slot %i of five (NB-02, NB-15)', async (bad) => {
    const front = await attacker();
    const { ref } = front.grant(whole);
    const slots = (mark: number) =>
      [0, 1, 2, 3, 4].map((k) => ({
        gref: k === bad ? mark : ref,
        offset: 100 * k,
        flags: k < 4 ? more : 0,
        size: k === 0 ? 500 : 100,
      }));
    front.transmit(...slots(60_000), ...slots(ref));
    expect(await statuses(front, 10)).toEqual([
      ...[0, 1, 2, 3, 4].map(() => ERROR),
      ...[0, 1, 2, 3, 4].map(() => OK),
    ]);
    await until(net, () => received.length > 0);
    expect(received).toEqual([whole.subarray(0, 500)]);
    expect(vif().traffic.tx.dropped).toEqual({ 'data not copied': 1 });
    await front.device.switchState(6);
  });

  test.each<[string, Parameters<RawFront['transmit']>, number[]]>([
    ['shorter than a header (NB-08)', [{ size: 13 }], [ERROR]],
    [
      'later slots longer than the packet (NB-08)',
      [{ size: 60, flags: more }, { size: 61 }],
      [ERROR, ERROR],
    ],
    [
      '19 slots (NB-07)',
      [
        { size: 190, flags: more },
        ...Array.from({ length: 17 }, () => ({ size: 10, flags: more })),
        { size: 10 },
      ],
      Array.from({ length: 19 }, () => ERROR),
    ],
    [
      'extra info that was not negotiated (NB-28)',
      [{ size: 60, flags: NETTXF_extra_info }, { gref: 1 }],
      [ERROR, NETIF_RSP_NULL],
    ],
  ])(
    'dropped, each slot answered, and the next one passes: %s',
    async (_name, requests, expected) => {
      const front = await attacker();
      const { ref } = front.grant(whole);
      front.transmit(...requests, { gref: ref, size: 60 });
      expect(await statuses(front, expected.length + 1)).toEqual([...expected, OK]);
      await until(net, () => received.length > 0);
      expect(received).toEqual([whole.subarray(0, 60)]);
      expect(vif().fault).toBeUndefined();
      await front.device.switchState(6);
    },
  );

  test.each<[string, Parameters<RawFront['transmit']>, RegExp]>([
    ['a slot leaves its page (NB-09)', [{ size: 60, offset: 4095 }], /leaves its page/],
    ['an offset outside the page (NB-09)', [{ size: 14, offset: 0xffff }], /leaves its page/],
    ['a chain past the producer (NB-07)', [{ size: 60, flags: more }], /no request was made/],
    [
      '40 slots (NB-07)',
      [{ size: 60, flags: more }, ...Array.from({ length: 38 }, () => ({ flags: more })), {}],
      /more than 21 slots/,
    ],
    [
      'extra info of type 0 (NB-10)',
      [{ size: 60, flags: NETTXF_extra_info }, { gref: 0 }],
      /unknown type/,
    ],
    [
      'extra info of type 5 (NB-10)',
      [{ size: 60, flags: NETTXF_extra_info }, { gref: 5 }],
      /unknown type/,
    ],
    ['extra info missing (NB-10)', [{ size: 60, flags: NETTXF_extra_info }], /no request was made/],
  ])('fatal: %s', async (_name, requests, fault) => {
    const front = await attacker();
    front.transmit(...requests);
    await until(net, () => vif().fault !== undefined);
    expect(vif().fault).toMatch(fault);
    expect(await net.toolstack.read(`${backPath(net, front.member)}/state`)).toBe('5');
    // The ring is not served any more (NB-16), and it ends as usual.
    front.transmit({ gref: front.grant(whole).ref, size: 60 });
    await front.device.switchState(5);
    await front.device.switchState(6);
    await front.device.waitForOtherEnd([6]);
    expect(received).toEqual([]);
  });
});

test('a guest that broke the protocol may connect anew (NB-16)', async () => {
  const front = await attacker();
  front.transmit({ size: 60, flags: more });
  await until(net, () => vif().fault !== undefined);
  await front.device.switchState(5);
  await front.device.switchState(6);
  await front.device.waitForOtherEnd([6]);
  const again = await connectNetfront({ ...front.member, handle: 0 });
  expect(vif().fault).toBeUndefined();
  again.send(frame(60, 7));
  await until(net, () => received.length === 1);
  expect(received).toEqual([frame(60, 7)]);
  await again.close();
});

describe('indices that cannot be', () => {
  test.each([257, 512, 2 ** 31, 2 ** 32 - 1, 2 ** 32 - 5])(
    'req_prod of tx ahead by %d (NB-01)',
    async (ahead) => {
      const front = await attacker();
      front.tx.shared.reqProd = ahead;
      front.port.notify();
      await until(net, () => vif().fault !== undefined);
      expect(vif().fault).toMatch(/req_prod overflow/);
    },
  );

  test.each([257, 10_000, 2 ** 32 - 5])('req_prod of rx ahead by %d (NB-25)', async (ahead) => {
    const front = await attacker();
    front.rx.shared.reqProd = ahead;
    honest[0].send(frame(60));
    await until(net, () => vif().fault !== undefined);
    expect(vif().fault).toMatch(/req_prod overflow/);
  });

  test.each([257, 300, 2 ** 32 - 5])('rsp_prod of tx-flip ahead by %d', async (ahead) => {
    const front = await attacker({ txFlip: true });
    await until(net, () => front.txFlip!.shared.reqProd === 256);
    front.txFlip!.shared.rspProd = ahead;
    front.port.notify();
    await until(net, () => vif().fault !== undefined);
    expect(vif().fault).toMatch(/rsp_prod overflow/);
  });
});

describe('tx by flip: what a frontend answers', () => {
  test.each([
    ['a frame that it did not hand over', { status: 60 }, 'no frame'],
    ['an error', { status: -1 }, 'error status'],
    ['a slot that leaves its page', { offset: 4000, status: 97 }, 'bad fragment'],
    ['more data that does not come', { status: 60, flags: more }, 'chain broken off'],
  ] as const)(
    '%s: dropped and counted, and its page is offered anew',
    async (_name, answer, reason) => {
      const front = await attacker({ txFlip: true });
      const ring = front.txFlip!;
      await until(net, () => ring.hasUnconsumedRequests);
      ring.drainRequests(1);
      ring.put({ id: 0, offset: 0, flags: 0, ...answer });
      ring.pushResponses();
      front.port.notify();
      await until(net, () => ring.shared.reqProd === 257);
      expect(vif().traffic.tx.dropped).toEqual({ [reason]: 1 });
      expect(vif().fault).toBeUndefined();
      await front.device.switchState(6);
    },
  );
});

describe('rx: pages that a guest offers', () => {
  test('only the packet is written, and nothing behind it (NB-26)', async () => {
    const front = await attacker();
    const { ref, page } = front.grant(new Uint8Array(4096).fill(0xa5));
    front.post(ref);
    const packet = frame(60, 3);
    honest[0].send(packet);
    await until(net, () => front.rx.hasUnconsumedResponses);
    expect(front.rx.drainResponses().items).toEqual([{ id: 0, offset: 0, flags: 0, status: 60 }]);
    const bytes = new Uint8Array(4096);
    net.guests[0].guest.memory.read(page.va, bytes);
    expect(bytes.subarray(0, 60)).toEqual(packet);
    expect(bytes.subarray(60).every((byte) => byte === 0xa5)).toBe(true);
    await front.device.switchState(6);
  });

  test.each([
    ['a reference that is none', () => 60_000],
    ['a page that is read-only', (front: RawFront) => front.grant(new Uint8Array(1), true).ref],
  ])(
    '%s: the slot says error, the packet is lost, the next one passes (NB-23)',
    async (_name, bad) => {
      const front = await attacker();
      front.post(bad(front), front.grant(new Uint8Array(1)).ref);
      honest[0].send(frame(60, 1));
      honest[0].send(frame(60, 2));
      await until(net, () => front.rx.unconsumedResponses === 2);
      expect(front.rx.drainResponses().items.map(({ status }) => status)).toEqual([ERROR, 60]);
      expect(vif().traffic.rx.dropped).toEqual({ 'data not copied': 1 });
      await front.device.switchState(6);
    },
  );

  test('by flip: a reference that accepts nothing loses the packet, not the vif', async () => {
    const front = await attacker({ rxCopy: false });
    front.post(60_000);
    honest[0].send(frame(60, 1));
    await until(net, () => front.rx.hasUnconsumedResponses);
    expect(front.rx.drainResponses().items.map(({ status }) => status)).toEqual([ERROR]);
    expect(vif().traffic.rx.dropped).toEqual({ 'data not transferred': 1 });
    await front.device.switchState(6);
  });

  test('by flip: a page that changes hands holds the packet and nothing else (RG-13)', async () => {
    // Pages that went to and fro with longer packets.
    const toFirst = collect(honest[0]);
    const large = Array.from({ length: 300 }, () => new Uint8Array(4096).fill(0xa5));
    await Promise.all(honest.map((vif) => vif.sendAll(large)));
    await until(net, () => toFirst.length === 300 && received.length === 300);

    const front = await attacker({ rxCopy: false });
    const { grants, memory } = net.guests[0].guest;
    const sizes = [60, 4000, 42, 1500, 60];
    const pages = sizes.map(() => memory.allocPage());
    memory.surrender(pages);
    const refs = pages.map(({ gfn }) => grants.grantForeignTransfer(net.driver.guest.id, gfn));
    front.post(...refs);
    for (const size of sizes) honest[0].send(frame(size, 1));
    await until(net, () => front.rx.unconsumedResponses === sizes.length);
    const { items } = front.rx.drainResponses();
    pages.forEach((page, i) => {
      memory.adopt(page, grants.endForeignTransfer(refs[i]!)!);
      const bytes = new Uint8Array(4096);
      memory.read(page.va, bytes);
      expect(items[i]).toMatchObject({ offset: 0, status: sizes[i] });
      expect(bytes.subarray(0, sizes[i])).toEqual(frame(sizes[i]!, 1));
      expect(bytes.subarray(sizes[i]).every((byte) => byte === 0)).toBe(true);
    });
    await front.device.switchState(6);
  });

  test.each([0, 1])(
    'a guest that offers %i pages for packets of two slots holds others for the stall time only (NB-17, NB-18)',
    async (offered) => {
      const front = await attacker();
      front.post(...Array.from({ length: offered }, () => front.grant(new Uint8Array(1)).ref));
      const start = net.machine.clock.nowNs();
      const { sent } = await honest[0].sendAll(
        Array.from({ length: 500 }, (_, i) => frame(5000, i)),
      );
      await until(net, () => received.length === 500);
      expect(net.machine.clock.nowNs() - start).toBeLessThan(2e8);
      const { frames, dropped } = vif().traffic.rx;
      expect([sent, vif().stalled, frames]).toEqual([500, true, 0]);
      expect(dropped['receiver stalled']).toBe(500 - 16); // 32 slots wait
      // It recovers as soon as it reads.
      front.post(...Array.from({ length: 40 }, () => front.grant(new Uint8Array(1)).ref));
      await until(net, () => !vif().stalled);
      expect(vif().traffic.rx.frames).toBe(16);
      await front.device.switchState(6);
    },
  );

  test('a guest without feature-sg gets packets of one slot only', async () => {
    const front = await attacker({ scatterGather: false });
    front.post(...[1, 2, 3].map(() => front.grant(new Uint8Array(1)).ref));
    await honest[0].sendAll([frame(4096, 1), frame(4097, 2), frame(60, 3)]);
    await until(net, () => front.rx.unconsumedResponses === 2);
    expect(front.rx.drainResponses().items.map(({ status }) => status)).toEqual([4096, 60]);
    expect(vif().traffic.rx.dropped).toEqual({ 'one slot only': 1 });
    await front.device.switchState(6);
  });

  test('a packet that needs more pages than the guest ever offers gives way in the end (NB-18)', async () => {
    const front = await attacker();
    front.post(front.grant(new Uint8Array(1)).ref);
    const small = Array.from({ length: 100 }, (_, i) => frame(60, i));
    await honest[0].sendAll([frame(5000, 1), ...small]);
    await until(net, () => front.rx.hasUnconsumedResponses);
    expect(front.rx.drainResponses().items[0]!.status).toBe(60);
    await front.device.switchState(6);
  });

  test('what waits for a guest that leaves is dropped and counted (NB-30)', async () => {
    const front = await attacker();
    for (let i = 0; i < 5; i++) honest[0].send(frame(60, i));
    await until(net, () => received.length === 5);
    const { traffic } = vif();
    await front.device.switchState(6);
    await front.device.waitForOtherEnd([6]);
    expect(traffic.rx.dropped).toEqual({ disconnected: 5 });
  });
});

describe('the store', () => {
  test.each<[string, Record<string, string>, RegExp]>([
    ['a ring reference that is none', { 'tx-ring-ref': '60000' }, /mapping reference 60000/],
    ['a ring reference that is no number', { 'rx-ring-ref': '-1' }, /rx-ring-ref/],
    ['an event channel of nobody', { 'event-channel': '4000' }, /port 4000/],
    ['no feature-rx-notify', { 'feature-rx-notify': '0' }, /feature-rx-notify/],
    ['a flip ring that cannot be mapped', { 'tx-flip-ring-ref': '60001' }, /reference 60001/],
  ])('%s: not connected, nothing is held (RG-22)', async (_name, keys, fault) => {
    const member = net.guests[0];
    await attach(net, member);
    const { guest, store } = member;
    const pages = guest.memory.allocPages(2);
    const refs = pages.map((page) => guest.grants.grantForeignAccess(net.driver.guest.id, page));
    const port = guest.events.allocUnbound(net.driver.guest.id);
    const all = {
      'tx-ring-ref': String(refs[0]),
      'rx-ring-ref': String(refs[1]),
      'event-channel': String(port.port),
      'request-rx-copy': '1',
      'feature-rx-notify': '1',
      ...keys,
      state: '4',
    };
    for (const [name, value] of Object.entries(all))
      await store.write(`device/vif/0/${name}`, value);
    await until(net, () => vif()?.fault !== undefined);
    expect(vif().fault).toMatch(fault);
    expect(refs.map((ref) => guest.grants.endForeignAccess(ref))).toEqual(['ended', 'ended']);
  });

  test('states written at full speed, senseless ones too (NB-32)', async () => {
    const { mappings } = net.driver.guest;
    const before = mappings.live;
    const front = await attacker();
    const { store } = front.member;
    const writes: Promise<void>[] = [];
    for (let i = 0; i < 200; i++) {
      const state = ['1', '2', '3', '4', '5', '6', '99', 'abc', ''][net.machine.random.below(9)]!;
      writes.push(store.write('device/vif/0/state', state));
    }
    await Promise.all(writes);
    await store.write('device/vif/0/state', '6');
    await until(net, () => mappings.live === before);
    expect(vif().modes).toBeUndefined();
  });
});
