/**
 * What is behind the gfns of a domain: XENMEM_add_to_physmap and XENMEM_remove_from_physmap (memory.h), over numbers, and
 * the steps of Xen's that other memory operations share. `gmfn` is a frame as its domain names it: mfn (PV) or gfn
 * (translated). A translated domain's frame is behind one gfn at most, and m2p says which; a PV domain's p2m and m2p are
 * what the domain says.
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
import { frameNamed, sharedFrame, statusFrame } from '../grant/index.ts';
import {
  getPage,
  INVALID_M2P_ENTRY,
  ownerOf,
  ownsRam,
  putPage,
  releaseAllocation,
  setFrameGfn,
} from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
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

/** guest_physmap_add_page(): an own page is behind `gfn` from now on. False if it could not be put there. */
export function guestPhysmapAddPage(domain: Domain, gfn: number, frame: number): boolean {
  const place = domain.translated ? addPage : setP2m;
  return place(domain, gfn, frame, p2m_ram_rw);
}

/** guest_physmap_remove_page(): the frame is not behind `gfn` any more. A PV domain keeps account of that itself. */
export function guestPhysmapRemovePage(domain: Domain, gfn: number, frame: number): void {
  if (!domain.translated) return;
  clearP2m(domain, gfn);
  setFrameGfn(domain.machine, frame, INVALID_M2P_ENTRY);
}

/** guest_remove_page(): the domain gives a page back to Xen. 0 or -errno. */
export function guestRemovePage(domain: Domain, gmfn: number): number {
  const { machine } = domain;
  const frame = frameNamed(domain, gmfn);
  if (frame === INVALID_MFN) return -XEN_ENOENT;
  if (!ownsRam(domain, frame) || !getPage(machine, frame, domain.id)) return -XEN_ENXIO;
  guestPhysmapRemovePage(domain, gmfn, frame);
  releaseAllocation(machine, frame);
  putPage(machine, frame);
  return 0;
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
  if (result === 0 && !guestPhysmapAddPage(domain, gfn, frame)) result = -XEN_ENOMEM;
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
  return ownsRam(domain, entryFrame(entry)) ? guestRemovePage(domain, gfn) : 0;
}

/** XENMEM_remove_from_physmap: nothing is at `gmfn` any more; the frame stays the domain's. 0 or -errno. */
export function removeFromPhysmap(domain: Domain, gmfn: number): number {
  const frame = frameNamed(domain, gmfn);
  if (ownerOf(domain.machine, frame) !== domain.id) return -XEN_ENOENT;
  guestPhysmapRemovePage(domain, gmfn, frame);
  return 0;
}
