/**
 * A domain's grant table: creation, growth, and finding entries. Both the shared frames and Xen's active entries are
 * listed in one frame each, so a table has at most 1024 frames and growth moves nothing.
 * Sources: grant_table.h (GNTTABOP_setup_table, _query_size), docs/misc/grant-tables.txt of Xen.
 */
import { DOMID_SELF } from '../abi/xen.ts';
import {
  GNTST_bad_domain,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
} from '../abi/grant-table.ts';
import type { Domain } from '../machine/machine.ts';
import {
  allocXenHeapPage,
  freeXenHeapPage,
  referenceCount,
  shareXenPageWithGuest,
} from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { ACTIVE_PER_PAGE, activeEntry, GT, MAPTRACK_TAIL } from './structs.ts';

/** Entries of version 1 in a shared frame. */
export const GRANT_PER_PAGE_V1 = 512;
const INITIAL_NR_GRANT_FRAMES = 1;
const MAX_LISTED = 1024;

export interface GrantTableLimits {
  /** Shared frames at most (gnttab_max_frames). Default 64: 32,768 entries. */
  maxGrantFrames?: number;
  /** Frames of map track entries at most (gnttab_max_maptrack_frames); with 0 it can map nothing. Default 256. */
  maxMaptrackFrames?: number;
}

/** grant_table_init(): version 1, one frame. False when memory is exhausted. */
export function initGrantTable(domain: Domain, limits: GrantTableLimits): boolean {
  const { maxGrantFrames = 64, maxMaptrackFrames = 256 } = limits;
  const { machine, base } = domain;
  const { u32 } = machine.heap;
  for (const [name, value, least] of [
    ['maxGrantFrames', maxGrantFrames, INITIAL_NR_GRANT_FRAMES],
    ['maxMaptrackFrames', maxMaptrackFrames, 0],
  ] as const) {
    if (value < least || value > MAX_LISTED) {
      throw new RangeError(`${name} ${value}: allowed are ${least} to ${MAX_LISTED}`);
    }
  }
  for (const list of [GT.shared_list, GT.active_list, GT.maptrack_list]) {
    const frame = allocXenHeapPage(machine);
    if (frame === INVALID_MFN) return false;
    u32[(base + list) >>> 2] = frame;
  }
  u32[(base + GT.version) >>> 2] = 1;
  u32[(base + GT.max_grant_frames) >>> 2] = maxGrantFrames;
  u32[(base + GT.max_maptrack_frames) >>> 2] = maxMaptrackFrames;
  u32[(base + GT.maptrack_head) >>> 2] = MAPTRACK_TAIL;
  u32[(base + GT.maptrack_tail) >>> 2] = MAPTRACK_TAIL;
  return growTable(domain, INITIAL_NR_GRANT_FRAMES);
}

/** gnttab_grow_table(): at least `frames` shared frames. The caller holds the write lock, or nobody knows the domain. */
export function growTable(domain: Domain, frames: number): boolean {
  const { machine, base } = domain;
  const { u32 } = machine.heap;
  if (frames > u32[(base + GT.max_grant_frames) >>> 2]!) return false;
  const have = u32[(base + GT.nr_grant_frames) >>> 2]!;
  const activeFrames = Math.ceil((frames * GRANT_PER_PAGE_V1) / ACTIVE_PER_PAGE);
  for (let i = u32[(base + GT.nr_active_frames) >>> 2]!; i < activeFrames; i++) {
    if (!listFrame(domain, GT.active_list, i)) return false;
    u32[(base + GT.nr_active_frames) >>> 2] = i + 1;
  }
  for (let i = have; i < frames; i++) {
    if (!listFrame(domain, GT.shared_list, i)) return false;
    shareXenPageWithGuest(domain, listedFrame(domain, GT.shared_list, i));
    u32[(base + GT.nr_grant_frames) >>> 2] = i + 1;
  }
  return true;
}

/** Allocates the `index`-th frame of a list; false when memory is exhausted. */
export function listFrame(domain: Domain, list: number, index: number): boolean {
  const { machine, base } = domain;
  const frame = allocXenHeapPage(machine);
  if (frame === INVALID_MFN) return false;
  machine.heap.u32[(machine.heap.u32[(base + list) >>> 2]! << 10) + index] = frame;
  return true;
}

/** The `index`-th frame of a list. */
export function listedFrame(domain: Domain, list: number, index: number): number {
  const { u32 } = domain.machine.heap;
  return u32[(u32[(domain.base + list) >>> 2]! << 10) + index]!;
}

/** The table's `index`-th shared frame, grown to have it; INVALID_MFN over the limit. */
export function sharedFrame(domain: Domain, index: number): number {
  const { native } = domain.machine;
  const { u32 } = domain.machine.heap;
  native.writeLock(domain.base + GT.lock);
  const there =
    index < u32[(domain.base + GT.nr_grant_frames) >>> 2]! || growTable(domain, index + 1);
  native.writeUnlock(domain.base + GT.lock);
  return there ? listedFrame(domain, GT.shared_list, index) : INVALID_MFN;
}

/** nr_grant_entries(): references below this have an entry. */
export const nrGrantEntries = (domain: Domain): number =>
  domain.machine.heap.u32[(domain.base + GT.nr_grant_frames) >>> 2]! * GRANT_PER_PAGE_V1;

/** Byte offset in bank 0 of a shared entry (version 1). `ref` is below nrGrantEntries. */
export const sharedEntryV1 = (domain: Domain, ref: number): number =>
  (listedFrame(domain, GT.shared_list, ref >>> 9) << 12) + ((ref & 511) << 3);

/** Byte offset in bank 0 of an active entry. `ref` is below nrGrantEntries. */
export const activeEntryOf = (domain: Domain, ref: number): number =>
  (listedFrame(domain, GT.active_list, ref >>> 7) << 12) + ((ref & 127) << 5);

/**
 * active_entry_acquire(): takes the table's read lock and the entry's lock, in that order ("Summary of rules for
 * locking"), and returns the entry; 0, with nothing locked, if the table has no such reference. (A table only grows.)
 */
export function activeEntryAcquire(domain: Domain, ref: number): number {
  if (ref >= nrGrantEntries(domain)) return 0;
  const active = activeEntryOf(domain, ref);
  activeEntryReacquire(domain, active);
  return active;
}

/** The same for an entry that was acquired before: entries do not move. */
export function activeEntryReacquire(domain: Domain, active: number): void {
  const { native } = domain.machine;
  native.readLockAndSpinLock(domain.base + GT.lock, active + activeEntry.offset.lock);
}

/** active_entry_release(), and the table's read lock with it. */
export function activeEntryRelease(domain: Domain, active: number): void {
  const { native } = domain.machine;
  native.readUnlockAndSpinUnlock(domain.base + GT.lock, active + activeEntry.offset.lock);
}

/** Who may look at or change another domain's table: itself, or a control domain. */
function targetOf(caller: Domain, dom: number): Domain | number {
  const domain = dom === DOMID_SELF ? caller : caller.machine.domainById(dom);
  if (domain === undefined) return GNTST_bad_domain;
  return domain === caller || caller.privileged ? domain : GNTST_permission_denied;
}

/** GNTTABOP_setup_table, without the writing of frame_list: `frames` are the frames to write, as the target names them. */
export interface SetupTable {
  dom: number;
  nrFrames: number;
  status: number;
  /** Filled on success: machine frames of the table's first `nrFrames` frames. */
  frames: number[];
}

/** GNTTABOP_setup_table: the table has at least `nrFrames` frames afterwards. Never shrinks. */
export function setupTable(caller: Domain, op: SetupTable): void {
  op.frames = [];
  const target = targetOf(caller, op.dom);
  op.status = typeof target === 'number' ? target : setupTarget(target, op);
  caller.machine.trace.emit(TRACE.setupTable, caller.id, op.dom, op.nrFrames, op.status);
}

function setupTarget(target: Domain, op: SetupTable): number {
  const { native } = target.machine;
  const { u32 } = target.machine.heap;
  const { base } = target;
  if (op.nrFrames > u32[(base + GT.max_grant_frames) >>> 2]!) return GNTST_general_error;
  native.writeLock(base + GT.lock);
  const grown =
    op.nrFrames <= u32[(base + GT.nr_grant_frames) >>> 2]! || growTable(target, op.nrFrames);
  native.writeUnlock(base + GT.lock);
  if (!grown) return GNTST_general_error;
  for (let i = 0; i < op.nrFrames; i++) op.frames.push(listedFrame(target, GT.shared_list, i));
  return GNTST_okay;
}

/** GNTTABOP_query_size. */
export interface QuerySize {
  dom: number;
  nrFrames: number;
  maxNrFrames: number;
  status: number;
}

/** GNTTABOP_query_size: present and highest number of shared frames. */
export function querySize(caller: Domain, op: QuerySize): void {
  const target = targetOf(caller, op.dom);
  if (typeof target === 'number') {
    op.status = target;
    return;
  }
  const { u32 } = target.machine.heap;
  op.nrFrames = u32[(target.base + GT.nr_grant_frames) >>> 2]!;
  op.maxNrFrames = u32[(target.base + GT.max_grant_frames) >>> 2]!;
  op.status = GNTST_okay;
}

/** grant_table_destroy(): frees every frame of a table that nobody uses any more. */
export function destroyGrantTable(domain: Domain): void {
  const { machine, base } = domain;
  const { u32 } = machine.heap;
  const lists = [
    [GT.shared_list, GT.nr_grant_frames],
    [GT.active_list, GT.nr_active_frames],
    [GT.maptrack_list, GT.nr_maptrack_frames],
  ] as const;
  for (const [list, count] of lists) {
    const frames = u32[(base + count) >>> 2]!;
    for (let i = 0; i < frames; i++) freeXenHeapPage(machine, listedFrame(domain, list, i));
    // A domain whose creation failed may not have come this far.
    if (u32[(base + list) >>> 2] !== 0) freeXenHeapPage(machine, u32[(base + list) >>> 2]!);
    u32[(base + count) >>> 2] = 0;
  }
}

/** Nobody but the table itself holds its shared frames: other domains may have been granted them, and map them. */
export function sharedFramesIdle(domain: Domain): boolean {
  const { machine, base } = domain;
  const frames = machine.heap.u32[(base + GT.nr_grant_frames) >>> 2]!;
  for (let i = 0; i < frames; i++) {
    if (referenceCount(machine, listedFrame(domain, GT.shared_list, i)) > 1) return false;
  }
  return true;
}
