/** What comes out of a ring: private copies of the slots, or the news that the other end lies. */
import type { RingFault } from './ring-fault.ts';

/**
 * Private copies of one or more slots, in ring order. The objects and the array belong to the ring and are good until
 * its next drain: keep what you need of them.
 */
export interface Batch<T> {
  readonly items: readonly T[];
  /** `items.length`. */
  readonly count: number;
}

/** A batch, perhaps empty; with a fault it is always empty, and nothing was consumed. */
export interface Drained<T> extends Batch<T> {
  readonly fault: RingFault | undefined;
}

/** The one Drained of a ring end, filled anew by every drain; its objects are made the first time they are needed. */
export class DrainBuffer<T> implements Drained<T> {
  readonly items: T[] = [];
  count = 0;
  fault: RingFault | undefined;
  readonly #pool: T[] = [];
  readonly #make: () => T;

  constructor(make: () => T) {
    this.#make = make;
  }

  /** Makes it hold `count` objects, whose contents the caller overwrites. */
  hold(count: number): this {
    const { items } = this;
    const pool = this.#pool;
    while (pool.length < count) pool.push(this.#make());
    if (items.length > count) items.length = count;
    for (let i = items.length; i < count; i++) items.push(pool[i] as T);
    this.count = count;
    this.fault = undefined;
    return this;
  }

  refuse(fault: RingFault): this {
    this.hold(0);
    this.fault = fault;
    return this;
  }
}
