/** A guest's grant table, and who holds which of its references. */
import type { Domain } from '../machine/machine.ts';
import type { GrantRef } from '../machine/page.ts';
import type { Hypercalls } from '../hypercall/hypercalls.ts';
import type { GrantEntries } from './grant-entries.ts';
import { GrantEntriesV1 } from './grant-entries-v1.ts';
import { GrantEntriesV2 } from './grant-entries-v2.ts';
import { GrantReserve } from './grant-reserve.ts';
import type { GuestMemory } from './memory.ts';
import { ReferencePool } from './reference-pool.ts';

/** Version of the entries in a grant table. */
export type GrantVersion = 1 | 2;

export abstract class GrantAllocation {
  protected readonly domain: Domain;
  protected readonly memory: GuestMemory;
  protected readonly entries: GrantEntries;
  protected readonly pool: ReferencePool;

  /** Throws GrantError if Xen refuses the version. */
  constructor(
    domain: Domain,
    memory: GuestMemory,
    hypercalls: Hypercalls,
    version: GrantVersion = 1,
  ) {
    this.domain = domain;
    this.memory = memory;
    this.entries =
      version === 2
        ? new GrantEntriesV2(memory, hypercalls)
        : new GrantEntriesV1(memory, hypercalls);
    this.pool = new ReferencePool(domain, hypercalls, this.entries, () => this.reclaim());
  }

  /** Looks for references that have become free unnoticed. */
  protected abstract reclaim(): void;

  /** Version of the table's entries. */
  get version(): GrantVersion {
    return this.entries.version;
  }

  /** References not in use, reserves not counted; the table may still grow. */
  get freeCount(): number {
    return this.pool.available;
  }

  /**
   * gnttab_alloc_grant_reference_seq(): `count` (at least 1) neighbouring references, claimed one and all; returns the
   * first. Throws GrantError if there is no such run and the table cannot grow by one.
   */
  allocGrantReferenceSeq(count: number): GrantRef {
    return this.pool.takeRun(count);
  }

  /** gnttab_free_grant_reference_seq(). Throws InvariantError at the first that still grants something, or is free. */
  freeGrantReferenceSeq(first: GrantRef, count: number): void {
    for (let ref = first + count - 1; ref >= first; ref--) this.pool.give(ref as GrantRef);
  }

  /** gnttab_alloc_grant_references(): a private reserve of `count` references. Throws GrantError. */
  allocGrantReferences(count: number): GrantReserve {
    const refs = this.pool.takeBatch(count);
    return new GrantReserve(this.pool, refs, this.domain.machine.scheduler);
  }

  /**
   * gnttab_request_free_callback(): resolves, in a task of its own, when `count` references are free; at once if they are or
   * if the table can grow by them. They are not set aside: whoever is told may find that another was faster, and waits
   * again. Rejects with the signal's reason if that aborts first (gnttab_cancel_free_callback()), with GrantError if the
   * table can never have as many.
   */
  whenFree(count: number, signal?: AbortSignal): Promise<void> {
    return this.pool.whenFree(count, signal);
  }

  /** A claimed reference is about to grant, or to fill, page `gfn`: `state` is GRANTED or ACCEPTING. */
  protected begin(ref: GrantRef, state: number, gfn: number): void {
    this.pool.states.begin(ref, state, gfn);
    this.memory.share(gfn);
  }

  /** It does so no longer, and is claimed. */
  protected finish(ref: GrantRef): void {
    this.memory.unshare(this.pool.states.finish(ref));
  }
}
