/** Time as the machine tells it, in nanoseconds since it started. */

export interface Clock {
  nowNs(): number;
}

/** Stands still unless somebody (the seeded scheduler) moves it. */
export class VirtualClock implements Clock {
  #now = 0;

  nowNs(): number {
    return this.#now;
  }

  /** Moves on to `timeNs`; never back. */
  advanceTo(timeNs: number): void {
    if (timeNs > this.#now) this.#now = timeNs;
  }
}
