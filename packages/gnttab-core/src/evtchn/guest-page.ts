/** Pages of a guest that Xen writes to as long as they are given to it: control blocks, event arrays, vcpu_info. */
import { getPageFor, putPageFor } from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { entryFrame, entryType, p2m_ram_rw, p2mEntry } from '../machine/p2m.ts';

/**
 * map_guest_page(): the frame behind a page as the domain names it (PV: mfn), with a reference and a use as
 * PGT_writable_page; INVALID_MFN, with nothing taken, unless it is the domain's own and can be written to.
 */
export function mapGuestPage(domain: Domain, name: number): number {
  const frame = domain.translated ? ramFrame(domain, name) : name;
  return getPageFor(domain.machine, frame, domain.id, true) ? frame : INVALID_MFN;
}

function ramFrame(domain: Domain, gfn: number): number {
  const entry = p2mEntry(domain, gfn);
  return entryType(entry) === p2m_ram_rw ? entryFrame(entry) : INVALID_MFN;
}

/** unmap_guest_page(). */
export const unmapGuestPage = (domain: Domain, frame: number): void =>
  putPageFor(domain.machine, frame, true);
