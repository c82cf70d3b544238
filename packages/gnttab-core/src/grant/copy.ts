/**
 * GNTTABOP_copy (grant_table.h): the hypervisor copies between frames, each named by a grant reference or, for the
 * caller's own, by frame number. Neighbours in a batch that name the same page keep it claimed.
 */
import {
  GNTCOPY_dest_gref,
  GNTCOPY_source_gref,
  GNTST_bad_copy_arg,
  GNTST_bad_domain,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
} from '../abi/grant-table.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import { COUNTER } from '../machine/counters.ts';
import type { Domain } from '../machine/machine.ts';
import { putPageFor } from '../machine/frame-table.ts';
import { PAGE_SIZE } from '../machine/page.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { pagedFrame, takePage } from './frames.ts';
import { acquireGrant, type Pinned, releaseGrant, TRY_AGAIN } from './pin-for-copy.ts';

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

/** struct gnttab_copy_buf: a page that a side has claimed, kept for the next element if that names the same. */
class CopyBuf implements Pinned {
  readonly writable: boolean;
  /** Whose page is claimed; undefined if none is. */
  domain: Domain | undefined;
  byRef = false;
  /** Reference or gmfn. */
  name = 0;
  active = 0;
  frame = 0;
  /** The window that may be copied. */
  start = 0;
  length = 0;

  constructor(writable: boolean) {
    this.writable = writable;
  }

  /** gnttab_copy_claim_buf(): holds the page that `ptr` names, unless it is held already. */
  claim(caller: Domain, ptr: GnttabCopyPtr, byRef: boolean, domain: Domain): number {
    const name = byRef ? ptr.ref : ptr.gmfn;
    if (this.domain !== undefined) {
      if (this.domain === domain && this.byRef === byRef && this.name === name) return GNTST_okay;
      this.release();
    }
    const status = byRef
      ? acquireGrant(domain, name, caller.id, !this.writable, this)
      : this.claimOwn(domain, name);
    if (status !== GNTST_okay) return status;
    this.domain = domain;
    this.byRef = byRef;
    this.name = name;
    return GNTST_okay;
  }

  claimOwn(domain: Domain, gmfn: number): number {
    const frame = pagedFrame(domain, gmfn);
    if (frame < 0) return frame;
    this.frame = frame;
    this.start = 0;
    this.length = PAGE;
    return takePage(domain.machine, frame, domain.id, this.writable);
  }

  /** gnttab_copy_release_buf(). */
  release(): void {
    const { domain } = this;
    if (domain === undefined) return;
    this.domain = undefined;
    // The pin first: the page keeps its granter, should that die, until the pin is gone.
    if (this.byRef) releaseGrant(domain, this.name, this.active, !this.writable);
    putPageFor(domain.machine, this.frame, this.writable);
  }
}

// Constants of this module: V8 folds them into the code, what is imported it does not.
const PAGE = PAGE_SIZE;
const BY_REF = { source: GNTCOPY_source_gref, dest: GNTCOPY_dest_gref };
const source = new CopyBuf(false);
const dest = new CopyBuf(true);
/** What the batch has done so far. */
const done = { copies: 0, bytes: 0 };

/** Copies `count` elements; each has its own status, and none stops the rest. */
export function copy(caller: Domain, ops: readonly GnttabCopy[], count: number): void {
  try {
    for (let i = 0; i < count; i++) {
      const op = ops[i]!;
      // A grant that Xen would have tried for ever: nobody but the granter can end that.
      if (!copyOne(caller, op)) op.status = GNTST_general_error;
    }
  } finally {
    copyEnd(caller);
  }
}

/**
 * Copies one element, and keeps its pages claimed for the next. False: "try again" (-ERESTART), with nothing done and no
 * status: its grant is pinned as something else than it is now.
 */
export function copyOne(caller: Domain, op: GnttabCopy): boolean {
  const status = tryCopy(caller, op);
  if (status === GNTST_okay) {
    done.copies += 1;
    done.bytes += op.len;
  } else copyRelease();
  if (status === TRY_AGAIN) return false;
  op.status = status;
  if (caller.machine.trace.enabled) traceCopy(caller, op);
  return true;
}

function traceCopy(
  caller: Domain,
  { source: from, dest: to, len, flags, status }: GnttabCopy,
): void {
  const sourceName = flags & GNTCOPY_source_gref ? from.ref : from.gmfn;
  const destName = flags & GNTCOPY_dest_gref ? to.ref : to.gmfn;
  const { trace } = caller.machine;
  trace.emit(TRACE.grantCopy, caller.id, sourceName, destName, len, status, flags);
}

/** The end of a batch, or of what is done of it: what is claimed is released. */
export function copyEnd(caller: Domain): void {
  copyRelease();
  caller.count(COUNTER.copies, done.copies);
  caller.count(COUNTER.copiedBytes, done.bytes);
  done.copies = 0;
  done.bytes = 0;
  caller.machine.reap();
}

function copyRelease(): void {
  source.release();
  dest.release();
}

const isUint16 = (value: number): boolean => (value & 0xffff) === value;

/** Order of checks: source domain, dest domain, source page, dest page, and only then offsets and length. */
function tryCopy(caller: Domain, op: GnttabCopy): number {
  const { source: from, dest: to, len, flags } = op;
  if (len === 0) return GNTST_okay;
  const sourceByRef = (flags & BY_REF.source) !== 0;
  const destByRef = (flags & BY_REF.dest) !== 0;
  const sourceDomain = sideDomain(caller, from, sourceByRef);
  if (typeof sourceDomain === 'number') return sourceDomain;
  const destDomain = sideDomain(caller, to, destByRef);
  if (typeof destDomain === 'number') return destDomain;
  let status = source.claim(caller, from, sourceByRef, sourceDomain);
  if (status !== 0) return status;
  status = dest.claim(caller, to, destByRef, destDomain);
  if (status !== 0) return status;
  const fromOffset = from.offset;
  const toOffset = to.offset;
  // Fields of 16 bits in the ABI: no copy may leave its page whatever a caller puts there.
  if (!isUint16(fromOffset) || !isUint16(toOffset) || !isUint16(len)) return GNTST_bad_copy_arg;
  if (fromOffset + len > PAGE || toOffset + len > PAGE) return GNTST_bad_copy_arg;
  if (!inWindow(source, fromOffset, len) || !inWindow(dest, toOffset, len)) {
    return GNTST_general_error;
  }
  caller.machine.copyBytes(dest.frame * PAGE + toOffset, source.frame * PAGE + fromOffset, len);
  return GNTST_okay;
}

const inWindow = (buf: CopyBuf, offset: number, len: number): boolean =>
  offset >= buf.start && offset + len <= buf.start + buf.length;

/** gnttab_copy_lock_domain(): a frame number may only name the caller's own page. */
function sideDomain(caller: Domain, ptr: GnttabCopyPtr, byRef: boolean): Domain | number {
  if (ptr.domid === DOMID_SELF) return caller;
  if (!byRef) return GNTST_permission_denied;
  return caller.machine.domainById(ptr.domid) ?? GNTST_bad_domain;
}
