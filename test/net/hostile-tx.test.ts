/** What a frontend may not do on the rings that it sends with (NB-* of the catalogue): it loses its own vif, no more. */
import { describe, expect, test } from 'vitest';
import { connectNetfront } from '@ringside/netif';
import {
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  NETTXF_extra_info,
  NETTXF_more_data,
} from '@ringside/netif/abi';
import type { RawFront } from './raw.ts';
import { backPath, frame, until } from './rig.ts';
import { underAttack } from './under-attack.ts';

const more = NETTXF_more_data;
const OK = NETIF_RSP_OKAY;
const ERROR = NETIF_RSP_ERROR;
const scene = underAttack();

/** The statuses of all transmit responses so far. */
async function statuses(front: RawFront, count: number): Promise<number[]> {
  const got: number[] = [];
  await until(scene.net, () => {
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
    const front = await scene.attacker();
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
    await until(scene.net, () => scene.received.length > 0);
    expect(scene.received).toEqual([whole.subarray(0, total)]);
    await front.device.switchState(6);
  });

  test('a packet across the end of the ring, at every place (NB-03)', async () => {
    const front = await scene.attacker();
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
    await until(scene.net, () => scene.received.length >= 200);
    expect(
      scene.received.every((bytes) => Buffer.compare(bytes, whole.subarray(0, 700)) === 0),
    ).toBe(true);
    await front.device.switchState(6);
  });

  test.each([0, 2, 4])('a bad grant in slot %i of five (NB-02, NB-15)', async (bad) => {
    const front = await scene.attacker();
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
    await until(scene.net, () => scene.received.length > 0);
    expect(scene.received).toEqual([whole.subarray(0, 500)]);
    expect(scene.vif.traffic.tx.dropped).toEqual({ 'data not copied': 1 });
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
      const front = await scene.attacker();
      const { ref } = front.grant(whole);
      front.transmit(...requests, { gref: ref, size: 60 });
      expect(await statuses(front, expected.length + 1)).toEqual([...expected, OK]);
      await until(scene.net, () => scene.received.length > 0);
      expect(scene.received).toEqual([whole.subarray(0, 60)]);
      expect(scene.vif.fault).toBeUndefined();
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
    const front = await scene.attacker();
    front.transmit(...requests);
    await until(scene.net, () => scene.vif.fault !== undefined);
    expect(scene.vif.fault).toMatch(fault);
    expect(await scene.net.toolstack.read(`${backPath(scene.net, front.member)}/state`)).toBe('5');
    // The ring is not served any more (NB-16), and it ends as usual.
    front.transmit({ gref: front.grant(whole).ref, size: 60 });
    await front.device.switchState(5);
    await front.device.switchState(6);
    await front.device.waitForOtherEnd([6]);
    expect(scene.received).toEqual([]);
  });
});

test('a guest that broke the protocol may connect anew (NB-16)', async () => {
  const front = await scene.attacker();
  front.transmit({ size: 60, flags: more });
  await until(scene.net, () => scene.vif.fault !== undefined);
  await front.device.switchState(5);
  await front.device.switchState(6);
  await front.device.waitForOtherEnd([6]);
  const again = await connectNetfront({ ...front.member, handle: 0 });
  expect(scene.vif.fault).toBeUndefined();
  again.send(frame(60, 7));
  await until(scene.net, () => scene.received.length === 1);
  expect(scene.received).toEqual([frame(60, 7)]);
  await again.close();
});

describe('indices that cannot be', () => {
  test.each([257, 512, 2 ** 31, 2 ** 32 - 1, 2 ** 32 - 5])(
    'req_prod of tx ahead by %d (NB-01)',
    async (ahead) => {
      const front = await scene.attacker();
      front.tx.shared.reqProd = ahead;
      front.port.notify();
      await until(scene.net, () => scene.vif.fault !== undefined);
      expect(scene.vif.fault).toMatch(/req_prod overflow/);
    },
  );

  test.each([257, 10_000, 2 ** 32 - 5])('req_prod of rx ahead by %d (NB-25)', async (ahead) => {
    const front = await scene.attacker();
    front.rx.shared.reqProd = ahead;
    scene.honest[0].send(frame(60));
    await until(scene.net, () => scene.vif.fault !== undefined);
    expect(scene.vif.fault).toMatch(/req_prod overflow/);
  });

  test.each([257, 300, 2 ** 32 - 5])('rsp_prod of tx-flip ahead by %d', async (ahead) => {
    const front = await scene.attacker({ txFlip: true });
    await until(scene.net, () => front.txFlip!.shared.reqProd === 256);
    front.txFlip!.shared.rspProd = ahead;
    front.port.notify();
    await until(scene.net, () => scene.vif.fault !== undefined);
    expect(scene.vif.fault).toMatch(/rsp_prod overflow/);
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
      const front = await scene.attacker({ txFlip: true });
      const ring = front.txFlip!;
      await until(scene.net, () => ring.hasUnconsumedRequests);
      ring.drainRequests(1);
      ring.put({ id: 0, offset: 0, flags: 0, ...answer });
      ring.pushResponses();
      front.port.notify();
      await until(scene.net, () => ring.shared.reqProd === 257);
      expect(scene.vif.traffic.tx.dropped).toEqual({ [reason]: 1 });
      expect(scene.vif.fault).toBeUndefined();
      await front.device.switchState(6);
    },
  );
});
