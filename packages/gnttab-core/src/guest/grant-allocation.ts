/** A guest's grant table, and who holds which of its references. */
import { COUNTER } from '../machine/counters.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import type { GrantRef } from '../machine/page.ts';
import type { Trace } from '../machine/trace.ts';
import type { Hypercalls } from '../hypercall/hypercalls.ts';
import { GrantError } from './errors.ts';
import type { GrantEntries, GrantVersion } from './grant-entries.ts';
import { GrantEntriesV1 } from './grant-entries-v1.ts';
import { GrantEntriesV2 } from './grant-entries-v2.ts';
import { GrantReserve } from './grant-reserve.ts';
import type { GuestMemory } from './memory.ts';
import type { GuestPage } from './page-pool.ts';
import { ReferencePool } from './reference-pool.ts';
import { GRANTED } from './reference-states.ts';

type EntriesClass = new (memory: GuestMemory, hypercalls: Hypercalls) => GrantEntries;

const ENTRIES: ReadonlyMap<GrantVersion, EntriesClass> = new Map<GrantVersion, EntriesClass>([
  [1, GrantEntriesV1],
  [2, GrantEntriesV2],
]);

/** The part of GrantReferences that has to do with references as such: taking them, giving them back, waiting for them. */
export abstract class GrantAllocation {
  /** Whose references they are. */
  protected readonly domain: Domain;
  /** Where the pages are that they grant. */
  protected readonly memory: GuestMemory;
  /** What Xen looks at. */
  protected readonly entries: GrantEntries;
  /** Where it is written down. */
  protected readonly trace: Trace;
  /** Who holds which. */
  protected readonly pool: ReferencePool;

  /** Throws RangeError if there is no such version, GrantError if Xen refuses it. */
  constructor(
    domain: Domain,
    memory: GuestMemory,
    hypercalls: Hypercalls,
    version: GrantVersion = 1,
  ) {
    this.domain = domain;
    this.memory = memory;
    this.trace = domain.machine.trace;
    const Entries = ENTRIES.get(version);
    if (Entries === undefined) {
      throw new RangeError(
        `grantVersion ${version}: it may be ${[...ENTRIES.keys()].join(' or ')}`,
      );
    }
    this.entries = new Entries(memory, hypercalls);
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

  /**
   * What an entry takes for `page`. Throws GrantError if the page is empty: its peer would find nothing there, or what
   * comes there next.
   */
  protected frameOf(page: GuestPage): number {
    const frame = this.memory.frameOf(page);
    if (frame === INVALID_MFN) throw emptyPage(`page ${page.gfn}`);
    return frame;
  }

  /**
   * The beginning of every grant. A claimed reference is about to grant, or to fill, page `gfn`: `state` is GRANTED or
   * ACCEPTING. It is counted, and goes to the trace as `kind`; the caller writes the entry next, so nobody uses a grant
   * before the trace has it. Throws InvariantError, and nothing is done, if the reference is not claimed.
   */
  protected begin(
    ref: GrantRef,
    state: number,
    gfn: number,
    kind: number,
    domid: number,
    a: number,
    b = 0,
    c = 0,
  ): void {
    this.pool.states.begin(ref, state, gfn);
    this.memory.share(gfn);
    if (state === GRANTED) this.domain.count(COUNTER.grants);
    this.trace.emit(kind, this.domain.id, ref, domid, a, b, c);
  }

  /** It does so no longer, and is claimed. */
  protected finish(ref: GrantRef): void {
    this.memory.unshare(this.pool.states.finish(ref));
  }
}

/** What is thrown when a page without a frame is to be granted. */
export const emptyPage = (what: string): GrantError =>
  new GrantError(what, 'there is no frame behind it; adopt or refill puts one there');
