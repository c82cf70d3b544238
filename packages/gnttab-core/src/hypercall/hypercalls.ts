/**
 * The typed door to the hypercalls: numbers and reused argument objects in, statuses out. Nothing is
 * decided here; each call goes to the one implementation.
 */
import { DOMID_SELF } from '../abi/xen.ts';
import {
  type EvtchnAllocUnbound,
  evtchnAllocUnbound,
  type EvtchnBindInterdomain,
  evtchnBindInterdomain,
  evtchnClose,
  evtchnSend,
  type EvtchnStatus,
  evtchnStatus,
  evtchnUnmask,
} from '../evtchn/index.ts';
import {
  cacheFlush,
  copy,
  type GetStatusFrames,
  getStatusFrames,
  getVersion,
  type GnttabCacheFlush,
  type GnttabCopy,
  type GnttabMapGrantRef,
  type GnttabSwapGrantRef,
  type GnttabTransfer,
  type GnttabUnmapAndReplace,
  type GnttabUnmapGrantRef,
  mapGrantRef,
  type QuerySize,
  querySize,
  setVersion,
  type SetupTable,
  setupTable,
  swapGrantRef,
  transfer,
  unmapAndReplace,
  unmapGrantRef,
} from '../grant/index.ts';
import { COUNTER } from '../machine/counters.ts';
import type { Domain } from '../machine/machine.ts';
import { InvariantError } from '../machine/errors.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import { type AcquiredFrames, acquireResource, type ResourceName } from './acquire-resource.ts';
import { reap } from './domctl.ts';
import { type Exchanged, memoryExchange } from './exchange.ts';
import { machphysUpdate, providePageTables, updateVaMapping } from './page-tables.ts';
import { addToPhysmap } from './physmap.ts';
import { decreaseReservation, increaseReservation, populatePhysmap } from './reservation.ts';

/** Hypercalls of one domain. Batches take the first `count` elements; every element gets a status of its own. */
export class Hypercalls {
  readonly #domain: Domain;

  constructor(domain: Domain) {
    this.#domain = domain;
    domain.machine.onDomainEmpty = reap;
  }

  /** Every hypercall begins here. The code of a domain that was destroyed does not run: that is its driver's bug. */
  #enter(): void {
    const domain = this.#domain;
    if (!domain.alive || domain.crashed) {
      const end = domain.alive ? 'has crashed' : 'was destroyed';
      throw new InvariantError(`a hypercall of domain ${domain.id}, which ${end}`);
    }
    domain.count(COUNTER.hypercalls);
  }

  /** GNTTABOP_map_grant_ref. */
  gnttabMap(ops: readonly GnttabMapGrantRef[], count = ops.length): void {
    this.#enter();
    for (let i = 0; i < count; i++) mapGrantRef(this.#domain, ops[i]!);
  }

  /** GNTTABOP_unmap_grant_ref. */
  gnttabUnmap(ops: readonly GnttabUnmapGrantRef[], count = ops.length): void {
    this.#enter();
    for (let i = 0; i < count; i++) unmapGrantRef(this.#domain, ops[i]!);
  }

  /** GNTTABOP_unmap_and_replace. */
  gnttabUnmapAndReplace(ops: readonly GnttabUnmapAndReplace[], count = ops.length): void {
    this.#enter();
    for (let i = 0; i < count; i++) unmapAndReplace(this.#domain, ops[i]!);
  }

  /** GNTTABOP_swap_grant_ref. */
  gnttabSwap(ops: readonly GnttabSwapGrantRef[], count = ops.length): void {
    this.#enter();
    for (let i = 0; i < count; i++) swapGrantRef(this.#domain, ops[i]!);
  }

  /** GNTTABOP_transfer. */
  gnttabTransfer(ops: readonly GnttabTransfer[], count = ops.length): void {
    this.#enter();
    for (let i = 0; i < count; i++) transfer(this.#domain, ops[i]!);
  }

  /** GNTTABOP_copy. */
  gnttabCopy(ops: readonly GnttabCopy[], count = ops.length): void {
    this.#enter();
    copy(this.#domain, ops, count);
  }

  /** GNTTABOP_cache_flush: 0 or -errno. */
  gnttabCacheFlush(op: GnttabCacheFlush): number {
    this.#enter();
    let result = 0;
    do result = cacheFlush(this.#domain, op, result);
    while (result > 0);
    return result;
  }

  /** GNTTABOP_setup_table. */
  setupTable(nrFrames: number, dom: number = DOMID_SELF): SetupTable {
    this.#enter();
    const op: SetupTable = { dom, nrFrames, status: 0, frames: [] };
    setupTable(this.#domain, op);
    return op;
  }

  /** GNTTABOP_query_size. */
  querySize(dom: number = DOMID_SELF): QuerySize {
    this.#enter();
    const op: QuerySize = { dom, nrFrames: 0, maxNrFrames: 0, status: 0 };
    querySize(this.#domain, op);
    return op;
  }

  /** GNTTABOP_get_status_frames: the first `nrFrames`, which the table must have. */
  getStatusFrames(nrFrames: number, dom: number = DOMID_SELF): GetStatusFrames {
    this.#enter();
    const op: GetStatusFrames = { dom, nrFrames, status: 0, frames: [] };
    getStatusFrames(this.#domain, op);
    return op;
  }

  /** GNTTABOP_set_version: 0 or -errno. */
  setGrantVersion(version: number): number {
    this.#enter();
    return setVersion(this.#domain, { version });
  }

  /** GNTTABOP_get_version: 1, 2 or -errno. */
  getGrantVersion(dom: number = DOMID_SELF): number {
    this.#enter();
    const op = { dom, version: 0 };
    const result = getVersion(this.#domain, op);
    return result < 0 ? result : op.version;
  }

  /** EVTCHNOP_alloc_unbound: 0 or -errno. */
  evtchnAllocUnbound(op: EvtchnAllocUnbound): number {
    this.#enter();
    return evtchnAllocUnbound(this.#domain, op);
  }

  /** EVTCHNOP_bind_interdomain: 0 or -errno. */
  evtchnBindInterdomain(op: EvtchnBindInterdomain): number {
    this.#enter();
    return evtchnBindInterdomain(this.#domain, op);
  }

  /** EVTCHNOP_close: 0 or -errno. */
  evtchnClose(port: number): number {
    this.#enter();
    return evtchnClose(this.#domain, port);
  }

  /** EVTCHNOP_send: 0 or -errno. */
  evtchnSend(port: number): number {
    this.#enter();
    return evtchnSend(this.#domain, port);
  }

  /** EVTCHNOP_unmask: 0 or -errno. */
  evtchnUnmask(port: number): number {
    this.#enter();
    return evtchnUnmask(this.#domain, port);
  }

  /** EVTCHNOP_status: 0 or -errno. */
  evtchnStatus(op: EvtchnStatus): number {
    this.#enter();
    return evtchnStatus(this.#domain, op);
  }

  /** update_va_mapping: maps an own frame at `va`, or clears the mapping with `null`. 0 or -errno. */
  updateVaMapping(va: number, mfn: number | null, writable: boolean): number {
    this.#enter();
    return updateVaMapping(this.#domain, va, mfn ?? INVALID_MFN, writable);
  }

  /** XENMEM_add_to_physmap of a translated domain. 0 or -errno. */
  addToPhysmap(space: number, index: number, gfn: number): number {
    this.#enter();
    return addToPhysmap(this.#domain, space, index, gfn);
  }

  /** Page tables for `pages` pages from `va` on. 0 or -errno. */
  providePageTables(va: number, pages: number): number {
    this.#enter();
    return providePageTables(this.#domain, va, pages);
  }

  /** MMU_MACHPHYS_UPDATE of a PV domain. 0 or -errno. */
  machphysUpdate(mfn: number, gfn: number): number {
    this.#enter();
    return machphysUpdate(this.#domain, mfn, gfn);
  }

  /** XENMEM_decrease_reservation: how many extents were given back. */
  decreaseReservation(extents: readonly number[]): number {
    this.#enter();
    return decreaseReservation(this.#domain, extents);
  }

  /** XENMEM_increase_reservation: the mfns of fresh pages, at most `count`. */
  increaseReservation(count: number): number[] {
    this.#enter();
    return increaseReservation(this.#domain, count);
  }

  /** XENMEM_populate_physmap: how many gfns got a page. */
  populatePhysmap(gfns: readonly number[]): number {
    this.#enter();
    return populatePhysmap(this.#domain, gfns);
  }

  /**
   * XENMEM_exchange: gives pages, as the domain names them, for fresh ones behind as many gfns. As many are exchanged as
   * there are `mfns`.
   */
  memoryExchange(gmfns: readonly number[], gfns: readonly number[]): Exchanged {
    this.#enter();
    return memoryExchange(this.#domain, gmfns, gfns);
  }

  /** XENMEM_acquire_resource: `count` frames from `frame` on of another domain's grant table, for a PV control domain. */
  acquireResource(name: ResourceName, frame: number, count: number): AcquiredFrames {
    this.#enter();
    return acquireResource(this.#domain, name, frame, count);
  }
}
