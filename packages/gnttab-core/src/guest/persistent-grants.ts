/**
 * Pages that are granted to a peer once and used again and again, as blkfront's persistent grants: the peer may keep them
 * mapped, and data is copied in and out of them.
 */
import { invariant } from '../machine/errors.ts';
import type { DomId, GrantRef } from '../machine/page.ts';
import type { GrantReferences } from './grants.ts';
import type { GuestMemory } from './memory.ts';
import type { GuestPage } from './page-pool.ts';

/** A page with its grant. The peer may look into it at any time, at what an earlier use left there too. */
export interface PersistentGrant {
  /** What the peer names it by. */
  readonly ref: GrantRef;
  /** Where the guest sees it. */
  readonly page: GuestPage;
}

/** A pool of pages that one peer has been granted: lent, released, and lent again. */
export class PersistentGrants {
  readonly #memory: GuestMemory;
  readonly #grants: GrantReferences;
  readonly #peer: DomId;
  readonly #limit: number;
  /** The last that was released is the first to be used again: the peer has most likely still mapped it. */
  readonly #idle: PersistentGrant[] = [];
  readonly #lent = new Set<PersistentGrant>();
  #drained = false;

  /** A pool of at most `limit` pages of the guest's, writable for `peer`. It begins empty. */
  constructor(
    { memory, grants }: { readonly memory: GuestMemory; readonly grants: GrantReferences },
    peer: DomId,
    limit: number,
  ) {
    this.#memory = memory;
    this.#grants = grants;
    this.#peer = peer;
    this.#limit = limit;
  }

  /** Pages granted at the moment, lent ones included. */
  get size(): number {
    return this.#idle.length + this.#lent.size;
  }

  /** Pages that can be acquired without a new grant. */
  get idle(): number {
    return this.#idle.length;
  }

  /**
   * A granted page; undefined when all `limit` pages are lent, or after `drain`. Throws GuestMemoryError or GrantError when
   * the guest has no page or no reference for another one.
   */
  acquire(): PersistentGrant | undefined {
    const grant = this.#idle.pop() ?? this.#another();
    if (grant !== undefined) this.#lent.add(grant);
    return grant;
  }

  #another(): PersistentGrant | undefined {
    if (this.#drained || this.#lent.size >= this.#limit) return undefined;
    const page = this.#memory.allocPage();
    try {
      this.#memory.zero(page);
      return { page, ref: this.#grants.grantForeignAccess(this.#peer, page) };
    } catch (error) {
      this.#memory.freePage(page);
      throw error;
    }
  }

  /** An acquired page is for the next use; after `drain` its grant ends. Throws InvariantError if it is not lent. */
  release(grant: PersistentGrant): void {
    invariant(this.#lent.delete(grant), 'a persistent grant is released once, to its own pool');
    if (this.#drained) this.#grants.deferEnd(grant.ref, grant.page);
    else this.#idle.push(grant);
  }

  /**
   * Ends the pool: idle grants now, lent ones when they are released. What the peer still maps goes to the deferred queue,
   * its page with it.
   */
  drain(): void {
    this.#drained = true;
    for (const { ref, page } of this.#idle.splice(0)) this.#grants.deferEnd(ref, page);
  }
}
