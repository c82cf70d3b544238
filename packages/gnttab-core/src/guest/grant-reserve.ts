/**
 * A private reserve: references that cannot be missing when they are needed.
 * Source: docs/misc/grant-tables.txt of Xen, "Using a private reserve of grant references".
 */
import type { Scheduler } from '../machine/scheduler.ts';
import type { GrantRef } from '../machine/page.ts';
import { GrantError } from './errors.ts';
import type { ReferencePool } from './reference-pool.ts';
import { Waiters } from './waiters.ts';

/** A private reserve of one driver's: what GrantReferences.allocGrantReferences() gives. */
export class GrantReserve {
  readonly #pool: ReferencePool;
  readonly #refs: GrantRef[];
  readonly #waiters: Waiters<GrantRef>;
  #freed = false;

  /** `refs` are claimed, and become the reserve's. */
  constructor(pool: ReferencePool, refs: GrantRef[], scheduler: Scheduler) {
    for (const ref of refs) pool.reserve(ref);
    this.#pool = pool;
    this.#refs = refs;
    this.#waiters = new Waiters(scheduler);
  }

  /** References that can be claimed. */
  get available(): number {
    return this.#refs.length;
  }

  /** gnttab_claim_grant_reference(). Throws GrantError when all are claimed. */
  claim(): GrantRef {
    const ref = this.#refs.pop();
    if (ref === undefined)
      throw new GrantError('private reserve', 'all its references are claimed');
    this.#pool.claim(ref);
    return ref;
  }

  /**
   * As `claim`; when all are claimed, waits for the next release, first come first served. What is handed over is claimed
   * from then on. Rejects with the signal's reason if that aborts first, with GrantError if the reserve is freed.
   */
  async claimWhenFree(signal?: AbortSignal): Promise<GrantRef> {
    signal?.throwIfAborted();
    if (this.#refs.length > 0 || this.#freed) return this.claim();
    return this.#waiters.wait(1, signal);
  }

  /**
   * gnttab_release_grant_reference(): a claimed reference, whose grant was ended, goes back to the reserve; to the shared
   * pool if the reserve was freed meanwhile. Throws InvariantError if it is not claimed or still grants something.
   */
  release(ref: GrantRef): void {
    if (this.#freed) return this.#pool.give(ref);
    this.#pool.reserve(ref);
    if (this.#waiters.length === 0) this.#refs.push(ref);
    else {
      this.#pool.claim(ref);
      this.#waiters.serve(1, ref);
    }
  }

  /** gnttab_free_grant_references(): what is not claimed goes back to the shared pool. */
  free(): void {
    this.#freed = true;
    this.#waiters.dismiss(new GrantError('private reserve', 'freed while waiting for a reference'));
    for (const ref of this.#refs.splice(0)) {
      this.#pool.claim(ref);
      this.#pool.give(ref);
    }
  }
}
