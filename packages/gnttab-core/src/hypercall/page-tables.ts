/** What HYPERVISOR_update_va_mapping and HYPERVISOR_mmu_update (xen.h) do to a PV domain's page tables and m2p, over numbers. */
import { XEN_EINVAL, XEN_ENOMEM, XEN_EPERM } from '../abi/errno.ts';
import { writeGuestPte } from '../grant/index.ts';
import { COUNTER } from '../machine/counters.ts';
import { ownerOf, setFrameGfn } from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
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

/** Provides page tables for a range of virtual addresses (a PV guest would pin L1 tables of its own). 0 or -errno. */
export function providePageTables(domain: Domain, va: number, pages: number): number {
  if (domain.translated) return -XEN_EPERM;
  for (let i = 0; i < pages; i++) if (!ensureL1(domain, va + i * 4096)) return -XEN_ENOMEM;
  return 0;
}

/**
 * MMU_MACHPHYS_UPDATE: tells Xen which gfn a frame of the domain's is. -EINVAL for a frame that is not, and for a translated
 * domain: its m2p is Xen's own. Otherwise 0.
 */
export function machphysUpdate(domain: Domain, frame: number, gfn: number): number {
  const { machine } = domain;
  if (domain.translated || ownerOf(machine, frame) !== domain.id) return -XEN_EINVAL;
  setFrameGfn(machine, frame, gfn);
  return 0;
}
