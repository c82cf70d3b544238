/**
 * Host mappings of granted frames: a page table entry for a PV domain, a p2m entry for a translated one. The mapping
 * holds the frame's reference (and type reference if writable), which the caller has taken.
 * Source: grant_table.h, GNTTABOP_map_grant_ref, _unmap_grant_ref and _unmap_and_replace.
 */
import {
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_general_error,
  GNTST_okay,
} from '../abi/grant-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain, Machine } from '../machine/machine.ts';
import {
  addPage,
  clearP2m,
  entryFrame,
  entryType,
  MAX_GFN,
  p2m_grant_map_ro,
  p2m_grant_map_rw,
  p2mEntry,
  type P2mType,
  setP2m,
} from '../machine/p2m.ts';
import { type MachineAddress, PAGE_SIZE } from '../machine/page.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_GLOBAL,
  _PAGE_GUEST_KERNEL_HI,
  _PAGE_NX_HI,
  _PAGE_PRESENT,
  _PAGE_RW,
  _PAGE_USER,
  dropPte,
  guestPte,
  PAGE_AVAIL_SHIFT,
  pteAddress,
  pteFrame,
  pteHi,
  pteHigh,
  pteLo,
  pteLow,
  PTE_SIZE,
  replacePte,
  replacePteOf,
  stealPte,
  withFrame,
} from '../machine/page-table.ts';
import { NO_PLACE } from './structs.ts';

/** The three bits that a caller may leave in the entry (GNTMAP_guest_avail). */
const GUEST_AVAIL_SHIFT = 16;
const GUEST_AVAIL_MASK = 7;

/** The entry that `hostAddr` names: that of a virtual address, or one in a page table of the domain's own. */
const hostPte = (mapper: Domain, hostAddr: number, flags: number): MachineAddress =>
  (flags & GNTMAP_contains_pte) !== 0 ? guestPte(mapper, hostAddr) : pteAddress(mapper, hostAddr);

/**
 * The place that `hostAddr` names, in 32 bits: the gfn of a translated domain; for a PV domain which 8 bytes of the
 * machine's memory the page table entry is. NO_PLACE if there is none.
 */
export function hostPlace(mapper: Domain, hostAddr: number, flags: number): number {
  if (mapper.translated) {
    return hostAddr < MAX_GFN * PAGE_SIZE ? Math.floor(hostAddr / PAGE_SIZE) : NO_PLACE;
  }
  const pte = hostPte(mapper, hostAddr, flags);
  return pte < 0 ? NO_PLACE : pte / PTE_SIZE;
}

/** create_grant_host_mapping(): maps `frame` at a place. */
export function createHostMapping(
  mapper: Domain,
  place: number,
  frame: number,
  flags: number,
): number {
  if (place === NO_PLACE) return GNTST_general_error;
  return mapper.translated
    ? createP2mMapping(mapper, place, frame, flags)
    : createPvMapping(mapper, place, frame, flags);
}

function createPvMapping(mapper: Domain, place: number, frame: number, flags: number): number {
  const application = (flags & GNTMAP_application_map) !== 0;
  const bits =
    (application ? APPLICATION_PTE : KERNEL_PTE) |
    ((flags & GNTMAP_readonly) !== 0 ? 0 : _PAGE_RW) |
    (((flags >>> GUEST_AVAIL_SHIFT) & GUEST_AVAIL_MASK) << PAGE_AVAIL_SHIFT);
  const high = application ? _PAGE_NX_HI : _PAGE_NX_HI | _PAGE_GUEST_KERNEL_HI;
  replacePte(mapper.machine, place * PTE_SIZE, pteLow(frame, bits), pteHigh(frame, high));
  return GNTST_okay;
}

const KERNEL_PTE = _PAGE_PRESENT | _PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_USER;
const APPLICATION_PTE = KERNEL_PTE | _PAGE_GLOBAL;

const p2mType = (readonly: boolean): P2mType => (readonly ? p2m_grant_map_ro : p2m_grant_map_rw);

function createP2mMapping(mapper: Domain, gfn: number, frame: number, flags: number): number {
  if ((flags & ~GNTMAP_readonly) !== GNTMAP_host_map) return GNTST_general_error;
  const type = p2mType((flags & GNTMAP_readonly) !== 0);
  return addPage(mapper, gfn, frame, type) ? GNTST_okay : GNTST_general_error;
}

/**
 * The place of the entry of `newAddr`, which unmap_and_replace moves; NO_PLACE if there is none that could be: only page
 * tables have them, and not for a mapping that was made by naming the entry itself.
 */
export function donorPlace(mapper: Domain, newAddr: number, flags: number): number {
  if (mapper.translated || (flags & GNTMAP_contains_pte) !== 0) return NO_PLACE;
  return hostPlace(mapper, newAddr, GNTMAP_host_map);
}

/**
 * replace_grant_host_mapping(): takes the mapping of `frame` away from a place, if there is one of exactly that frame and
 * access, and puts the entry of the place `donor` there, if that is not NO_PLACE. That entry is gone whatever happens.
 *
 * @param frame INVALID_MFN: of the mapping nothing is left; then only an empty place can be filled
 * @param flags GNTMAP_* that the handle remembers
 */
export function replaceHostMapping(
  mapper: Domain,
  place: number,
  frame: number,
  donor: number,
  flags: number,
): number {
  if (frame === INVALID_MFN && donor === NO_PLACE) return GNTST_okay;
  const readonly = (flags & GNTMAP_readonly) !== 0;
  if (mapper.translated) return destroyP2mMapping(mapper, place, frame, readonly);
  if (donor === NO_PLACE) return replacePvMapping(mapper, place, frame, readonly, 0, 0);
  const { machine } = mapper;
  const { lo, hi } = stealPte(machine, donor * PTE_SIZE);
  const status = replacePvMapping(mapper, place, frame, readonly, lo, hi);
  if (status !== GNTST_okay) dropPte(machine, lo, hi);
  return status;
}

function replacePvMapping(
  mapper: Domain,
  place: number,
  frame: number,
  readonly: boolean,
  lo: number,
  hi: number,
): number {
  if (place === NO_PLACE) return GNTST_general_error;
  const address = place * PTE_SIZE;
  const { machine } = mapper;
  if (frame === INVALID_MFN) return fillPte(machine, address, lo, hi);
  const access = readonly ? _PAGE_PRESENT : _PAGE_PRESENT | _PAGE_RW;
  return replacePteOf(machine, address, frame, access, lo, hi) ? GNTST_okay : GNTST_general_error;
}

function fillPte(machine: Machine, address: MachineAddress, lo: number, hi: number): number {
  if ((pteLo(machine, address) & _PAGE_PRESENT) !== 0) return GNTST_general_error;
  replacePte(machine, address, lo, hi);
  return GNTST_okay;
}

function destroyP2mMapping(mapper: Domain, gfn: number, frame: number, readonly: boolean): number {
  if (!isMappedAt(mapper, gfn, frame, readonly)) return GNTST_general_error;
  clearP2m(mapper, gfn);
  return GNTST_okay;
}

/** The place has a grant's mapping of `frame` with this access. */
export function isMappedAt(
  mapper: Domain,
  place: number,
  frame: number,
  readonly: boolean,
): boolean {
  if (mapper.translated) {
    const entry = p2mEntry(mapper, place);
    return entryType(entry) === p2mType(readonly) && entryFrame(entry) === frame;
  }
  if (place === NO_PLACE) return false;
  const { machine } = mapper;
  const [lo, hi] = [pteLo(machine, place * PTE_SIZE), pteHi(machine, place * PTE_SIZE)];
  const access = _PAGE_PRESENT | (readonly ? 0 : _PAGE_RW);
  // What a domain maps of its own has no NX, unless it asks for that.
  const granted = (hi & _PAGE_NX_HI) !== 0 && (lo & (_PAGE_PRESENT | _PAGE_RW)) === access;
  return granted && pteFrame(lo, hi) === frame;
}

/** Has a mapping show another frame, whose references the caller has taken; INVALID_MFN is none. */
export function retargetHostMapping(mapper: Domain, place: number, frame: number): void {
  const { machine } = mapper;
  if (mapper.translated) {
    if (frame === INVALID_MFN) clearP2m(mapper, place);
    else setP2m(mapper, place, frame, entryType(p2mEntry(mapper, place)));
    return;
  }
  const address = place * PTE_SIZE;
  if (frame === INVALID_MFN) replacePte(machine, address, 0, 0);
  else {
    const { lo, hi } = withFrame(pteLo(machine, address), pteHi(machine, address), frame);
    replacePte(machine, address, lo, hi);
  }
}
