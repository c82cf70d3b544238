/** What a backend may not do to a frontend (NF-* of the catalogue of attacks): the guest loses that device only. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { connectNetfront, type Modes, type Netfront } from '@ringside/netif';
import {
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETRXF_extra_info,
  NETRXF_more_data,
} from '@ringside/netif/abi';
import { grantRef, type ForeignMapping } from '@ringside/gnttab-core';
import { rawBack, type RawBack } from './raw.ts';
import { attach, collect, frame, frontPath, resources, rig, until, type Rig } from './rig.ts';

const more = NETRXF_more_data;

let net: Rig;
let front: Netfront;
let back: RawBack;
let received: Uint8Array[];
let baseline: ReturnType<typeof resources>;

/** A frontend (both ways by copy unless said otherwise) and the backend in our hands. */
async function connect(modes: Partial<Modes> = { rx: 'copy', tx: 'copy' }): Promise<void> {
  const member = net.guests[0];
  await attach(net, member);
  const hand = rawBack(net, member);
  front = await connectNetfront({ ...member, handle: 0, closeNs: 1e8, ...modes });
  back = await hand;
  received = collect(front);
  if (modes.tx !== 'flip') await until(net, () => back.rx.unconsumedRequests === 256);
}

beforeEach(async () => {
  net = await rig({ seed: 3 });
  baseline = resources(net);
});

/** Whatever happened: sending says so, closing works, twice, and everything is back. */
async function theGuestLivesOn(): Promise<void> {
  await front.close();
  await front.close();
  expect(front.send(frame(60))).toMatchObject({ reason: 'disconnected' });
  for (const mapping of back.mappings) mapping.unmap();
  const [, after] = resources(net);
  const kept = front.deferredPages;
  expect({ ...after, free: after!.free + kept, refs: 0 }).toEqual({ ...baseline[1]!, refs: 0 });
}
afterEach(theGuestLivesOn);

/** Copies bytes into the page of the next receive request of the frontend; answers nothing. */
function fill(bytes: Uint8Array): void {
  const { gref } = back.rx.drainRequests(1).items[0]!;
  const { guest } = net.driver;
  const mapping = guest.mappings.map(net.guests[0].guest.id, grantRef(gref));
  guest.memory.write(mapping.va, bytes);
  mapping.unmap();
}

const broken = async (): Promise<string | undefined> => front.closed;

describe('tx responses', () => {
  test.each([
    ['out of range (NF-02)', 256],
    ['far out of range (NF-02)', 65_535],
    ['never sent (NF-02)', 7],
  ])('an id %s breaks the device', async (_name, id) => {
    await connect();
    front.send(frame(60));
    await until(net, () => back.tx.unconsumedRequests === 1);
    back.tx.drainRequests();
    back.answerTx({ id, status: 0 });
    expect(await broken()).toMatch(`id ${id}, which is not in flight`);
  });

  test('the same id twice breaks the device (NF-02)', async () => {
    await connect();
    front.send(frame(60));
    front.send(frame(60));
    await until(net, () => back.tx.unconsumedRequests === 2);
    const { id } = back.tx.drainRequests().items[0]!;
    back.answerTx({ id, status: 0 }, { id, status: 0 });
    expect(await broken()).toMatch('not in flight');
  });

  test.each([1, 257, 2 ** 31, 2 ** 32 - 1])(
    'rsp_prod ahead by %d breaks the device (NF-01)',
    async (ahead) => {
      await connect();
      back.tx.shared.rspProd = ahead;
      back.port.notify();
      expect(await broken()).toMatch('rsp_prod overflow');
    },
  );

  test('a grant that is answered and still mapped breaks the device; its page is kept (NF-03, NF-11)', async () => {
    await connect();
    front.send(frame(60));
    await until(net, () => back.tx.unconsumedRequests === 1);
    const { gref, id } = back.tx.drainRequests().items[0]!;
    const kept: ForeignMapping = net.driver.guest.mappings.map(
      net.guests[0].guest.id,
      grantRef(gref),
      {
        readonly: true,
      },
    );
    back.answerTx({ id, status: 0 });
    expect(await broken()).toMatch('still in use');
    expect(front.deferredPages).toBeGreaterThan(0);
    kept.unmap();
  });

  test('error, dropped and null statuses: released and counted (NF-23)', async () => {
    await connect();
    for (let i = 0; i < 5; i++) front.send(frame(60));
    await until(net, () => back.tx.unconsumedRequests === 5);
    const ids = back.tx.drainRequests().items.map(({ id }) => id);
    const answers = [NETIF_RSP_ERROR, -2, NETIF_RSP_NULL, 127, 0];
    back.answerTx(...answers.map((status, i) => ({ id: ids[i]!, status })));
    await until(net, () => front.stats().inFlight === 0);
    expect(front.stats().tx).toMatchObject({ frames: 1, dropped: { 'error status': 3 } });
  });

  test('ids are unique in flight, whatever the order of the answers (NF-19)', async () => {
    await connect();
    const inFlight: number[] = [];
    for (let round = 0; round < 400; round++) {
      while (front.send(frame(60)) === 'sent');
      const requests = back.tx.drainRequests().items.map(({ id }) => id);
      inFlight.push(...requests);
      expect(new Set(inFlight).size).toBe(inFlight.length);
      const answered = inFlight.splice(
        net.machine.random.below(200),
        1 + net.machine.random.below(56),
      );
      back.answerTx(...answered.map((id) => ({ id, status: 0 })));
      await front.room();
    }
  });

  test('what is granted holds the packet and nothing else, also on a used page (NF-10, NF-20)', async () => {
    const { memory } = net.guests[0].guest;
    const all = memory.allocPages(1024);
    for (const { va } of all) memory.write(va, new Uint8Array(4096).fill(0xa5));
    memory.freePages(all);
    await connect();
    for (const lengthBytes of [1500, 60, 4200, 42]) {
      front.send(frame(lengthBytes, 1));
      await until(net, () => back.tx.hasUnconsumedRequests);
      for (const { gref, id, size } of back.tx.drainRequests().items) {
        const { guest } = net.driver;
        const mapping = guest.mappings.map(net.guests[0].guest.id, grantRef(gref), {
          readonly: true,
        });
        const page = new Uint8Array(4096);
        guest.memory.read(mapping.va, page);
        mapping.unmap();
        const inSlot = size > 4096 ? 4096 : size;
        expect(page.subarray(inSlot).every((byte) => byte === 0)).toBe(true);
        back.answerTx({ id, status: 0 });
      }
      await until(net, () => front.stats().inFlight === 0);
    }
  });
});

describe('rx responses', () => {
  const good = frame(80, 9);

  test.each<[string, Parameters<RawBack['answerRx']>, string]>([
    ['an error (NF-04)', [{ status: -1 }], 'error status'],
    ['the least status (NF-04)', [{ status: -32_768 }], 'error status'],
    ['nothing (NF-04)', [{ status: 0 }], 'too short'],
    ['more than a page (NF-04)', [{ status: 4097 }], 'bad fragment'],
    ['a lot more than a page (NF-04)', [{ status: 32_767 }], 'bad fragment'],
    ['over the edge of the page (NF-04)', [{ offset: 4000, status: 97 }], 'bad fragment'],
    ['an offset outside the page (NF-04)', [{ offset: 65_535, status: 60 }], 'bad fragment'],
    [
      'an error in the middle (NF-30)',
      [{ status: 60, flags: more }, { status: -1, flags: more }, { status: 60 }],
      'error status',
    ],
    [
      '19 slots (NF-06)',
      [...Array.from({ length: 18 }, () => ({ status: 60, flags: more })), { status: 60 }],
      'too many slots',
    ],
    [
      'extra info of an unknown type (NF-05)',
      [{ status: 60, flags: NETRXF_extra_info }, { id: 5 }],
      'extra info',
    ],
    ['the header split over slots', [{ status: 13, flags: more }, { status: 60 }], 'split header'],
  ])(
    '%s: dropped and counted; the good packet behind it arrives',
    async (_name, answers, reason) => {
      await connect();
      for (const _ of answers) fill(new Uint8Array(1));
      fill(good);
      back.answerRx(...answers, { status: good.length });
      await until(net, () => received.length > 0);
      expect(received).toEqual([good]);
      expect(front.stats().rx.dropped).toEqual({ [reason]: 1 });
      // As many pages are offered as before (NF-18).
      await until(net, () => back.rx.unconsumedRequests === 256);
    },
  );

  test('more data that does not come: dropped (NF-06)', async () => {
    await connect();
    fill(good);
    back.answerRx({ status: 60, flags: more });
    await until(net, () => front.stats().rx.droppedFrames === 1);
    expect(front.stats().rx.dropped).toEqual({ 'chain broken off': 1 });
  });

  test('a page is found by its slot, whatever id the response has (NF-26)', async () => {
    await connect();
    fill(good);
    back.answerRx({ id: 200, status: good.length });
    await until(net, () => received.length > 0);
    expect(received).toEqual([good]);
  });

  test.each([257, 10_000, 2 ** 31])(
    'rsp_prod ahead by %d breaks the device (NF-01)',
    async (ahead) => {
      await connect();
      back.rx.shared.rspProd = ahead;
      back.port.notify();
      expect(await broken()).toMatch('rsp_prod overflow');
    },
  );

  test('rsp_prod going backwards breaks the device (NF-08)', async () => {
    await connect();
    for (let i = 0; i < 10; i++) {
      fill(good);
      back.rx.put({ id: 0, offset: 0, flags: 0, status: good.length });
    }
    back.answerRx();
    await until(net, () => received.length === 10);
    back.rx.shared.rspProd = 5;
    back.port.notify();
    expect(await broken()).toMatch('rsp_prod overflow');
    expect(received.length).toBe(10);
  });

  test('a page that is answered and still mapped breaks the device; it is kept (NF-03)', async () => {
    await connect();
    const { gref } = back.rx.drainRequests(1).items[0]!;
    const kept = net.driver.guest.mappings.map(net.guests[0].guest.id, grantRef(gref));
    back.answerRx({ status: 60 });
    expect(await broken()).toMatch('still in use');
    expect(front.deferredPages).toBeGreaterThan(0);
    kept.unmap();
  });

  test('by flip: an answer without a frame is dropped, and the page offered anew', async () => {
    await connect({ rx: 'flip', tx: 'copy' });
    back.rx.drainRequests(1);
    back.answerRx({ status: 60 });
    await until(net, () => back.rx.unconsumedRequests === 256);
    expect(front.stats().rx.dropped).toEqual({ 'no frame': 1 });
  });
});

describe('life', () => {
  test('a backend that never answers and never closes: closing is bounded (NF-25)', async () => {
    await connect();
    front.send(frame(60));
    front.send(frame(9000));
    const start = net.machine.clock.nowNs();
    await front.close();
    expect(net.machine.clock.nowNs() - start).toBeLessThan(1e9);
    expect(front.stats().tx.dropped).toEqual({ disconnected: 2 });
  });

  test('a broken device stays broken: frames are refused with number and size (NF-28)', async () => {
    await connect();
    back.rx.shared.rspProd = 10_000;
    back.port.notify();
    await broken();
    expect(front.send(frame(77))).toEqual({
      reason: 'disconnected',
      frameNumber: 0,
      lengthBytes: 77,
    });
    await expect(front.room()).resolves.toBeUndefined();
  });

  test('a frame that no slot can carry is refused with number and size (NF-21)', async () => {
    await connect();
    expect(front.send(frame(60))).toBe('sent');
    expect(front.send(new Uint8Array(65_536))).toEqual({
      reason: 'too long',
      frameNumber: 1,
      lengthBytes: 65_536,
    });
    expect(front.send(new Uint8Array(13))).toEqual({
      reason: 'too short',
      frameNumber: 2,
      lengthBytes: 13,
    });
    expect(front.stats().refused).toEqual({ 'too long': 1, 'too short': 1 });
  });

  test('a device that the toolstack removes ends (NF-29)', async () => {
    await connect();
    await net.toolstack.rm(frontPath(net.guests[0]));
    await net.toolstack.rm(
      `/local/domain/${net.driver.guest.id}/backend/vif/${net.guests[0].guest.id}/0`,
    );
    expect(await front.closed).toMatch('closed the connection');
  });
});
