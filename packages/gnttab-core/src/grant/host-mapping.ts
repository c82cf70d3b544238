/**
 * Host mappings of granted frames: a page table entry for a PV domain, a p2m entry for a translated one. The mapping
 * holds the frame's reference (and type reference if writable), which the caller has taken.
 * Source: grant_table.h, GNTTABOP_map_grant_ref and _unmap_grant_ref.
 */
import {
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_general_error,
  GNTST_okay,
} from '../abi/grant-table.ts';
import type { Domain } from '../machine/machine.ts';
import {
  clearP2m,
  entryFrame,
  entryType,
  leaveGfn,
  MAX_GFN,
  p2m_grant_map_ro,
  p2m_grant_map_rw,
  p2m_invalid,
  p2mEntry,
  setP2m,
} from '../machine/p2m.ts';
import { PAGE_SIZE } from '../machine/page.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_GLOBAL,
  _PAGE_GUEST_KERNEL_HI,
  _PAGE_NX_HI,
  _PAGE_PRESENT,
  _PAGE_RW,
  _PAGE_USER,
  makePte,
  PAGE_AVAIL_SHIFT,
  pteAddress,
  pteFrame,
  pteHi,
  pteLo,
  replacePte,
} from '../machine/page-table.ts';

/** The three bits that a caller may leave in the entry (GNTMAP_guest_avail). */
const GUEST_AVAIL_SHIFT = 16;
const GUEST_AVAIL_MASK = 7;

/** create_grant_host_mapping(): maps `frame` at `hostAddr`. */
export function createHostMapping(
  mapper: Domain,
  hostAddr: number,
  frame: number,
  flags: number,
): number {
  return mapper.translated
    ? createP2mMapping(mapper, hostAddr, frame, flags)
    : createPvMapping(mapper, hostAddr, frame, flags);
}

function createPvMapping(mapper: Domain, va: number, frame: number, flags: number): number {
  // The L1 tables are Xen's: no machine address of an entry is the domain's to name.
  const slot = (flags & GNTMAP_contains_pte) === 0 ? pteAddress(mapper, va) : -1;
  if (slot < 0) return GNTST_general_error;
  const application = (flags & GNTMAP_application_map) !== 0;
  const bits =
    _PAGE_PRESENT |
    _PAGE_ACCESSED |
    _PAGE_DIRTY |
    _PAGE_USER |
    (application ? _PAGE_GLOBAL : 0) |
    ((flags & GNTMAP_readonly) !== 0 ? 0 : _PAGE_RW) |
    (((flags >>> GUEST_AVAIL_SHIFT) & GUEST_AVAIL_MASK) << PAGE_AVAIL_SHIFT);
  const pte = makePte(frame, bits, _PAGE_NX_HI | (application ? 0 : _PAGE_GUEST_KERNEL_HI));
  replacePte(mapper.machine, slot, pte.lo, pte.hi);
  return GNTST_okay;
}

function createP2mMapping(mapper: Domain, address: number, frame: number, flags: number): number {
  if ((flags & ~GNTMAP_readonly) !== GNTMAP_host_map) return GNTST_general_error;
  const gfn = Math.floor(address / PAGE_SIZE);
  if (gfn >= MAX_GFN || p2mEntry(mapper, gfn) !== p2m_invalid) return GNTST_general_error;
  const type = (flags & GNTMAP_readonly) !== 0 ? p2m_grant_map_ro : p2m_grant_map_rw;
  // It may be the mapper's own.
  leaveGfn(mapper, frame);
  return setP2m(mapper, gfn, frame, type) ? GNTST_okay : GNTST_general_error;
}

/**
 * replace_grant_host_mapping() with nothing to put in its place: takes the mapping of `frame` at `hostAddr` away, if
 * there is one of exactly that frame and access.
 */
export function destroyHostMapping(
  mapper: Domain,
  hostAddr: number,
  frame: number,
  readonly: boolean,
): number {
  return mapper.translated
    ? destroyP2mMapping(mapper, hostAddr, frame, readonly)
    : destroyPvMapping(mapper, hostAddr, frame, readonly);
}

function destroyPvMapping(mapper: Domain, va: number, frame: number, readonly: boolean): number {
  const { machine } = mapper;
  const slot = pteAddress(mapper, va);
  if (slot < 0) return GNTST_general_error;
  const lo = pteLo(machine, slot);
  const expected = _PAGE_PRESENT | (readonly ? 0 : _PAGE_RW);
  const same =
    (lo & (_PAGE_PRESENT | _PAGE_RW)) === expected && pteFrame(lo, pteHi(machine, slot)) === frame;
  if (!same) return GNTST_general_error;
  replacePte(machine, slot, 0, 0);
  return GNTST_okay;
}

function destroyP2mMapping(
  mapper: Domain,
  address: number,
  frame: number,
  readonly: boolean,
): number {
  const gfn = Math.floor(address / PAGE_SIZE);
  const entry = p2mEntry(mapper, gfn);
  const type = readonly ? p2m_grant_map_ro : p2m_grant_map_rw;
  if (entryType(entry) !== type || entryFrame(entry) !== frame) return GNTST_general_error;
  clearP2m(mapper, gfn);
  return GNTST_okay;
}
