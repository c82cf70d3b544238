/**
 * What HYPERVISOR_memory_op (memory.h) and the calls for page tables (xen.h) do, over numbers: both doors lead here.
 * `gmfn` is a frame as its domain names it: mfn (PV) or gfn (translated).
 */
import {
  XEN_EACCES,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOMEM,
  XEN_ENXIO,
  XEN_EPERM,
} from '../abi/errno.ts';
import {
  XENMAPIDX_grant_table_status,
  XENMAPSPACE_gmfn,
  XENMAPSPACE_grant_table,
  XENMAPSPACE_shared_info,
} from '../abi/memory.ts';
import { frameNamed } from '../grant/frames.ts';
import { sharedFrame, statusFrame } from '../grant/index.ts';
import { writeGuestPte } from '../grant/overwrite.ts';
import { COUNTER } from '../machine/counters.ts';
import type { Domain } from '../machine/machine.ts';
import {
  allocFreePage,
  assignPage,
  freeStolenPage,
  getPage,
  INVALID_M2P_ENTRY,
  ownerOf,
  ownsRam,
  putPage,
  referenceCount,
  releaseAllocation,
  setFrameGfn,
} from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import {
  addPage,
  clearP2m,
  entryFrame,
  entryType,
  MAX_GFN,
  p2m_mmio_direct,
  p2m_ram_rw,
  p2mEntry,
  setP2m,
} from '../machine/p2m.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_RW,
  ensureL1,
  makePte,
  pteAddress,
  pteFrame,
} from '../machine/page-table.ts';
import { TRACE } from '../machine/trace-kinds.ts';

/** A fresh zeroed page of the domain's, its mfn below `limit`; INVALID_MFN when memory or its maximum is exhausted. */
export function allocPage(domain: Domain, limit = INVALID_MFN): number {
  const { machine } = domain;
  const frame = allocFreePage(machine, limit);
  if (frame === INVALID_MFN || assignPage(domain, frame)) return frame;
  freeStolenPage(machine, frame);
  return INVALID_MFN;
}

/** guest_remove_page(): gives a page back to Xen. 0 or -errno. */
export function removePage(domain: Domain, gmfn: number): number {
  const { machine } = domain;
  const frame = frameNamed(domain, gmfn);
  if (frame === INVALID_MFN) return -XEN_ENOENT;
  if (!ownsRam(domain, frame) || !getPage(machine, frame, domain.id)) return -XEN_ENXIO;
  if (domain.translated) clearP2m(domain, gmfn);
  releaseAllocation(machine, frame);
  putPage(machine, frame);
  return 0;
}

/**
 * guest_physmap_add_page(): an own page is behind `gfn` from now on. False if it could not be put there; the page is
 * given back then.
 */
export function placePage(domain: Domain, gfn: number, frame: number): boolean {
  const place = domain.translated ? addPage : setP2m;
  if (place(domain, gfn, frame, p2m_ram_rw)) return true;
  releaseAllocation(domain.machine, frame);
  return false;
}

/** Counts and traces a change of a domain's reservation. */
export function noteReservation(domain: Domain, added: number, removed: number): void {
  domain.count(COUNTER.reservationChanges, added + removed);
  domain.machine.trace.emit(TRACE.reservation, domain.id, added, removed, domain.totPages);
}

/**
 * XENMEM_decrease_reservation: gives pages back to Xen. Returns how many were given back; it stops at the first that is
 * not RAM of the domain's.
 */
export function decreaseReservation(domain: Domain, extents: readonly number[]): number {
  const stop = extents.findIndex((extent) => removePage(domain, extent) !== 0);
  const done = stop < 0 ? extents.length : stop;
  noteReservation(domain, 0, done);
  return done;
}

/**
 * XENMEM_increase_reservation: fresh zeroed pages for a PV domain; their mfns are returned, fewer than asked for when
 * memory or the domain's maximum is exhausted.
 */
export function increaseReservation(domain: Domain, count: number): number[] {
  const frames: number[] = [];
  while (frames.length < count) {
    const frame = allocPage(domain);
    if (frame === INVALID_MFN) break;
    frames.push(frame);
  }
  noteReservation(domain, frames.length, 0);
  return frames;
}

/** XENMEM_populate_physmap: a fresh page behind each gfn. Returns how many were populated. */
export function populatePhysmap(domain: Domain, gfns: readonly number[]): number {
  const stop = gfns.findIndex((gfn) => {
    const frame = allocPage(domain);
    return frame === INVALID_MFN || !placePage(domain, gfn, frame);
  });
  const done = stop < 0 ? gfns.length : stop;
  noteReservation(domain, done, 0);
  return done;
}

/**
 * XENMEM_add_to_physmap, one page: puts a frame at `gfn` of a translated domain's physical address space. `space` is
 * XENMAPSPACE_shared_info (index 0), XENMAPSPACE_grant_table (index of the frame; with XENMAPIDX_grant_table_status of
 * the status frame; the table grows to have it) or XENMAPSPACE_gmfn (where the frame is now). A frame is at one gfn at
 * most: it leaves the one where it was. RAM that was at `gfn` is given back. Returns 0 or -errno.
 */
export function addToPhysmap(domain: Domain, space: number, index: number, gfn: number): number {
  const { machine } = domain;
  if (!domain.translated) return -XEN_EACCES;
  const frame = gfn < MAX_GFN ? frameOfSpace(domain, space, index) : INVALID_MFN;
  // Held until it is in place: a status frame may be about to go (XSA-384).
  if (frame === INVALID_MFN || !getPage(machine, frame, domain.id)) return -XEN_EINVAL;
  let result = vacate(domain, gfn, frame);
  if (result === 0 && !addPage(domain, gfn, frame, p2m_ram_rw)) result = -XEN_ENOMEM;
  putPage(machine, frame);
  return result;
}

function frameOfSpace(domain: Domain, space: number, index: number): number {
  switch (space) {
    case XENMAPSPACE_shared_info:
      return index === 0 ? domain.sharedInfo : INVALID_MFN;
    case XENMAPSPACE_grant_table:
      return index >= XENMAPIDX_grant_table_status
        ? statusFrame(domain, index - XENMAPIDX_grant_table_status)
        : sharedFrame(domain, index);
    case XENMAPSPACE_gmfn: {
      const frame = frameNamed(domain, index);
      return ownerOf(domain.machine, frame) === domain.id ? frame : INVALID_MFN;
    }
    default:
      return INVALID_MFN;
  }
}

/** Makes room at `gfn` for `frame`. What is mapped from elsewhere has to be unmapped by other means. 0 or -errno. */
function vacate(domain: Domain, gfn: number, frame: number): number {
  const entry = p2mEntry(domain, gfn);
  if (entry === 0) return 0;
  const type = entryType(entry);
  if (type !== p2m_ram_rw) return type === p2m_mmio_direct ? -XEN_EPERM : -XEN_ENXIO;
  if (entryFrame(entry) === frame) return 0;
  // What Xen shares with the domain is only displaced.
  return ownsRam(domain, entryFrame(entry)) ? removePage(domain, gfn) : 0;
}

/** XENMEM_remove_from_physmap: nothing is at `gfn` any more; the frame stays the domain's. 0 or -errno. */
export function removeFromPhysmap(domain: Domain, gfn: number): number {
  const { machine } = domain;
  const frame = frameNamed(domain, gfn);
  if (ownerOf(machine, frame) !== domain.id) return -XEN_ENOENT;
  if (!domain.translated) return 0;
  clearP2m(domain, gfn);
  setFrameGfn(machine, frame, INVALID_M2P_ENTRY);
  return 0;
}

/**
 * HYPERVISOR_update_va_mapping: maps one of the domain's own frames at `va`, or with INVALID_MFN clears the mapping.
 * The page table entry holds a reference to the frame. Returns 0 or -errno.
 */
export function updateVaMapping(
  domain: Domain,
  va: number,
  frame: number,
  writable: boolean,
): number {
  if (frame === INVALID_MFN) return updateVaEntry(domain, va, 0, 0);
  const flags = _PAGE_PRESENT | _PAGE_ACCESSED | _PAGE_DIRTY | (writable ? _PAGE_RW : 0);
  const { lo, hi } = makePte(frame, flags, 0);
  return updateVaEntry(domain, va, lo, hi);
}

/** HYPERVISOR_update_va_mapping, with the page table entry itself. Returns 0 or -errno. */
export function updateVaEntry(domain: Domain, va: number, lo: number, hi: number): number {
  const { machine } = domain;
  if (domain.translated) return -XEN_EPERM;
  const address = pteAddress(domain, va);
  if (address < 0) return -XEN_EINVAL;
  domain.count(COUNTER.mmuUpdates);
  const frame = (lo & _PAGE_PRESENT) === 0 ? INVALID_MFN : pteFrame(lo, hi);
  machine.trace.emit(TRACE.updateVaMapping, domain.id, va, frame);
  const written = writeGuestPte(domain, address, lo, hi);
  machine.reap();
  return written ? 0 : -XEN_EINVAL;
}

/** Provides page tables for a range of virtual addresses (a PV guest would pin L1 tables of its own). */
export function providePageTables(domain: Domain, va: number, pages: number): number {
  if (domain.translated) return -XEN_EPERM;
  for (let i = 0; i < pages; i++) if (!ensureL1(domain, va + i * 4096)) return -XEN_ENOMEM;
  return 0;
}

/** MMU_MACHPHYS_UPDATE: tells Xen which gfn a frame of the domain's is. */
export function machphysUpdate(domain: Domain, frame: number, gfn: number): number {
  const { machine } = domain;
  if (ownerOf(machine, frame) !== domain.id || referenceCount(machine, frame) === 0) {
    return -XEN_EINVAL;
  }
  setFrameGfn(machine, frame, gfn);
  return 0;
}
