/**
 * Who holds each grant reference of a guest: nobody, a private reserve, or a user; never two at once.
 * Source: docs/misc/grant-tables.txt of Xen, "Using a private reserve of grant references".
 */
import { invariant } from '../machine/errors.ts';
import type { GrantRef } from '../machine/page.ts';
import { GrantError } from './errors.ts';

const FREE = 0;
const RESERVED = 1;
const USED = 2;

/** The shared pool of references. */
export class ReferencePool {
  readonly #free: GrantRef[] = [];
  #holder = new Uint8Array(0);

  /** References that can be taken. */
  get available(): number {
    return this.#free.length;
  }

  /** Adds the references from `first` up to `end`; the lowest are taken first. */
  add(first: number, end: number): void {
    const holder = new Uint8Array(end);
    holder.set(this.#holder);
    this.#holder = holder;
    for (let ref = end - 1; ref >= first; ref--) this.#free.push(ref as GrantRef);
  }

  /** A free reference, now in use; undefined if there is none. */
  take(): GrantRef | undefined {
    const ref = this.#free.pop();
    if (ref !== undefined) this.#holder[ref] = USED;
    return ref;
  }

  /** A reference in use is free again. */
  give(ref: GrantRef): void {
    this.#change(ref, USED, FREE);
    this.#free.push(ref);
  }

  /** A reference in use goes to a reserve. */
  reserve(ref: GrantRef): void {
    this.#change(ref, USED, RESERVED);
  }

  /** A reference of a reserve is in use. */
  claim(ref: GrantRef): void {
    this.#change(ref, RESERVED, USED);
  }

  #change(ref: GrantRef, from: number, to: number): void {
    invariant(this.#holder[ref] === from, `reference ${ref} was given back already`);
    this.#holder[ref] = to;
  }
}

/** A private reserve: references that cannot be missing when they are needed. */
export class GrantReserve {
  readonly #pool: ReferencePool;
  readonly #refs: GrantRef[];
  #freed = false;

  /** `refs` are in use, and become the reserve's. */
  constructor(pool: ReferencePool, refs: GrantRef[]) {
    for (const ref of refs) pool.reserve(ref);
    this.#pool = pool;
    this.#refs = refs;
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
   * gnttab_release_grant_reference(): a claimed reference, whose grant was ended, goes back to the reserve; to the shared
   * pool if the reserve was freed meanwhile.
   */
  release(ref: GrantRef): void {
    if (this.#freed) return this.#pool.give(ref);
    this.#pool.reserve(ref);
    this.#refs.push(ref);
  }

  /** gnttab_free_grant_references(): what is not claimed goes back to the shared pool. */
  free(): void {
    this.#freed = true;
    for (const ref of this.#refs.splice(0)) {
      this.#pool.claim(ref);
      this.#pool.give(ref);
    }
  }
}
