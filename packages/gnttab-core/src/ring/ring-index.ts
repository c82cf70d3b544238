/**
 * Ring indices (RING_IDX of io/ring.h): free-running unsigned 32-bit counters. They are never reduced to the size of
 * the ring; an index names slot `index & (size - 1)`, and the difference of two indices is right across the wrap.
 * All arithmetic of the project on such indices is here.
 */

import { sring } from './sring.ts';

/** An unsigned 32-bit counter: 0 to 2^32 - 1. */
export type RingIndex = number;

/** A 32-bit word of memory as an index (`Atomics.load` of an `Int32Array` is signed). */
export const ringIndex = (word: number): RingIndex => word >>> 0;

/** The index `count` after `index`. */
export const add = (index: RingIndex, count: number): RingIndex => (index + count) >>> 0;

/** How many steps lead forward from `from` to `to`: 0 to 2^32 - 1. Going back by one is 2^32 - 1 forward. */
export const distance = (from: RingIndex, to: RingIndex): number => (to - from) >>> 0;

/** The slot that an index names; `size` is a power of two. */
export const slotOf = (index: RingIndex, size: number): number => index & (size - 1);

/**
 * Whether moving a producer index from `before` to `after` reached or passed `event`, the index at which the
 * other end asked to be notified: the comparison in RING_PUSH_*_AND_CHECK_NOTIFY.
 */
export const needsNotify = (before: RingIndex, after: RingIndex, event: RingIndex): boolean =>
  distance(event, after) < distance(before, after);

/** `__RING_SIZE`: slots of `slotBytes` in a ring of `sizeBytes`, rounded down to a power of two; 0 if none fits. */
export function ringSize(slotBytes: number, sizeBytes: number): number {
  const fitting = Math.floor((sizeBytes - sring.size) / slotBytes);
  return fitting < 1 ? 0 : 2 ** (31 - Math.clz32(fitting));
}

/** Where the slot of `index` starts, in bytes from the start of the ring: `RING_GET_REQUEST`, `RING_GET_RESPONSE`. */
export const slotOffsetBytes = (index: RingIndex, size: number, slotBytes: number): number =>
  sring.size + slotBytes * slotOf(index, size);
