/**
 * GNTTABOP_copy (grant_table.h): the hypervisor copies between frames, each named by a grant reference or, for the
 * caller's own, by frame number. Neighbours in a batch that name the same page keep it claimed.
 */
import {
  GNTCOPY_dest_gref,
  GNTCOPY_source_gref,
  GNTST_bad_copy_arg,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
} from '../abi/grant-table.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import { COUNTER } from '../machine/counters.ts';
import type { Domain } from '../machine/machine.ts';
import { getPageFor, ownerOf, putPageFor } from '../machine/frame-table.ts';
import { frameAddress, PAGE_SIZE } from '../machine/page.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { frameNamed } from './frames.ts';
import { pinFrame } from './map.ts';
import { reduceStatusForPin, setStatusV1 } from './status.ts';
import {
  activeEntry,
  GNTPIN_hstr_inc,
  GNTPIN_hstw_inc,
  GNTPIN_writers,
  overflowMask,
} from './structs.ts';
import {
  activeEntryAcquire,
  activeEntryReacquire,
  activeEntryRelease,
  sharedEntryV1,
} from './table.ts';

/** One side of a copy: `ref` of `domid`'s table where the flag says so, else the caller's own frame `gmfn`. */
export class GnttabCopyPtr {
  ref = 0;
  gmfn = 0;
  domid = 0;
  offset = 0;
}

/** struct gnttab_copy. */
export class GnttabCopy {
  readonly source = new GnttabCopyPtr();
  readonly dest = new GnttabCopyPtr();
  len = 0;
  /** GNTCOPY_* */
  flags = 0;
  status = 0;
}

const { pin: PIN, domid: DOMID, frame: FRAME } = activeEntry.offset;

/** struct gnttab_copy_buf: a page that a side has claimed, kept for the next element if that names the same. */
class CopyBuf {
  readonly #writable: boolean;
  #claimed = false;
  #byRef = false;
  /** Reference or gmfn. */
  #name = 0;
  #domain: Domain | undefined;
  /** The granter's entries, while a grant is claimed. */
  #active = 0;
  #shared = 0;
  frame = 0;

  constructor(writable: boolean) {
    this.#writable = writable;
  }

  /** gnttab_copy_claim_buf(): holds the page that `ptr` names, unless it is held already. */
  claim(caller: Domain, ptr: GnttabCopyPtr, byRef: boolean, domain: Domain): number {
    const name = byRef ? ptr.ref : ptr.gmfn;
    if (this.#claimed) {
      if (this.#domain === domain && this.#byRef === byRef && this.#name === name)
        return GNTST_okay;
      this.release();
    }
    const status = byRef ? this.#acquireGrant(caller, domain, name) : this.#ownFrame(domain, name);
    if (status !== GNTST_okay) return status;
    this.#domain = domain;
    this.#byRef = byRef;
    this.#name = name;
    this.#claimed = true;
    return GNTST_okay;
  }

  /** gnttab_copy_release_buf(). */
  release(): void {
    if (!this.#claimed) return;
    this.#claimed = false;
    const domain = this.#domain!;
    putPageFor(domain.machine, this.frame, this.#writable);
    if (this.#byRef) this.#releaseGrant(domain);
  }

  #ownFrame(domain: Domain, gmfn: number): number {
    const { machine } = domain;
    this.frame = frameNamed(domain, gmfn);
    if (getPageFor(machine, this.frame, domain.id, this.#writable)) return GNTST_okay;
    return ownerOf(machine, this.frame) === domain.id ? GNTST_general_error : GNTST_bad_page;
  }

  /** acquire_grant_for_copy(): pins the grant and takes a reference to its frame. */
  #acquireGrant(caller: Domain, granter: Domain, ref: number): number {
    const active = activeEntryAcquire(granter, ref);
    if (active === 0) return GNTST_bad_gntref;
    this.#active = active;
    this.#shared = sharedEntryV1(granter, ref);
    const status = this.#pin(caller, granter, active, this.#shared);
    activeEntryRelease(granter, active);
    return status;
  }

  #pin(caller: Domain, granter: Domain, active: number, shared: number): number {
    const { machine } = granter;
    const { u16, u32 } = machine.heap;
    const readonly = !this.#writable;
    const pin = u32[(active + PIN) >>> 2]!;
    const increment = readonly ? GNTPIN_hstr_inc : GNTPIN_hstw_inc;
    if (pin !== 0) {
      const other = u16[(active + DOMID) >>> 1] !== caller.id;
      if (other || (pin & overflowMask(increment)) !== 0) return GNTST_general_error;
    }
    const checked = pin !== 0 && (readonly || (pin & GNTPIN_writers) !== 0);
    if (checked && granter.isDying) return GNTST_bad_domain;
    let status = GNTST_okay as number;
    if (!checked) {
      status = setStatusV1(machine, shared, active, caller.id, readonly, false);
      if (status !== GNTST_okay) return status;
      const granted = u32[(shared + 4) >>> 2]!;
      status =
        pin === 0
          ? pinFrame(granter, active, granted, caller.id)
          : sameFrame(granter, active, granted);
    }
    const frame = u32[(active + FRAME) >>> 2]!;
    if (status === GNTST_okay && !getPageFor(machine, frame, granter.id, this.#writable)) {
      status = GNTST_general_error;
    }
    if (status === GNTST_okay) {
      this.frame = frame;
      u32[(active + PIN) >>> 2] = pin + increment;
    } else reduceStatusForPin(machine, shared, active, readonly);
    return status;
  }

  /** release_grant_for_copy(). */
  #releaseGrant(granter: Domain): void {
    const { machine } = granter;
    const active = this.#active;
    activeEntryReacquire(granter, active);
    machine.heap.u32[(active + PIN) >>> 2]! -= this.#writable ? GNTPIN_hstw_inc : GNTPIN_hstr_inc;
    reduceStatusForPin(machine, this.#shared, active, !this.#writable);
    activeEntryRelease(granter, active);
  }
}

/** The first writer of an entry that readers have pinned must find a frame of the granter's, and the one they pinned. */
function sameFrame(granter: Domain, active: number, granted: number): number {
  const { machine } = granter;
  const frame = frameNamed(granter, granted);
  if (ownerOf(machine, frame) !== granter.id) return GNTST_bad_page;
  const pinned = machine.heap.u32[(active + FRAME) >>> 2]!;
  return frame === pinned ? GNTST_okay : GNTST_general_error;
}

const source = new CopyBuf(false);
const dest = new CopyBuf(true);

/** Copies `count` elements; each has its own status, and none stops the rest. */
export function copy(caller: Domain, ops: readonly GnttabCopy[], count: number): void {
  let bytes = 0;
  let copies = 0;
  const { trace } = caller.machine;
  for (let i = 0; i < count; i++) {
    const op = ops[i]!;
    op.status = copyOne(caller, op);
    if (op.status === GNTST_okay) {
      copies += 1;
      bytes += op.len;
    } else {
      source.release();
      dest.release();
    }
    if (trace.enabled) {
      const { source: from, dest: to, len, status, flags } = op;
      const sourceName = flags & GNTCOPY_source_gref ? from.ref : from.gmfn;
      const destName = flags & GNTCOPY_dest_gref ? to.ref : to.gmfn;
      trace.emit(TRACE.grantCopy, caller.id, sourceName, destName, len, status, flags);
    }
  }
  source.release();
  dest.release();
  caller.machine.reap();
  caller.count(COUNTER.copies, copies);
  caller.count(COUNTER.copiedBytes, bytes);
}

/** Order of checks: source domain, dest domain, source page, dest page, and only then offsets and length. */
function copyOne(caller: Domain, op: GnttabCopy): number {
  if (op.len === 0) return GNTST_okay;
  const sourceByRef = (op.flags & GNTCOPY_source_gref) !== 0;
  const destByRef = (op.flags & GNTCOPY_dest_gref) !== 0;
  const sourceDomain = sideDomain(caller, op.source, sourceByRef);
  if (typeof sourceDomain === 'number') return sourceDomain;
  const destDomain = sideDomain(caller, op.dest, destByRef);
  if (typeof destDomain === 'number') return destDomain;
  let status = source.claim(caller, op.source, sourceByRef, sourceDomain);
  if (status !== GNTST_okay) return status;
  status = dest.claim(caller, op.dest, destByRef, destDomain);
  if (status !== GNTST_okay) return status;
  if (op.source.offset + op.len > PAGE_SIZE || op.dest.offset + op.len > PAGE_SIZE) {
    return GNTST_bad_copy_arg;
  }
  caller.machine.copyBytes(
    frameAddress(dest.frame) + op.dest.offset,
    frameAddress(source.frame) + op.source.offset,
    op.len,
  );
  return GNTST_okay;
}

/** gnttab_copy_lock_domain(): a frame number may only name the caller's own page. */
function sideDomain(caller: Domain, ptr: GnttabCopyPtr, byRef: boolean): Domain | number {
  if (ptr.domid === DOMID_SELF) return caller;
  if (!byRef) return GNTST_permission_denied;
  return caller.machine.domainById(ptr.domid) ?? GNTST_bad_domain;
}
