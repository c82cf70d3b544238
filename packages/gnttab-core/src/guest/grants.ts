/**
 * Grant references, the guest's side: who may use which of our frames. The names are those of Linux's grant-table.c in
 * camelCase. References that are not in the state that a call needs (ended twice, granted twice, released while in use)
 * throw InvariantError, which says what they are used for.
 */
import { GTF_permit_access, GTF_reading, GTF_readonly, GTF_writing } from '../abi/grant-table.ts';
import { COUNTER } from '../machine/counters.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { type DomId, type GrantRef, PAGE_SIZE } from '../machine/page.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import type { Hypercalls } from '../hypercall/hypercalls.ts';
import { type AccessGrant, accessGrant } from './access-grant.ts';
import { DeferredEnds } from './deferred-ends.stream.ts';
import { GrantError } from './errors.ts';
import { emptyPage } from './grant-allocation.ts';
import type { GrantVersion } from './grant-entries.ts';
import { GrantEntriesV2 } from './grant-entries-v2.ts';
import { GrantTransfers } from './grant-transfers.ts';
import type { GuestMemory } from './memory.ts';
import type { GuestPage } from './page-pool.ts';
import { DEFERRED, GRANTED, NO_PAGE } from './reference-states.ts';
import { GUEST_TRACE } from './trace.ts';

/** What the peer may do; by default read and write. */
export interface GrantOptions {
  /** Read only: mappings and copies that write are refused by Xen. */
  readonly readonly?: boolean;
}

/** GTF_* of a grant. */
const permission = (readonly: boolean): number =>
  readonly ? GTF_permit_access | GTF_readonly : GTF_permit_access;

/** A guest's grant references: what a driver calls to grant, to accept, and to end either. */
export class GrantReferences extends GrantTransfers {
  readonly #deferred: DeferredEnds;
  /**
   * Not in Xen, where nothing tells a granter that its page is free again: the grants of the deferred queue that have ended,
   * with their pages. One emission for all that one look at the queue found, in a task of its own.
   */
  readonly released$;

  /** Throws RangeError if there is no such version, GrantError if Xen refuses it. */
  constructor(
    domain: Domain,
    memory: GuestMemory,
    hypercalls: Hypercalls,
    version: GrantVersion = 1,
  ) {
    super(domain, memory, hypercalls, version);
    this.#deferred = new DeferredEnds(domain, (ref) => this.#end(ref, DEFERRED));
    this.released$ = this.#deferred.released$;
  }

  protected override reclaim(): void {
    this.#deferred.retry();
  }

  /**
   * gnttab_grant_foreign_access(): lets `domid` map or copy `page`. Throws GrantError when references are exhausted, or if
   * there is no frame behind the page; nothing is taken then.
   */
  grantForeignAccess(
    domid: DomId,
    page: GuestPage,
    { readonly = false }: GrantOptions = {},
  ): GrantRef {
    const frame = this.frameOf(page);
    const ref = this.pool.take();
    this.#permit(ref, domid, page.gfn, frame, readonly);
    return ref;
  }

  /**
   * gnttab_grant_foreign_access_ref(), with a claimed reference of the caller's. `frame` is what `memory.frameOf` says of
   * the page. Throws GrantError if that is empty; the reference is claimed as before then.
   */
  grantForeignAccessRef(ref: GrantRef, domid: DomId, frame: number, readonly: boolean): void {
    if (frame === INVALID_MFN) throw emptyPage(`the page for reference ${ref}`);
    this.#permit(ref, domid, this.memory.gfnOf(frame), frame, readonly);
  }

  #permit(ref: GrantRef, domid: DomId, gfn: number, frame: number, readonly: boolean): void {
    this.begin(ref, GRANTED, gfn, TRACE.grantAccess, domid, frame, readonly ? 1 : 0);
    this.entries.introduce(ref, permission(readonly), domid, frame);
  }

  /**
   * `grantForeignAccess` for each page, in order. All or none: throws GrantError when there are not as many references, or
   * a page is empty.
   */
  grantForeignAccessBatch(
    domid: DomId,
    pages: readonly GuestPage[],
    { readonly = false }: GrantOptions = {},
  ): GrantRef[] {
    const frames = pages.map((page) => this.frameOf(page));
    const refs = this.pool.takeBatch(pages.length);
    refs.forEach((ref, i) => this.#permit(ref, domid, pages[i]!.gfn, frames[i]!, readonly));
    return refs;
  }

  /**
   * gnttab_grant_foreign_access_subpage(): `domid` may copy from (and, unless read-only, to) `lengthBytes` at `offsetBytes`
   * of `page`; not map it. Needs version 2. Throws GrantError, also if the page is empty, or RangeError if the part is not
   * inside the page.
   */
  grantForeignAccessSubpage(
    domid: DomId,
    page: GuestPage,
    offsetBytes: number,
    lengthBytes: number,
    { readonly = false }: GrantOptions = {},
  ): GrantRef {
    const entries = this.#version2('a part of a page');
    if (!(offsetBytes >= 0 && lengthBytes > 0 && offsetBytes + lengthBytes <= PAGE_SIZE)) {
      throw new RangeError(`${lengthBytes} bytes at ${offsetBytes} are not a part of one page`);
    }
    const frame = this.frameOf(page);
    const ref = this.pool.take();
    const part = { offsetBytes, lengthBytes };
    const kind = GUEST_TRACE.grantSubPage;
    this.begin(ref, GRANTED, page.gfn, kind, domid, frame, offsetBytes, lengthBytes);
    entries.introduceSubPage(ref, permission(readonly), domid, frame, part);
    return ref;
  }

  /**
   * gnttab_grant_foreign_access_trans(): `domid` may copy from or to what `viaDomid` has granted us through its `viaRef`, as
   * far as that allows. Needs version 2. Throws GrantError.
   */
  grantForeignAccessTransitive(
    domid: DomId,
    viaDomid: DomId,
    viaRef: GrantRef,
    { readonly = false }: GrantOptions = {},
  ): GrantRef {
    const entries = this.#version2("another domain's grant");
    const ref = this.pool.take();
    this.begin(ref, GRANTED, NO_PAGE, GUEST_TRACE.grantTransitive, domid, viaDomid, viaRef);
    entries.introduceTransitive(ref, permission(readonly), domid, { viaDomid, viaRef });
    return ref;
  }

  #version2(what: string): GrantEntriesV2 {
    if (this.entries instanceof GrantEntriesV2) return this.entries;
    throw new GrantError(`granting ${what}`, 'needs grant table version 2');
  }

  /** gnttab_query_foreign_access(): is the grant in use? No licence to free the page: ask `endForeignAccess`. */
  queryForeignAccess(ref: GrantRef): { reading: boolean; writing: boolean } {
    const usage = this.entries.usage(ref);
    return { reading: (usage & GTF_reading) !== 0, writing: (usage & GTF_writing) !== 0 };
  }

  /** gnttab_end_foreign_access_ref() and gnttab_free_grant_reference(): as `endForeignAccessRef`, and frees the reference. */
  endForeignAccess(ref: GrantRef): 'ended' | 'busy' {
    return this.#end(ref, GRANTED) ? 'ended' : 'busy';
  }

  /**
   * gnttab_end_foreign_access_ref(): ends the grant and keeps the reference, claimed. 'busy' while the peer uses it, and the
   * call is to be repeated: version 1 has changed nothing then, with version 2 the peer cannot come back once it has let go.
   */
  endForeignAccessRef(ref: GrantRef): 'ended' | 'busy' {
    return this.#endRef(ref, GRANTED) ? 'ended' : 'busy';
  }

  #endRef(ref: GrantRef, state: number): boolean {
    this.pool.states.check(ref, state);
    const ended = this.entries.end(ref);
    if (ended) {
      this.finish(ref);
      this.domain.count(COUNTER.grantEnds);
    }
    this.trace.emit(TRACE.grantEnd, this.domain.id, ref, ended ? 0 : 1);
    return ended;
  }

  #end(ref: GrantRef, state: number): boolean {
    const ended = this.#endRef(ref, state);
    if (ended) this.pool.give(ref);
    return ended;
  }

  /** gnttab_try_end_foreign_access(): ends the grant and frees the reference; false, and it stays, while the peer uses it. */
  tryEndForeignAccess(ref: GrantRef): boolean {
    return this.#end(ref, GRANTED);
  }

  /** `endForeignAccess` for each; returns those that are busy. */
  endForeignAccessBatch(refs: readonly GrantRef[]): GrantRef[] {
    return refs.filter((ref) => !this.#end(ref, GRANTED));
  }

  /**
   * gnttab_end_foreign_access(): gives up the grant, and with it `page`. What the peer still uses goes to the deferred queue,
   * and reference and page become free when it lets go, see `released$`.
   */
  deferEnd(ref: GrantRef, page?: GuestPage): 'ended' | 'deferred' {
    const ended = this.#end(ref, GRANTED);
    if (page !== undefined) this.memory.freePage(page);
    if (!ended) this.#defer(ref, page);
    return ended ? 'ended' : 'deferred';
  }

  #defer(ref: GrantRef, page?: GuestPage) {
    this.pool.states.change(ref, GRANTED, DEFERRED);
    return this.#deferred.add(ref, page);
  }

  /** References whose end waits for the peer to let go. */
  get deferredEnds(): number {
    return this.#deferred.length;
  }

  /**
   * Tries again to end what the peer still used; returns how many remain. It also happens by itself: when references run
   * out, and, 64 at a time, at growing intervals for about twenty seconds after the last change of the queue (until each
   * had its turn, if that takes longer).
   */
  retryDeferredEnds(): number {
    return this.#deferred.retry();
  }

  /** A grant for the length of a block; see AccessGrant. */
  grantAccess(domid: DomId, page: GuestPage, options?: GrantOptions): AccessGrant {
    const ref = this.grantForeignAccess(domid, page, options);
    const defer = () => {
      const deferred = this.#defer(ref);
      return () => this.#deferred.retryOne(deferred);
    };
    return accessGrant(ref, () => this.#end(ref, GRANTED), defer);
  }

  /**
   * "Changing a GTF_permit_access from writable to read-only". 'busy' while somebody writes: repeat the call (under version
   * 2 nobody new gets to write meanwhile).
   */
  makeReadonly(ref: GrantRef): 'changed' | 'busy' {
    this.pool.states.check(ref, GRANTED);
    return this.entries.makeReadonly(ref) ? 'changed' : 'busy';
  }

  /** "Changing a GTF_permit_access from read-only to writable": one atomic bit operation. */
  makeWritable(ref: GrantRef): void {
    this.pool.states.check(ref, GRANTED);
    this.entries.makeWritable(ref);
  }
}
