/** Address space for mappings of other frames: runs of pages beyond the guest's own memory, handed out and reused. */
import { GuestMemoryError } from './errors.ts';

/** The windows of one guest's address space. Addresses are bytes, and multiples of 4096. */
export class WindowAllocator {
  #next: number;
  readonly #end: number;
  /** Runs given back, by their length: a ring or a batch has the same length again. */
  readonly #free = new Map<number, number[]>();

  /** Hands out addresses from `start` up to `end`. */
  constructor(start: number, end: number) {
    this.#next = start;
    this.#end = end;
  }

  /** Address of `pages` neighbouring pages that nobody uses. Throws GuestMemoryError. */
  alloc(pages: number): number {
    const again = this.#free.get(pages)?.pop();
    if (again !== undefined) return again;
    const va = this.#next;
    if (va + pages * 4096 > this.#end) {
      throw new GuestMemoryError(`no room in the address space for ${pages} mapped pages`);
    }
    this.#next = va + pages * 4096;
    return va;
  }

  /** Gives a run back. Nothing is mapped there any more. */
  free(va: number, pages: number): void {
    const runs = this.#free.get(pages);
    if (runs === undefined) this.#free.set(pages, [va]);
    else runs.push(va);
  }
}
