import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NETRXF_extra_info, NETRXF_more_data, NETTXF_extra_info, NETTXF_more_data } from './abi.ts';
import {
  ethernetHeaderBytes,
  maxPacketBytes,
  readRxChain,
  readTxChain,
  refusals,
  refusalToSend,
  rxFlags,
  SlotChain,
  slotsFor,
  txFlags,
  txSize,
} from './packet.ts';
import type { RefusalReason, RxSlot, TxSlot } from './packet.ts';

const more = NETTXF_more_data;
const tx = (size: number, flags = 0, offset = 0): TxSlot => ({ gref: 0, offset, flags, size });
const rx = (status: number, flags = 0, offset = 0): RxSlot => ({ id: 0, offset, flags, status });
/** An extra info of `type` over a slot. */
const txExtra = (type: number, flags = 0): TxSlot => ({
  ...tx(0xffff, 0xffff),
  gref: 0xabcd0000 | (flags << 8) | type,
});
const rxExtra = (type: number, flags = 0): RxSlot => ({
  ...rx(-1, 0xffff),
  id: (flags << 8) | type,
});
const repeat = <T>(count: number, slot: T): T[] => Array.from({ length: count }, () => slot);

type Outcome = { refused?: RefusalReason; slots: number; sizes?: number[] };

function readTx(slots: TxSlot[], first = 0): Outcome {
  const chain = new SlotChain();
  const refused = readTxChain(slots, slots.length, first, chain);
  if (refused) return { refused, slots: chain.slots };
  const sizes = Array.from({ length: chain.dataSlots }, (_, k) =>
    k === 0 ? chain.firstBytes : slots[chain.dataSlot(k)]!.size,
  );
  expect(sizes.reduce((sum, size) => sum + size)).toBe(chain.totalBytes);
  return { slots: chain.slots, sizes };
}

function readRx(slots: RxSlot[], first = 0): Outcome {
  const chain = new SlotChain();
  const refused = readRxChain(slots, slots.length, first, chain);
  if (refused) return { refused, slots: chain.slots };
  const sizes = Array.from({ length: chain.dataSlots }, (_, k) => slots[chain.dataSlot(k)]!.status);
  expect(sizes.reduce((sum, size) => sum + size)).toBe(chain.totalBytes);
  return { slots: chain.slots, sizes };
}

describe('transmit: slots to packet', () => {
  test.each<[string, TxSlot[], Outcome]>([
    ['empty', [tx(0)], { refused: 'too short', slots: 1 }],
    ['one byte less than a header', [tx(13)], { refused: 'too short', slots: 1 }],
    ['a header alone', [tx(14)], { slots: 1, sizes: [14] }],
    ['one slot', [tx(60)], { slots: 1, sizes: [60] }],
    ['one slot, a whole page', [tx(4096)], { slots: 1, sizes: [4096] }],
    ['one slot at the end of its page', [tx(96, 0, 4000)], { slots: 1, sizes: [96] }],
    [
      'two slots: the first carries the total',
      [tx(5000, more), tx(904)],
      { slots: 2, sizes: [4096, 904] },
    ],
    ['three slots', [tx(300, more), tx(100, more), tx(50)], { slots: 3, sizes: [150, 100, 50] }],
    [
      '18 slots',
      [tx(1800, more), ...repeat(16, tx(100, more)), tx(100)],
      { slots: 18, sizes: repeat(18, 100) },
    ],
    [
      '18 tiny slots (NB-21)',
      [tx(18, more), ...repeat(16, tx(1, more)), tx(1)],
      { slots: 18, sizes: repeat(18, 1) },
    ],
    [
      'the longest packet',
      [tx(65535, more), ...repeat(14, tx(4096, more)), tx(4095)],
      { slots: 16, sizes: [...repeat(15, 4096), 4095] },
    ],
    [
      'slots without data (NB-22)',
      [tx(60, more), tx(0, more), tx(0)],
      { slots: 3, sizes: [60, 0, 0] },
    ],
    ['a first slot without data (NB-22)', [tx(60, more), tx(60)], { slots: 2, sizes: [0, 60] }],
    ['only the first packet is taken', [tx(60), tx(60)], { slots: 1, sizes: [60] }],
    [
      '19 slots',
      [tx(1900, more), ...repeat(17, tx(100, more)), tx(100)],
      { refused: 'too many slots', slots: 19 },
    ],
    [
      '21 slots',
      [tx(2100, more), ...repeat(19, tx(100, more)), tx(100)],
      { refused: 'too many slots', slots: 21 },
    ],
    [
      '22 slots (NB-07)',
      [tx(2200, more), ...repeat(20, tx(100, more)), tx(100)],
      { refused: 'absurdly many slots', slots: 22 },
    ],
    [
      '200 slots',
      [tx(60, more), ...repeat(199, tx(0, more))],
      { refused: 'absurdly many slots', slots: 200 },
    ],
    [
      'partial: more data and no slot',
      [tx(60, more)],
      { refused: 'chain past the producer', slots: 1 },
    ],
    [
      'partial after two slots',
      [tx(60, more), tx(20, more)],
      { refused: 'chain past the producer', slots: 2 },
    ],
    [
      'later slots longer than the packet (NB-08)',
      [tx(60, more), tx(61)],
      { refused: 'sizes do not add up', slots: 2 },
    ],
    [
      'a slot over the edge of its page (NB-09)',
      [tx(60, 0, 4095)],
      { refused: 'slot crosses its page', slots: 1 },
    ],
    [
      'an offset outside the page',
      [tx(14, 0, 0xffff)],
      { refused: 'slot crosses its page', slots: 1 },
    ],
    [
      'a first slot of more than a page',
      [tx(5000, more), tx(100)],
      { refused: 'slot crosses its page', slots: 2 },
    ],
    [
      'a later slot over the edge',
      [tx(60, more), tx(2, 0, 4095)],
      { refused: 'slot crosses its page', slots: 2 },
    ],
    [
      'extra info, which nobody negotiated',
      [tx(60, NETTXF_extra_info), txExtra(1)],
      { refused: 'extra info', slots: 2 },
    ],
    [
      'two extra infos',
      [tx(60, NETTXF_extra_info), txExtra(1, 1), txExtra(4)],
      { refused: 'extra info', slots: 3 },
    ],
    [
      'extra info between two slots',
      [tx(160, NETTXF_extra_info | more), txExtra(2), tx(60), tx(60)],
      { refused: 'extra info', slots: 3 },
    ],
    [
      'extra info of type 0 (NB-10)',
      [tx(60, NETTXF_extra_info), txExtra(0)],
      { refused: 'bad extra info', slots: 2 },
    ],
    [
      'extra info of type 5 (NB-10)',
      [tx(60, NETTXF_extra_info), txExtra(5)],
      { refused: 'bad extra info', slots: 2 },
    ],
    [
      'extra info missing (NB-10)',
      [tx(60, NETTXF_extra_info)],
      { refused: 'chain past the producer', slots: 1 },
    ],
    [
      'extra info without end',
      [tx(60, NETTXF_extra_info), ...repeat(9, txExtra(1, 1))],
      { refused: 'chain past the producer', slots: 10 },
    ],
  ])('%s', (_name, slots, outcome) => {
    expect(readTx(slots)).toEqual(outcome);
  });

  test('the second packet of a batch', () => {
    expect(readTx([tx(60), tx(300, more), tx(100), tx(70)], 1)).toEqual({
      slots: 2,
      sizes: [200, 100],
    });
  });
});

describe('receive: slots to packet', () => {
  const moreRx = NETRXF_more_data;
  test.each<[string, RxSlot[], Outcome]>([
    ['empty', [rx(0)], { refused: 'too short', slots: 1 }],
    ['one slot', [rx(60)], { slots: 1, sizes: [60] }],
    ['one slot, a whole page', [rx(4096)], { slots: 1, sizes: [4096] }],
    [
      'two slots: each carries its own size',
      [rx(4096, moreRx), rx(904)],
      { slots: 2, sizes: [4096, 904] },
    ],
    [
      'three slots',
      [rx(100, moreRx), rx(60, moreRx), rx(50, 0, 40)],
      { slots: 3, sizes: [100, 60, 50] },
    ],
    ['18 slots', [...repeat(17, rx(100, moreRx)), rx(100)], { slots: 18, sizes: repeat(18, 100) }],
    [
      '19 slots (NF-06)',
      [...repeat(18, rx(100, moreRx)), rx(100), rx(60)],
      { refused: 'too many slots', slots: 19 },
    ],
    [
      'more than 65535 bytes',
      [...repeat(16, rx(4096, moreRx)), rx(0)],
      { refused: 'too long', slots: 17 },
    ],
    [
      'partial (NF-06)',
      [rx(100, moreRx), rx(60, moreRx)],
      { refused: 'chain broken off', slots: 2 },
    ],
    ['an error (NF-04)', [rx(-1), rx(60)], { refused: 'error status', slots: 1 }],
    [
      'an error in the middle (NF-30)',
      [rx(60, moreRx), rx(-1, moreRx), rx(60), rx(60)],
      { refused: 'error status', slots: 3 },
    ],
    [
      'a slot over the edge of its page (NF-04)',
      [rx(2, 0, 4095)],
      { refused: 'bad fragment', slots: 1 },
    ],
    ['a slot of more than a page (NF-04)', [rx(4097)], { refused: 'bad fragment', slots: 1 }],
    [
      'an offset outside the page (NF-04)',
      [rx(14, 0, 65535)],
      { refused: 'bad fragment', slots: 1 },
    ],
    [
      'extra info, which nobody negotiated',
      [rx(60, NETRXF_extra_info), rxExtra(1), rx(60)],
      { refused: 'extra info', slots: 2 },
    ],
    [
      'extra info of unknown type (NF-05)',
      [rx(60, NETRXF_extra_info | moreRx), rxExtra(5, 1), rxExtra(1), rx(60), rx(60)],
      { refused: 'extra info', slots: 4 },
    ],
    [
      'extra info missing (NF-05)',
      [rx(60, NETRXF_extra_info)],
      { refused: 'chain broken off', slots: 1 },
    ],
  ])('%s', (_name, slots, outcome) => {
    expect(readRx(slots)).toEqual(outcome);
  });
});

test.each<[string, number, number, boolean, RefusalReason | undefined]>([
  ['nothing', 0, 0, true, 'too short'],
  ['less than a header', 13, 1, true, 'too short'],
  ['a header', 14, 1, false, undefined],
  ['more than a page with feature-sg', 4097, 2, true, undefined],
  ['more than a page without', 4097, 2, false, 'one slot only'],
  ['the longest', 65535, 16, true, undefined],
  ['one byte longer (NF-21)', 65536, 16, true, 'too long'],
  ['19 fragments (NF-21)', 1900, 19, true, 'too many slots'],
])('may be sent: %s', (_name, lengthBytes, slots, scatterGather, outcome) => {
  expect(refusalToSend(lengthBytes, slots, scatterGather)).toBe(outcome);
});

test.each([
  [0, 0],
  [1, 1],
  [4096, 1],
  [4097, 2],
  [maxPacketBytes, 16],
])('%i bytes are stored in %i slots', (lengthBytes, slots) => {
  expect(slotsFor(lengthBytes)).toBe(slots);
});

/** Fragments of a packet that may be sent. */
const fragments = fc
  .array(fc.integer({ min: 0, max: 4096 }), { minLength: 1, maxLength: 18 })
  .filter((sizes) => {
    const total = sizes.reduce((sum, size) => sum + size);
    return total >= ethernetHeaderBytes && total <= maxPacketBytes;
  });

test('any packets that may be sent come out as they went in, both ways', () => {
  fc.assert(
    fc.property(fc.array(fragments, { minLength: 1, maxLength: 5 }), (packets) => {
      const txSlots: TxSlot[] = [];
      const rxSlots: RxSlot[] = [];
      for (const sizes of packets) {
        const total = sizes.reduce((sum, size) => sum + size);
        sizes.forEach((size, k) => {
          txSlots.push(tx(txSize(k, size, total), txFlags(k, sizes.length)));
          rxSlots.push(rx(size, rxFlags(k, sizes.length)));
        });
      }
      let first = 0;
      for (const sizes of packets) {
        expect(readTx(txSlots, first)).toEqual({ slots: sizes.length, sizes });
        expect(readRx(rxSlots, first)).toEqual({ slots: sizes.length, sizes });
        first += sizes.length;
      }
    }),
    { numRuns: 200 },
  );
});

test('any slots at all are taken or refused, and every one is accounted for', () => {
  const u16 = fc.integer({ min: 0, max: 0xffff });
  const txSlot = fc.record({ gref: u16, offset: u16, flags: u16, size: u16 });
  const rxSlot = fc.record({
    id: u16,
    offset: u16,
    flags: u16,
    status: fc.integer({ min: -0x8000, max: 0x7fff }),
  });
  const chain = new SlotChain();
  fc.assert(
    fc.property(
      fc.array(txSlot, { maxLength: 60 }),
      fc.array(rxSlot, { maxLength: 60 }),
      (sent, received) => {
        let at = 0;
        while (at < sent.length) {
          const refused = readTxChain(sent, sent.length, at, chain);
          expect(chain.slots).toBeGreaterThan(0);
          if (refused && refusals[refused].severity === 'fatal')
            expect(at + chain.slots).toBe(sent.length);
          at += chain.slots;
        }
        expect(at).toBe(sent.length);
        for (at = 0; at < received.length; at += chain.slots) {
          const refused = readRxChain(received, received.length, at, chain);
          expect(chain.slots).toBeGreaterThan(0);
          if (refused) expect(refusals[refused].severity).toBe('drop');
        }
        expect(at).toBe(received.length);
      },
    ),
    { numRuns: 300 },
  );
});
