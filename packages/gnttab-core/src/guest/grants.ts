/**
 * Grant references, the guest's side: who may use which of our frames. Follows the concurrency rules at the head of
 * grant_table.h to the letter; the names are those of Linux's grant-table.c in camelCase.
 */
import {
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_transfer_committed,
  GTF_transfer_completed,
  GTF_writing,
} from '../abi/grant-table.ts';
import { XENMAPSPACE_grant_table } from '../abi/memory.ts';
import { COUNTER } from '../machine/counters.ts';
import type { Bank } from '../machine/bank.ts';
import type { Domain } from '../machine/machine.ts';
import { bankOffset, type DomId, type Gfn, type GrantRef } from '../machine/page.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import type { Hypercalls } from '../hypercall/hypercalls.ts';
import { GrantError } from './errors.ts';
import { GrantReserve, ReferencePool } from './grant-reserve.ts';
import type { GuestMemory } from './memory.ts';
import type { GuestPage } from './page-pool.ts';

/** References below this are reserved for toolstack and firmware (GNTTAB_NR_RESERVED_ENTRIES). */
const NR_RESERVED_ENTRIES = 8;
/** Version 1 entries in a frame, and their size. */
const ENTRIES_PER_FRAME = 512;
const ENTRY_SIZE = 8;

/** A grant that ends with its block: `using grant = grants.grantAccess(peer, page)`. */
export interface AccessGrant {
  readonly ref: GrantRef;
  /** 'busy' while the peer maps the page: nothing has changed then. */
  end(): 'ended' | 'busy';
  /** Ends the grant; one still in use goes to the deferred queue, see `deferredEnds`. */
  [Symbol.dispose](): void;
}

export class GrantReferences {
  readonly #domain: Domain;
  readonly #memory: GuestMemory;
  readonly #hypercalls: Hypercalls;
  /** Address of each mapped frame of the table. */
  readonly #frames: number[] = [];
  readonly #pool = new ReferencePool();
  readonly #deferred: GrantRef[] = [];
  #bank!: Bank;

  constructor(domain: Domain, memory: GuestMemory, hypercalls: Hypercalls) {
    this.#domain = domain;
    this.#memory = memory;
    this.#hypercalls = hypercalls;
    this.#mapFrames(hypercalls.querySize().nrFrames);
  }

  /** Maps the table's first `count` frames and adds the references of the new ones; over the limit nothing happens. */
  #mapFrames(count: number): void {
    const { status, frames } = this.#hypercalls.setupTable(count);
    if (status !== 0) return;
    for (let n = this.#frames.length; n < count; n++) {
      this.#frames.push(this.#memory.mapXenFrame(XENMAPSPACE_grant_table, n, frames[n]!));
      const first = n * ENTRIES_PER_FRAME;
      this.#pool.add(Math.max(first, NR_RESERVED_ENTRIES), first + ENTRIES_PER_FRAME);
    }
  }

  /** References not in use, reserves not counted; the table may still grow. */
  get freeCount(): number {
    return this.#pool.available;
  }

  /** References whose end waits for the peer to let go. */
  get deferredEnds(): number {
    return this.#deferred.length;
  }

  /** Byte offset of an entry in `#bank`, reached through the guest's own mapping of the table. */
  #entry(ref: number): number {
    const frame = this.#frames[ref >>> 9];
    if (frame === undefined) throw new GrantError(`reference ${ref}`, 'beyond the grant table');
    const address = this.#memory.translate(frame + (ref & 511) * ENTRY_SIZE, 'write');
    this.#bank = this.#memory.bankOf(address);
    return bankOffset(address);
  }

  /** Takes a free reference; the table grows by a frame when there is none. Throws GrantError at its limit. */
  #allocRef(): GrantRef {
    if (this.#pool.available === 0) this.retryDeferredEnds();
    if (this.#pool.available === 0) this.#mapFrames(this.#frames.length + 1);
    const ref = this.#pool.take();
    if (ref !== undefined) return ref;
    throw new GrantError(`domain ${this.#domain.id}`, 'no grant reference is free');
  }

  /** gnttab_grant_foreign_access(): lets `domid` map or copy `page`. Throws GrantError when references are exhausted. */
  grantForeignAccess(
    domid: DomId,
    page: GuestPage,
    { readonly = false }: { readonly?: boolean } = {},
  ): GrantRef {
    const ref = this.#allocRef();
    this.grantForeignAccessRef(ref, domid, this.#memory.frameOf(page), readonly);
    return ref;
  }

  /**
   * gnttab_grant_foreign_access_ref(), with a reference of the caller's: "Introducing a valid entry into the grant
   * table": domid, frame, barrier, flags.
   */
  grantForeignAccessRef(ref: GrantRef, domid: DomId, frame: number, readonly: boolean): void {
    this.#introduce(
      ref,
      domid,
      frame,
      readonly ? GTF_permit_access | GTF_readonly : GTF_permit_access,
    );
    this.#domain.count(COUNTER.grants);
    this.#domain.machine.trace.emit(
      TRACE.grantAccess,
      this.#domain.id,
      ref,
      domid,
      frame,
      readonly ? 1 : 0,
    );
  }

  #introduce(ref: GrantRef, domid: DomId, frame: number, flags: number): void {
    const entry = this.#entry(ref);
    const { u16, u32 } = this.#bank;
    u16[(entry + 2) >>> 1] = domid;
    u32[(entry + 4) >>> 2] = frame;
    // An atomic store is ordered after the writes above: the header's WMB.
    Atomics.store(u16, entry >>> 1, flags);
  }

  /** gnttab_query_foreign_access(): is the grant in use? No licence to free the page: ask `endForeignAccess`. */
  queryForeignAccess(ref: GrantRef): { reading: boolean; writing: boolean } {
    const entry = this.#entry(ref);
    const flags = Atomics.load(this.#bank.u16, entry >>> 1);
    return { reading: (flags & GTF_reading) !== 0, writing: (flags & GTF_writing) !== 0 };
  }

  /** gnttab_end_foreign_access(): ends the grant and frees the reference; 'busy' while the peer uses it. */
  endForeignAccess(ref: GrantRef): 'ended' | 'busy' {
    const result = this.endForeignAccessRef(ref);
    if (result === 'ended') this.#pool.give(ref);
    return result;
  }

  /**
   * gnttab_end_foreign_access_ref(), keeping the reference: "Invalidating an unused GTF_permit_access entry": see the
   * flags, observe that nobody reads or writes, compare and exchange.
   */
  endForeignAccessRef(ref: GrantRef): 'ended' | 'busy' {
    const entry = this.#entry(ref);
    const { u16 } = this.#bank;
    let flags = Atomics.load(u16, entry >>> 1);
    for (;;) {
      const busy = (flags & (GTF_reading | GTF_writing)) !== 0;
      if (busy) {
        this.#noteEnd(ref, 1);
        return 'busy';
      }
      const seen = Atomics.compareExchange(u16, entry >>> 1, flags, 0);
      if (seen === flags) break;
      flags = seen;
    }
    this.#domain.count(COUNTER.grantEnds);
    this.#noteEnd(ref, 0);
    return 'ended';
  }

  #noteEnd(ref: number, busy: number): void {
    this.#domain.machine.trace.emit(TRACE.grantEnd, this.#domain.id, ref, busy);
  }

  /**
   * "Changing a GTF_permit_access from writable to read-only": compare and exchange, while nobody writes. 'busy' if
   * somebody does.
   */
  makeReadonly(ref: GrantRef): 'changed' | 'busy' {
    const entry = this.#entry(ref);
    const { u16 } = this.#bank;
    let flags = Atomics.load(u16, entry >>> 1);
    for (;;) {
      if ((flags & GTF_writing) !== 0) return 'busy';
      const seen = Atomics.compareExchange(u16, entry >>> 1, flags, flags | GTF_readonly);
      if (seen === flags) return 'changed';
      flags = seen;
    }
  }

  /** "Changing a GTF_permit_access from read-only to writable": one atomic bit operation. */
  makeWritable(ref: GrantRef): void {
    const entry = this.#entry(ref);
    Atomics.and(this.#bank.u16, entry >>> 1, ~GTF_readonly);
  }

  /** gnttab_grant_foreign_transfer(): accepts a frame from `domid`, to be put behind the empty page `gfn`. */
  grantForeignTransfer(domid: DomId, gfn: Gfn): GrantRef {
    const ref = this.#allocRef();
    this.grantForeignTransferRef(ref, domid, gfn);
    return ref;
  }

  /** gnttab_grant_foreign_transfer_ref(). The frame field holds the gfn until Xen writes the frame. */
  grantForeignTransferRef(ref: GrantRef, domid: DomId, gfn: number): void {
    this.#introduce(ref, domid, gfn, GTF_accept_transfer);
    this.#domain.machine.trace.emit(TRACE.grantTransferPost, this.#domain.id, ref, domid, gfn);
  }

  /** gnttab_end_foreign_transfer(): as `endForeignTransferRef`, and frees the reference. */
  endForeignTransfer(ref: GrantRef): number | undefined {
    const frame = this.endForeignTransferRef(ref);
    this.#pool.give(ref);
    return frame;
  }

  /**
   * gnttab_end_foreign_transfer_ref(): withdraws an unused reference (undefined), or waits from committed to completed
   * and returns the frame: an mfn (PV), the gfn where the page appeared (translated). "Invalidating an unused / a
   * committed GTF_accept_transfer entry".
   */
  endForeignTransferRef(ref: GrantRef): number | undefined {
    const entry = this.#entry(ref);
    const { u16, u32 } = this.#bank;
    let flags = Atomics.load(u16, entry >>> 1);
    while ((flags & GTF_transfer_committed) === 0) {
      const seen = Atomics.compareExchange(u16, entry >>> 1, flags, 0);
      if (seen === flags) {
        this.#noteTransferEnd(ref, 0);
        return undefined;
      }
      flags = seen;
    }
    // The header allows spinning here: Xen completes a committed transfer in a timely manner.
    while ((Atomics.load(u16, entry >>> 1) & GTF_transfer_completed) === 0);
    const frame = u32[(entry + 4) >>> 2]!;
    Atomics.store(u16, entry >>> 1, 0);
    this.#noteTransferEnd(ref, frame);
    return frame;
  }

  #noteTransferEnd(ref: number, frame: number): void {
    this.#domain.machine.trace.emit(TRACE.grantTransferEnd, this.#domain.id, ref, frame);
  }

  /** A grant for the length of a block; see AccessGrant. */
  grantAccess(domid: DomId, page: GuestPage, options?: { readonly?: boolean }): AccessGrant {
    const ref = this.grantForeignAccess(domid, page, options);
    let state: 'open' | 'deferred' | 'ended' = 'open';
    const end = () => {
      if (state === 'open' && this.endForeignAccess(ref) === 'busy') return 'busy';
      if (state === 'deferred') {
        this.retryDeferredEnds();
        if (this.#deferred.includes(ref)) return 'busy';
      }
      state = 'ended';
      return state;
    };
    return {
      ref,
      end,
      [Symbol.dispose]: () => {
        if (state !== 'open' || end() === 'ended') return;
        this.#deferred.push(ref);
        state = 'deferred';
      },
    };
  }

  /** Tries again to end what the peer still used; returns how many remain. */
  retryDeferredEnds(): number {
    const waiting = this.#deferred.splice(0);
    for (const ref of waiting) if (this.endForeignAccess(ref) === 'busy') this.#deferred.push(ref);
    return this.#deferred.length;
  }

  /** gnttab_alloc_grant_references(): a private reserve of `count` references. Throws GrantError. */
  allocGrantReferences(count: number): GrantReserve {
    const refs: GrantRef[] = [];
    try {
      while (refs.length < count) refs.push(this.#allocRef());
    } catch (error) {
      for (const ref of refs) this.#pool.give(ref);
      throw error;
    }
    return new GrantReserve(this.#pool, refs);
  }
}
