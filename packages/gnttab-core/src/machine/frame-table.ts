/**
 * The frame table: who owns a frame and how many references to it exist. A frame with a reference besides its
 * allocation cannot change hands; one whose last reference goes is scrubbed and freed.
 * Names follow Xen's mm: get_page, put_page, get_page_type, steal_page, assign_pages.
 */
import { DOMID_INVALID, DOMID_XEN } from '../abi/xen.ts';
import { DOMAIN_HEAP_QUOTA, giveFree, takeFree, XEN_HEAP_QUOTA } from './free-pages.ts';
import type { Domain, Machine } from './machine.ts';
import { invariant } from './errors.ts';
import {
  DOMAIN,
  INVALID_MFN,
  pageInfo,
  PGC_allocated,
  PGC_count_mask,
  PGC_xen_heap,
  PGT_count_mask,
  PGT_l1_page_table,
  PGT_type_mask,
  PGT_writable_page,
} from './layout.ts';

const {
  count_info: COUNT,
  type_info: TYPE,
  owner: OWNER,
  gfn: GFN,
  next: NEXT,
  prev: PREV,
} = pageInfo.offset;

// Constants of this module: V8 folds them into the code, what is imported it does not.
const COUNT_MASK = PGC_count_mask;
const WRITABLE = PGT_writable_page;
const XEN_HEAP = PGC_xen_heap;
/** The count of a frame of the hypervisor's own that nobody else has a reference to. */
const XEN_ONLY = PGC_allocated | PGC_xen_heap | 1;

/** m2p of a frame that is nobody's pseudo-physical page. */
export const INVALID_M2P_ENTRY = 0xffff_ffff;

/** Takes a zeroed frame from the heap for the hypervisor itself; INVALID_MFN when memory is exhausted. */
export function allocXenHeapPage(machine: Machine): number {
  const frame = takeFree(machine, XEN_HEAP_QUOTA);
  if (frame === INVALID_MFN) return frame;
  const info = machine.pageInfo(frame);
  const { u16, u32, i32 } = machine;
  u16[(info + OWNER) >>> 1] = DOMID_XEN;
  u32[(info + GFN) >>> 2] = INVALID_M2P_ENTRY;
  i32[(info + TYPE) >>> 2] = 0;
  Atomics.store(i32, (info + COUNT) >>> 2, XEN_ONLY);
  return frame;
}

/** Gives a frame of the hypervisor's own back. A frame that was shared must not be mapped any more. */
export function freeXenHeapPage(machine: Machine, frame: number): void {
  const info = machine.pageInfo(frame);
  const previous = Atomics.exchange(machine.i32, (info + COUNT) >>> 2, 0);
  invariant(previous === XEN_ONLY, `frame ${frame} is still in use`);
  giveFree(machine, frame);
}

/**
 * Takes the last references of frames of the hypervisor's own, so that they can be freed; false, with all as they were, if
 * anybody else holds one.
 */
export function claimXenHeapPages(machine: Machine, frames: readonly number[]): boolean {
  const { native, i32 } = machine;
  const count = (frame: number) => machine.pageInfo(frame) + COUNT;
  const held = frames.findIndex((frame) => native.cas(count(frame), XEN_ONLY, 0) !== XEN_ONLY);
  if (held < 0) return true;
  for (const frame of frames.slice(0, held)) i32[count(frame) >>> 2] = XEN_ONLY;
  return false;
}

/** A frame of Xen's with only the domain to map it, freed with its last reference. INVALID_MFN without memory. */
export function allocPrivateCopy(domain: Domain): number {
  const frame = allocXenHeapPage(domain.machine);
  if (frame === INVALID_MFN) return frame;
  shareXenPageWithGuest(domain, frame);
  domain.machine.u32[(domain.base + DOMAIN.private_copies) >>> 2]! += 1;
  return frame;
}

/** share_xen_page_with_guest(): the guest may map the frame, and never owns it. */
export function shareXenPageWithGuest(domain: Domain, frame: number): void {
  const { machine } = domain;
  machine.u16[(machine.pageInfo(frame) + OWNER) >>> 1] = domain.id;
}

/**
 * Allocates a zeroed frame to a domain (alloc_domheap_page): INVALID_MFN when the heap is exhausted or the domain has
 * its maximum.
 */
export function allocDomainPage(domain: Domain): number {
  const { machine } = domain;
  const frame = allocFreePage(machine);
  if (frame === INVALID_MFN) return frame;
  if (assignPage(domain, frame)) return frame;
  giveFree(machine, frame);
  return INVALID_MFN;
}

/**
 * A zeroed frame for domains that has no owner yet (MEMF_no_owner), numbered below `limit`: MEMF_bits. INVALID_MFN if
 * there is none.
 */
export const allocFreePage = (machine: Machine, limit = INVALID_MFN): number =>
  takeFree(machine, DOMAIN_HEAP_QUOTA, limit);

/** assign_pages(): puts an unowned frame on the domain's list; false when the domain has its maximum. */
export function assignPage(domain: Domain, frame: number): boolean {
  if (!reservePage(domain)) return false;
  assignReserved(domain, frame);
  return true;
}

/** domain_adjust_tot_pages(1): counts a page that is to come; false when the domain has its maximum, or is dying. */
export function reservePage(domain: Domain): boolean {
  const { native, heap } = domain.machine;
  const { u32 } = heap;
  const { base } = domain;
  native.spinLock(base + DOMAIN.page_alloc_lock);
  const total = u32[(base + DOMAIN.tot_pages) >>> 2]!;
  const room = total < u32[(base + DOMAIN.max_pages) >>> 2]! && !domain.isDying;
  if (room) u32[(base + DOMAIN.tot_pages) >>> 2] = total + 1;
  native.spinUnlock(base + DOMAIN.page_alloc_lock);
  return room;
}

/** The page that was reserved does not come. */
export function unreservePage(domain: Domain): void {
  const { native, heap } = domain.machine;
  native.spinLock(domain.base + DOMAIN.page_alloc_lock);
  heap.u32[(domain.base + DOMAIN.tot_pages) >>> 2]! -= 1;
  native.spinUnlock(domain.base + DOMAIN.page_alloc_lock);
}

/** Puts an unowned frame on the list of a domain that has reserved room for it. */
export function assignReserved(domain: Domain, frame: number): void {
  const { machine, base } = domain;
  const { u16, u32, i32 } = machine;
  const info = machine.pageInfo(frame);
  u16[(info + OWNER) >>> 1] = domain.id;
  u32[(info + GFN) >>> 2] = INVALID_M2P_ENTRY;
  machine.native.spinLock(base + DOMAIN.page_alloc_lock);
  linkPage(domain, frame, info);
  // Before the lock's end, whose store is a barrier: whoever sees the page counted may take a reference.
  i32[(info + COUNT) >>> 2] = PGC_allocated | 1;
  machine.native.spinUnlock(base + DOMAIN.page_alloc_lock);
}

function linkPage(domain: Domain, frame: number, info: number): void {
  const { machine, base } = domain;
  const { u32 } = machine;
  const first = u32[(base + DOMAIN.page_list) >>> 2]!;
  u32[(info + NEXT) >>> 2] = first;
  u32[(info + PREV) >>> 2] = INVALID_MFN;
  if (first !== INVALID_MFN) u32[(machine.pageInfo(first) + PREV) >>> 2] = frame;
  u32[(base + DOMAIN.page_list) >>> 2] = frame;
}

function unlinkPage(domain: Domain, info: number): void {
  const { machine, base } = domain;
  const { u32 } = machine;
  const next = u32[(info + NEXT) >>> 2]!;
  const prev = u32[(info + PREV) >>> 2]!;
  if (next !== INVALID_MFN) u32[(machine.pageInfo(next) + PREV) >>> 2] = prev;
  if (prev !== INVALID_MFN) u32[(machine.pageInfo(prev) + NEXT) >>> 2] = next;
  else u32[(base + DOMAIN.page_list) >>> 2] = next;
  u32[(base + DOMAIN.tot_pages) >>> 2]! -= 1;
}

/** Owner of a valid frame, DOMID_INVALID if nobody. */
export function ownerOf(machine: Machine, frame: number): number {
  const info = machine.pageInfo(frame);
  const { i32, u16 } = machine;
  if (info === 0 || (i32[(info + COUNT) >>> 2]! & PGC_count_mask) === 0) return DOMID_INVALID;
  return u16[(info + OWNER) >>> 1]!;
}

/** The domain owns the frame, and it is not one of Xen's that the domain may only map. */
export function ownsRam(domain: Domain, frame: number): boolean {
  const { machine } = domain;
  const count = machine.i32[(machine.pageInfo(frame) + COUNT) >>> 2]!;
  return ownerOf(machine, frame) === domain.id && (count & PGC_xen_heap) === 0;
}

/** get_page(): takes a reference if `domid` owns the frame; false otherwise. */
export function getPage(machine: Machine, frame: number, domid: number): boolean {
  const info = machine.pageInfo(frame);
  if (info === 0) return false;
  const taken = machine.native.getPage(info, domid);
  if (taken === 2) putPage(machine, frame);
  return taken === 1;
}

/** get_page_and_type(): a reference, and a use of the frame as `type`; false, with nothing taken, if that cannot be. */
export function getPageAndType(
  machine: Machine,
  frame: number,
  domid: number,
  type: number,
): boolean {
  const info = machine.pageInfo(frame);
  if (info === 0) return false;
  const taken = machine.native.getPageAndType(info, domid, type);
  if (taken > 1) putPage(machine, frame);
  return taken === 1;
}

/** put_page(): drops a reference; the frame is freed with the last one. */
export function putPage(machine: Machine, frame: number): void {
  const left = machine.native.putPage(machine.pageInfo(frame));
  if ((left & COUNT_MASK) === 0) freeLastReference(machine, frame, left);
  else if ((left & XEN_HEAP) !== 0) noteIdle(machine, frame, left);
}

/** put_page_and_type(). */
function putPageAndType(machine: Machine, frame: number): void {
  const left = machine.native.putPageAndType(machine.pageInfo(frame));
  if ((left & COUNT_MASK) === 0) freeLastReference(machine, frame, left);
  else if ((left & XEN_HEAP) !== 0) noteIdle(machine, frame, left);
}

/** A frame that Xen shares with a domain is nobody else's any more: a dying domain may have waited for that. */
function noteIdle(machine: Machine, frame: number, count: number): void {
  if ((count & COUNT_MASK) !== 1) return;
  const owner = machine.domainById(machine.u16[(machine.pageInfo(frame) + OWNER) >>> 1]!);
  if (owner?.isDying === true) machine.emptied.push(owner);
}

/** get_page(), and where the use is a writable one get_page_and_type(PGT_writable_page). */
export const getPageFor = (
  machine: Machine,
  frame: number,
  domid: number,
  writable: boolean,
): boolean =>
  writable ? getPageAndType(machine, frame, domid, WRITABLE) : getPage(machine, frame, domid);

/** Drops what getPageFor took. */
export const putPageFor = (machine: Machine, frame: number, writable: boolean): void =>
  writable ? putPageAndType(machine, frame) : putPage(machine, frame);

/** The domain uses its frame as a page table. */
export function isPageTable(machine: Machine, frame: number, domid: number): boolean {
  const info = machine.pageInfo(frame);
  if (info === 0 || ownerOf(machine, frame) !== domid) return false;
  const type = machine.i32[(info + TYPE) >>> 2]!;
  return (type & PGT_type_mask) === PGT_l1_page_table && (type & PGT_count_mask) !== 0;
}

/**
 * free_domheap_pages(): the frame leaves its owner, who never had it on its list if it is Xen's. A dying domain goes with
 * its last: see Machine.reap.
 */
function freeLastReference(machine: Machine, frame: number, count: number): void {
  const info = machine.pageInfo(frame);
  const owner = machine.domainById(machine.u16[(info + OWNER) >>> 1]!);
  if (owner !== undefined) {
    if ((count & PGC_xen_heap) === 0) removePage(owner, info);
    else machine.u32[(owner.base + DOMAIN.private_copies) >>> 2]! -= 1;
  }
  machine.i32[(info + COUNT) >>> 2] = 0;
  giveFree(machine, frame);
  if (owner?.isDying === true && owner.totPages === 0) machine.emptied.push(owner);
}

/** Takes a frame off its owner's list. */
function removePage(domain: Domain, info: number): void {
  const { native } = domain.machine;
  native.spinLock(domain.base + DOMAIN.page_alloc_lock);
  unlinkPage(domain, info);
  native.spinUnlock(domain.base + DOMAIN.page_alloc_lock);
}

/**
 * steal_page(): takes a frame from its owner, who must hold the only reference. The frame is then nobody's, with its
 * contents; false if it has any other reference, or is not the domain's.
 */
export function stealPage(domain: Domain, frame: number): boolean {
  const { machine } = domain;
  const info = machine.pageInfo(frame);
  if (info === 0) return false;
  const { i32, u16 } = machine;
  if (u16[(info + OWNER) >>> 1] !== domain.id) return false;
  if (machine.native.cas(info + COUNT, PGC_allocated | 1, 0) !== (PGC_allocated | 1)) return false;
  removePage(domain, info);
  u16[(info + OWNER) >>> 1] = DOMID_INVALID;
  i32[(info + TYPE) >>> 2] = 0;
  return true;
}

/** Frees a frame that was stolen and found no new owner. */
export function freeStolenPage(machine: Machine, frame: number): void {
  giveFree(machine, frame);
}

/** The owner drops its allocation; the frame lives on while others hold references. */
export function releaseAllocation(machine: Machine, frame: number): void {
  const { i32 } = machine;
  const word = (machine.pageInfo(frame) + COUNT) >>> 2;
  if ((Atomics.and(i32, word, ~PGC_allocated) & PGC_allocated) !== 0) putPage(machine, frame);
}

/** Machine-to-physical of a frame. */
export const frameGfn = (machine: Machine, frame: number): number =>
  machine.u32[(machine.pageInfo(frame) + GFN) >>> 2]!;

export function setFrameGfn(machine: Machine, frame: number, gfn: number): void {
  machine.u32[(machine.pageInfo(frame) + GFN) >>> 2] = gfn;
}

/** Number of uses of a frame as PGT_writable_page. */
export function writableTypeCount(machine: Machine, frame: number): number {
  const info = machine.pageInfo(frame);
  const type = info === 0 ? 0 : Atomics.load(machine.i32, (info + TYPE) >>> 2);
  return (type & PGT_type_mask) === PGT_writable_page ? type & PGT_count_mask : 0;
}

/** Number of references to a frame, its allocation included. */
export function referenceCount(machine: Machine, frame: number): number {
  const info = machine.pageInfo(frame);
  return info === 0 ? 0 : Atomics.load(machine.i32, (info + COUNT) >>> 2) & PGC_count_mask;
}
