import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  add,
  distance,
  needsNotify,
  ringIndex,
  ringSize,
  slotOf,
  slotOffsetBytes,
} from './ring-index.ts';

fc.configureGlobal({ seed: 7 });

const index = fc.integer({ min: 0, max: 0xffff_ffff });

describe('RING_IDX arithmetic', () => {
  it('reads a word of memory as unsigned', () => {
    expect(ringIndex(-1)).toBe(0xffff_ffff);
    expect(ringIndex(7)).toBe(7);
  });

  it.each([
    [0, 1, 1],
    [0xffff_ffff, 1, 0],
    [0xffff_fff0, 100, 84],
    [0, 0xffff_ffff, 0xffff_ffff],
  ])('the index %i steps on: + %i = %i', (from, count, to) => {
    expect(add(from, count)).toBe(to);
    expect(distance(from, to)).toBe(count);
  });

  it('going back by one is going forward by 2^32 - 1', () => {
    expect(distance(5, 4)).toBe(0xffff_ffff);
  });

  it('distance undoes add, wherever it starts', () => {
    fc.assert(
      fc.property(index, index, (from, count) => distance(from, add(from, count)) === count),
    );
  });

  it('the slot survives the wrap: neighbours in index are neighbours in the ring', () => {
    fc.assert(
      fc.property(index, fc.integer({ min: 0, max: 12 }), (from, order) => {
        const size = 2 ** order;
        expect(slotOf(add(from, 1), size)).toBe((slotOf(from, size) + 1) % size);
      }),
    );
  });

  it('finds slots after the 64 bytes of header', () => {
    expect(slotOffsetBytes(0, 32, 112)).toBe(64);
    expect(slotOffsetBytes(0xffff_ffff, 32, 112)).toBe(64 + 31 * 112);
  });
});

describe('the notification check', () => {
  // The producer moves from 10 to 13: req_event in 11..13 is reached, everything else is not.
  it.each([
    [9, false],
    [10, false],
    [11, true],
    [12, true],
    [13, true],
    [14, false],
    [10 + 2 ** 31, false],
  ])('event %i is reached by 10 -> 13: %s', (event, reached) => {
    expect(needsNotify(10, 13, event)).toBe(reached);
  });

  it('an event is reached by exactly the steps that pass it, across the wrap as anywhere', () => {
    const steps = fc.integer({ min: 0, max: 4096 });
    fc.assert(
      fc.property(index, steps, fc.integer({ min: -5000, max: 5000 }), (before, moved, ahead) => {
        const reached = needsNotify(before, add(before, moved), add(before, ahead));
        expect(reached).toBe(ahead >= 1 && ahead <= moved);
      }),
    );
  });
});

describe('__RING_SIZE', () => {
  it.each([
    [112, 4096, 32],
    [108, 4096, 32],
    [12, 4096, 256],
    [8, 4096, 256],
    [16, 4096, 128],
    [112, 16 * 4096, 512],
    [112, 64 + 111, 0],
    [112, 64 + 112, 1],
    [112, 0, 0],
  ])('slots of %i bytes in %i bytes: %i', (slotBytes, sizeBytes, slots) => {
    expect(ringSize(slotBytes, sizeBytes)).toBe(slots);
  });
});
