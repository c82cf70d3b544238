/** HYPERVISOR_memory_op (memory.h) and update_va_mapping (xen.h), as far as page flipping and ballooning need them. */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOMEM, XEN_EPERM } from '../abi/errno.ts';
import { XENMAPSPACE_grant_table, XENMAPSPACE_shared_info } from '../abi/memory.ts';
import { frameNamed } from '../grant/frames.ts';
import { sharedFrame } from '../grant/table.ts';
import { COUNTER } from '../machine/counters.ts';
import type { Domain } from '../machine/machine.ts';
import {
  allocDomainPage,
  getPage,
  ownerOf,
  ownsRam,
  putPage,
  referenceCount,
  releaseAllocation,
  setFrameGfn,
} from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import { clearP2m, leaveGfn, p2m_ram_rw, setP2m } from '../machine/p2m.ts';
import { ensureL1, mapOwnFrame, pteAddress, replacePte } from '../machine/page-table.ts';
import { TRACE } from '../machine/trace-kinds.ts';

/**
 * XENMEM_decrease_reservation: gives pages back to Xen. `extents` are mfns of a PV domain, gfns of a translated one.
 * Returns how many were given back; it stops at the first that is not RAM of the domain's.
 */
export function decreaseReservation(domain: Domain, extents: readonly number[]): number {
  const { machine } = domain;
  let done = 0;
  for (const extent of extents) {
    const frame = frameNamed(domain, extent);
    if (!ownsRam(domain, frame) || !getPage(machine, frame, domain.id)) break;
    if (domain.translated) clearP2m(domain, extent);
    releaseAllocation(machine, frame);
    putPage(machine, frame);
    done += 1;
  }
  note(domain, 0, done);
  return done;
}

/**
 * XENMEM_increase_reservation: fresh zeroed pages for a PV domain; their mfns are returned, fewer than asked for when
 * memory or the domain's maximum is exhausted.
 */
export function increaseReservation(domain: Domain, count: number): number[] {
  const frames: number[] = [];
  while (frames.length < count) {
    const frame = allocDomainPage(domain);
    if (frame === INVALID_MFN) break;
    frames.push(frame);
  }
  note(domain, frames.length, 0);
  return frames;
}

/** XENMEM_populate_physmap: a fresh page behind each gfn. Returns how many were populated. */
export function populatePhysmap(domain: Domain, gfns: readonly number[]): number {
  const { machine } = domain;
  let done = 0;
  for (const gfn of gfns) {
    const frame = allocDomainPage(domain);
    if (frame === INVALID_MFN) break;
    if (!setP2m(domain, gfn, frame, p2m_ram_rw)) {
      releaseAllocation(machine, frame);
      break;
    }
    done += 1;
  }
  note(domain, done, 0);
  return done;
}

function note(domain: Domain, added: number, removed: number): void {
  domain.count(COUNTER.reservationChanges, added + removed);
  domain.machine.trace.emit(TRACE.reservation, domain.id, added, removed, domain.totPages);
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
  const { machine } = domain;
  if (domain.translated) return -XEN_EPERM;
  const slot = pteAddress(domain, va);
  if (slot < 0) return -XEN_EFAULT;
  domain.count(COUNTER.mmuUpdates);
  machine.trace.emit(TRACE.updateVaMapping, domain.id, va, frame);
  let mapped = true;
  if (frame === INVALID_MFN) replacePte(machine, slot, 0, 0);
  else mapped = mapOwnFrame(domain, slot, frame, writable);
  machine.reap();
  return mapped ? 0 : -XEN_EINVAL;
}

/**
 * XENMEM_add_to_physmap: puts a frame that Xen shares with a translated domain at `gfn` of its physical address space.
 * `space` is XENMAPSPACE_shared_info (index 0) or XENMAPSPACE_grant_table (index of the frame). A frame is at one gfn at
 * most: it leaves the one where it was. Returns 0 or -errno.
 */
export function addToPhysmap(domain: Domain, space: number, index: number, gfn: number): number {
  if (!domain.translated) return -XEN_EPERM;
  const frame = xenFrame(domain, space, index);
  if (frame === INVALID_MFN) return -XEN_EINVAL;
  leaveGfn(domain, frame);
  return setP2m(domain, gfn, frame, p2m_ram_rw) ? 0 : -XEN_ENOMEM;
}

function xenFrame(domain: Domain, space: number, index: number): number {
  if (space === XENMAPSPACE_shared_info) return index === 0 ? domain.sharedInfo : INVALID_MFN;
  return space === XENMAPSPACE_grant_table ? sharedFrame(domain, index) : INVALID_MFN;
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
