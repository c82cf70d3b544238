/** The guest kernel's page allocator: which places of its own memory are in use. */
import { invariant } from '../machine/errors.ts';
import { type Gfn, gfn, PAGE_SIZE } from '../machine/page.ts';
import { GuestMemoryError } from './errors.ts';

/** A place for one page in the guest's own memory. */
export interface GuestPage {
  readonly gfn: Gfn;
  /** Address in the direct map (PV), or guest-physical address (translated). */
  readonly va: number;
}

const FREE = 0;
const USED = 1;

export class PagePool {
  readonly #pages: readonly GuestPage[];
  /** FREE or USED, by gfn: the truth. */
  readonly #state: Uint8Array;
  /** Candidates for a single page, each once; those that a run took meanwhile are passed over. */
  readonly #stack: number[] = [];
  readonly #onStack: Uint8Array;
  #freeCount: number;
  /** Whose pages they are, for messages. */
  readonly #owner: string;

  /** Pages 0 to `pages - 1`, the first of them at `baseVa`; all free. */
  constructor(owner: string, pages: number, baseVa: number) {
    this.#owner = owner;
    this.#pages = Array.from({ length: pages }, (_, n) => ({
      gfn: gfn(n),
      va: baseVa + n * PAGE_SIZE,
    }));
    this.#state = new Uint8Array(pages);
    this.#onStack = new Uint8Array(pages);
    this.#freeCount = pages;
    for (let n = pages - 1; n >= 0; n--) this.#push(n);
  }

  get freeCount(): number {
    return this.#freeCount;
  }

  /** Any page. Throws GuestMemoryError. */
  take(): GuestPage {
    for (;;) {
      const n = this.#stack.pop();
      if (n === undefined) throw new GuestMemoryError(`${this.#owner}: no page is free`);
      this.#onStack[n] = 0;
      if (this.#state[n] === FREE) return this.#use(n);
    }
  }

  /** `count` neighbouring pages. Throws GuestMemoryError. */
  takeRun(count: number): GuestPage[] {
    let run = 0;
    for (let n = 0; n < this.#pages.length; n++) {
      run = this.#state[n] === FREE ? run + 1 : 0;
      if (run === count) {
        return this.#pages.slice(n + 1 - count, n + 1).map((page) => this.#use(page.gfn));
      }
    }
    throw new GuestMemoryError(
      `${this.#owner}: no ${count} neighbouring pages are free (${this.#freeCount} are)`,
    );
  }

  #use(n: number): GuestPage {
    this.#state[n] = USED;
    this.#freeCount -= 1;
    return this.#pages[n]!;
  }

  /** Gives a page back. Throws InvariantError if it is free. */
  give(page: GuestPage): void {
    invariant(this.#state[page.gfn] === USED, `page ${page.gfn} is free already`);
    this.#state[page.gfn] = FREE;
    this.#freeCount += 1;
    this.#push(page.gfn);
  }

  #push(n: number): void {
    if (this.#onStack[n] === 1) return;
    this.#onStack[n] = 1;
    this.#stack.push(n);
  }
}
