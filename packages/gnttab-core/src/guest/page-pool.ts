/** The guest kernel's page allocator: which places of its own memory are in use, and which of them others may reach. */
import { invariant } from '../machine/errors.ts';
import { type Gfn, gfn, PAGE_SIZE } from '../machine/page.ts';
import { GuestMemoryError } from './errors.ts';
import { NumberPool } from './number-pool.ts';

/** A place for one page in the guest's own memory. */
export interface GuestPage {
  /** Its guest frame number. */
  readonly gfn: Gfn;
  /** Address in the direct map (PV), or guest-physical address (translated). */
  readonly va: number;
}

/** The pages of one guest. */
export class PagePool {
  readonly #pages: readonly GuestPage[];
  readonly #free = new NumberPool();
  /** Live grant references of each page, by gfn. */
  readonly #shares: Uint32Array;
  /** Pages that were given back while another domain might still reach them (XSA-396): nobody gets them before that ends. */
  readonly #quarantine = new Set<number>();
  /** Whose pages they are, for messages. */
  readonly #owner: string;

  /** Pages 0 to `pages - 1`, the first of them at `baseVa`; all free. */
  constructor(owner: string, pages: number, baseVa: number) {
    this.#owner = owner;
    this.#pages = Array.from({ length: pages }, (_, n) => ({
      gfn: gfn(n),
      va: baseVa + n * PAGE_SIZE,
    }));
    this.#shares = new Uint32Array(pages);
    this.#free.add(0, pages);
  }

  /** Pages that can be taken. */
  get freeCount(): number {
    return this.#free.count;
  }

  /** Pages that were given back and are held, because a grant of them is alive. */
  get quarantined(): number {
    return this.#quarantine.size;
  }

  /** Any page. Throws GuestMemoryError. */
  take(): GuestPage {
    const n = this.#free.take();
    if (n < 0) throw new GuestMemoryError(`${this.#owner}: no page is free`);
    return this.#pages[n]!;
  }

  /** `count` neighbouring pages. Throws GuestMemoryError. */
  takeRun(count: number): GuestPage[] {
    const first = this.#free.takeRun(count);
    if (first < 0) {
      throw new GuestMemoryError(
        `${this.#owner}: no ${count} neighbouring pages are free (${this.freeCount} are)`,
      );
    }
    return this.#pages.slice(first, first + count);
  }

  /** Gives a page back; one with a live grant becomes free when the grant has ended. Throws InvariantError if given already. */
  give({ gfn }: GuestPage): void {
    if (this.#free.isFree(gfn) || this.#quarantine.has(gfn)) {
      invariant(false, `page ${gfn} is free already`);
    }
    if (this.#shares[gfn] === 0) this.#free.give(gfn);
    else this.#quarantine.add(gfn);
  }

  /** Is another domain allowed to reach the page? */
  isShared(gfn: number): boolean {
    return this.#shares[gfn]! > 0;
  }

  /** A grant reference to the page comes to life. A number that is no page of the pool is ignored, here and below. */
  share(gfn: number): void {
    this.#shares[gfn]! += 1;
  }

  /** A grant reference to the page has ended: nobody uses it through that one any more. */
  unshare(gfn: number): void {
    const left = (this.#shares[gfn]! -= 1);
    if (left === 0 && this.#quarantine.size > 0 && this.#quarantine.delete(gfn)) {
      this.#free.give(gfn);
    }
  }
}
