/**
 * A domain's grant table: creation, growth, and finding entries. Shared frames, status frames and Xen's active entries
 * are listed in one frame each, so a table has at most 1024 frames and growth moves nothing.
 * Sources: grant_table.h (struct grant_entry_v1 and _v2), docs/misc/grant-tables.txt of Xen.
 */
import type { Domain } from '../machine/machine.ts';
import {
  allocXenHeapPage,
  freeXenHeapPage,
  referenceCount,
  shareXenPageWithGuest,
} from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import { PAGE_SIZE } from '../machine/page.ts';
import { ACTIVE_PER_PAGE, activeEntry, GT } from './structs.ts';

// Constants of this module: V8 folds what is not imported into the code.
const {
  lock: LOCK,
  version: VERSION,
  max_version: MAX_VERSION,
  nr_grant_frames: NR_GRANT_FRAMES,
  max_grant_frames: MAX_GRANT_FRAMES,
  shared_list: SHARED_LIST,
  active_list: ACTIVE_LIST,
  nr_active_frames: NR_ACTIVE_FRAMES,
  status_list: STATUS_LIST,
  nr_status_frames: NR_STATUS_FRAMES,
  nr_maptrack_frames: NR_MAPTRACK_FRAMES,
  max_maptrack_frames: MAX_MAPTRACK_FRAMES,
  maptrack_list: MAPTRACK_LIST,
} = GT;
const ENTRY_LOCK = activeEntry.offset.lock;

/** Entries in a shared frame: of 8 bytes in version 1, of 16 in version 2. */
export const GRANT_PER_PAGE_V1 = PAGE_SIZE / 8;
export const GRANT_PER_PAGE_V2 = PAGE_SIZE / 16;
/** Status words in a status frame, and so the shared frames of version 2 that it serves. */
const STATUS_PER_PAGE = PAGE_SIZE / 2;
const SHARED_PER_STATUS_FRAME = STATUS_PER_PAGE / GRANT_PER_PAGE_V2;
const INITIAL_NR_GRANT_FRAMES = 1;
const MAX_LISTED = 1024;

/** What a domain's grant table may grow to (struct xen_domctl_createdomain, and the command line's `gnttab=`). */
export interface GrantTableLimits {
  /** Shared frames at most (gnttab_max_frames). Default 64: 32,768 entries of version 1. */
  maxGrantFrames?: number;
  /** Frames of map track entries at most (gnttab_max_maptrack_frames); with 0 it can map nothing. Default 256. */
  maxMaptrackFrames?: number;
  /** The highest version that the domain may choose (gnttab=max-ver). Default 2. */
  maxGrantVersion?: 1 | 2;
}

/** grant_table_init(): version 1, one frame. False when memory is exhausted. Throws RangeError. */
export function initGrantTable(domain: Domain, limits: GrantTableLimits): boolean {
  const { maxGrantFrames = 64, maxMaptrackFrames = 256, maxGrantVersion = 2 } = limits;
  const { machine, base } = domain;
  const { u32 } = machine;
  for (const [name, value, least, most] of [
    ['maxGrantFrames', maxGrantFrames, INITIAL_NR_GRANT_FRAMES, MAX_LISTED],
    ['maxMaptrackFrames', maxMaptrackFrames, 0, MAX_LISTED],
    ['maxGrantVersion', maxGrantVersion, 1, 2],
  ] as const) {
    if (value < least || value > most) {
      throw new RangeError(`${name} ${value}: allowed are ${least} to ${most}`);
    }
  }
  for (const list of [SHARED_LIST, ACTIVE_LIST, STATUS_LIST, MAPTRACK_LIST]) {
    const frame = allocXenHeapPage(machine);
    if (frame === INVALID_MFN) return false;
    u32[(base + list) >>> 2] = frame;
  }
  u32[(base + VERSION) >>> 2] = 1;
  u32[(base + MAX_VERSION) >>> 2] = maxGrantVersion;
  u32[(base + MAX_GRANT_FRAMES) >>> 2] = maxGrantFrames;
  u32[(base + MAX_MAPTRACK_FRAMES) >>> 2] = maxMaptrackFrames;
  return growTable(domain, INITIAL_NR_GRANT_FRAMES);
}

/** gt_version: 1 or 2. */
export const grantVersion = (domain: Domain): number =>
  domain.machine.u32[(domain.base + VERSION) >>> 2]!;
export const nrGrantFrames = (domain: Domain): number =>
  domain.machine.u32[(domain.base + NR_GRANT_FRAMES) >>> 2]!;
export const maxGrantFrames = (domain: Domain): number =>
  domain.machine.u32[(domain.base + MAX_GRANT_FRAMES) >>> 2]!;
export const nrStatusFrames = (domain: Domain): number =>
  domain.machine.u32[(domain.base + NR_STATUS_FRAMES) >>> 2]!;

/** grant_to_status_frames(): status frames that so many shared frames need. */
const statusFramesFor = (sharedFrames: number): number =>
  Math.ceil(sharedFrames / SHARED_PER_STATUS_FRAME);

/**
 * gnttab_grow_table(): at least `frames` shared frames, and in version 2 their status frames; all or nothing. The caller
 * holds the write lock, or nobody knows the domain.
 */
function growTable(domain: Domain, frames: number): boolean {
  const { base } = domain;
  const { u32 } = domain.machine;
  if (frames > maxGrantFrames(domain)) return false;
  const before = nrGrantFrames(domain);
  if (frames <= before) return true;
  // Enough active entries for either version: the entries of version 1 are more.
  const active = Math.ceil((frames * GRANT_PER_PAGE_V1) / ACTIVE_PER_PAGE);
  const activeBefore = u32[(base + NR_ACTIVE_FRAMES) >>> 2]!;
  if (!extend(domain, ACTIVE_LIST, NR_ACTIVE_FRAMES, active)) return false;
  if (extend(domain, SHARED_LIST, NR_GRANT_FRAMES, frames, true)) {
    if (grantVersion(domain) === 1 || populateStatusFrames(domain, frames)) return true;
    shrink(domain, SHARED_LIST, NR_GRANT_FRAMES, before);
  }
  shrink(domain, ACTIVE_LIST, NR_ACTIVE_FRAMES, activeBefore);
  return false;
}

/** gnttab_populate_status_frames(): the status frames for so many shared frames; all or nothing. */
export const populateStatusFrames = (domain: Domain, sharedFrames: number): boolean =>
  extend(domain, STATUS_LIST, NR_STATUS_FRAMES, statusFramesFor(sharedFrames), true);

/** Has a list contain `frames` frames, zeroed, or leaves it as it was when memory is exhausted. */
function extend(
  domain: Domain,
  list: number,
  count: number,
  frames: number,
  shared = false,
): boolean {
  const { base } = domain;
  const { u32 } = domain.machine;
  const before = u32[(base + count) >>> 2]!;
  for (let i = before; i < frames; i++) {
    if (!listFrame(domain, list, i)) {
      shrink(domain, list, count, before);
      return false;
    }
    if (shared) shareXenPageWithGuest(domain, listedFrame(domain, list, i));
    u32[(base + count) >>> 2] = i + 1;
  }
  return true;
}

/** Frees the frames of a list from number `frames` on. */
function shrink(domain: Domain, list: number, count: number, frames: number): void {
  const { machine, base } = domain;
  const { u32 } = machine;
  for (let i = u32[(base + count) >>> 2]! - 1; i >= frames; i--) {
    freeXenHeapPage(machine, listedFrame(domain, list, i));
    u32[(base + count) >>> 2] = i;
  }
}

/** Allocates the `index`-th frame of a list; false when memory is exhausted. */
export function listFrame(domain: Domain, list: number, index: number): boolean {
  const { machine, base } = domain;
  const frame = allocXenHeapPage(machine);
  if (frame === INVALID_MFN) return false;
  machine.u32[(machine.u32[(base + list) >>> 2]! << 10) + index] = frame;
  return true;
}

/** The `index`-th frame of a list. */
export function listedFrame(domain: Domain, list: number, index: number): number {
  const { u32 } = domain.machine;
  return u32[(u32[(domain.base + list) >>> 2]! << 10) + index]!;
}

/** Machine frame of the table's `index`-th shared frame, or status frame. The index is below their number. */
export const sharedFrameAt = (domain: Domain, index: number): number =>
  listedFrame(domain, SHARED_LIST, index);
export const statusFrameAt = (domain: Domain, index: number): number =>
  listedFrame(domain, STATUS_LIST, index);

/** gnttab_get_shared_frame_mfn(): the table's `index`-th shared frame, grown to have it; INVALID_MFN over the limit. */
export function sharedFrame(domain: Domain, index: number): number {
  return ensureFrames(domain, index + 1) ? sharedFrameAt(domain, index) : INVALID_MFN;
}

/** gnttab_get_status_frame_mfn(): the same for status frames; INVALID_MFN in version 1 too. */
export function statusFrame(domain: Domain, index: number): number {
  if (grantVersion(domain) !== 2) return INVALID_MFN;
  const there =
    index < nrStatusFrames(domain) || ensureFrames(domain, (index + 1) * SHARED_PER_STATUS_FRAME);
  return there ? statusFrameAt(domain, index) : INVALID_MFN;
}

/** Has the table contain `frames` shared frames, under the write lock; false over the limit or without memory. */
export function ensureFrames(domain: Domain, frames: number): boolean {
  if (frames <= nrGrantFrames(domain)) return true;
  const { native } = domain.machine;
  native.writeLock(domain.base + LOCK);
  const grown = growTable(domain, frames);
  native.writeUnlock(domain.base + LOCK);
  return grown;
}

/** nr_grant_entries(): references below this have an entry. */
export function nrGrantEntries({ machine, base }: Domain): number {
  const { u32 } = machine;
  // 512 or 256 in a frame.
  return u32[(base + NR_GRANT_FRAMES) >>> 2]! << (10 - u32[(base + VERSION) >>> 2]!);
}

/** shared_entry_header(): byte offset in bank 0 of an entry, of either version. `ref` is below nrGrantEntries. */
export function sharedEntryOf({ machine, base }: Domain, ref: number): number {
  const { u32 } = machine;
  const list = u32[(base + SHARED_LIST) >>> 2]! << 10;
  return u32[(base + VERSION) >>> 2] === 1
    ? (u32[list + (ref >>> 9)]! << 12) + ((ref & 511) << 3)
    : (u32[list + (ref >>> 8)]! << 12) + ((ref & 255) << 4);
}

/** Byte offset of the word with GTF_reading and GTF_writing: an entry's flags in version 1, its status word in version 2. */
export const statusWordOf = (domain: Domain, ref: number): number =>
  statusWordAt(domain, ref, sharedEntryOf(domain, ref));

/** The same where the entry is known to be at `shared`. */
export function statusWordAt(domain: Domain, ref: number, shared: number): number {
  return domain.machine.u32[(domain.base + VERSION) >>> 2] === 1
    ? shared
    : (listedFrame(domain, STATUS_LIST, ref >>> 11) << 12) + ((ref & 2047) << 1);
}

/** Byte offset in bank 0 of an active entry. `ref` is below nrGrantEntries. */
export function activeEntryOf({ machine, base }: Domain, ref: number): number {
  const { u32 } = machine;
  return (u32[(u32[(base + ACTIVE_LIST) >>> 2]! << 10) + (ref >>> 7)]! << 12) + ((ref & 127) << 5);
}

/**
 * active_entry_acquire(): takes the table's read lock and then the entry's ("Summary of rules for locking"), and returns
 * the entry; 0, with nothing locked, if the table has no such reference.
 */
export function activeEntryAcquire(domain: Domain, ref: number): number {
  const { native } = domain.machine;
  native.readLock(domain.base + LOCK);
  if (ref >>> 0 === ref && ref < nrGrantEntries(domain)) {
    const active = activeEntryOf(domain, ref);
    native.spinLock(active + ENTRY_LOCK);
    return active;
  }
  native.readUnlock(domain.base + LOCK);
  return 0;
}

/** The same for an entry that was acquired before: entries do not move. */
export function activeEntryReacquire(domain: Domain, active: number): void {
  const { native } = domain.machine;
  native.readLock(domain.base + LOCK);
  native.spinLock(active + ENTRY_LOCK);
}

/** active_entry_release(), and the table's read lock with it. */
export function activeEntryRelease(domain: Domain, active: number): void {
  const { native } = domain.machine;
  native.spinUnlock(active + ENTRY_LOCK);
  native.readUnlock(domain.base + LOCK);
}

/** grant_table_destroy(): frees every frame of a table that nobody uses any more. */
export function destroyGrantTable(domain: Domain): void {
  const { machine, base } = domain;
  const { u32 } = machine;
  for (const [list, count] of [
    [SHARED_LIST, NR_GRANT_FRAMES],
    [STATUS_LIST, NR_STATUS_FRAMES],
    [ACTIVE_LIST, NR_ACTIVE_FRAMES],
    [MAPTRACK_LIST, NR_MAPTRACK_FRAMES],
  ] as const) {
    shrink(domain, list, count, 0);
    // A domain whose creation failed may not have come this far.
    if (u32[(base + list) >>> 2] !== 0) freeXenHeapPage(machine, u32[(base + list) >>> 2]!);
  }
}

/** Nobody but the table itself holds its shared and status frames: guests map them, and may have granted them. */
export function sharedFramesIdle(domain: Domain): boolean {
  for (let i = 0; i < nrGrantFrames(domain); i++) {
    if (referenceCount(domain.machine, sharedFrameAt(domain, i)) > 1) return false;
  }
  return statusFramesIdle(domain);
}

/** The same of status frames alone. */
function statusFramesIdle(domain: Domain): boolean {
  for (let i = 0; i < nrStatusFrames(domain); i++) {
    if (referenceCount(domain.machine, statusFrameAt(domain, i)) > 1) return false;
  }
  return true;
}
