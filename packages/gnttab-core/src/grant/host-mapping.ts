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
import type { Domain } from '../machine/machine.ts';
import {
  addPage,
  clearP2m,
  entryFrame,
  entryType,
  filledGfns,
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
  makePte,
  PAGE_AVAIL_SHIFT,
  type Pte,
  pteAddress,
  pteFrame,
  pteHi,
  pteLo,
  presentPtes,
  PTE_SIZE,
  replacePte,
  stealPte,
  withFrame,
} from '../machine/page-table.ts';
import { NO_PLACE } from './structs.ts';

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

/** The entry that `hostAddr` names: that of a virtual address, or one in a page table of the domain's own. */
export const hostPte = (mapper: Domain, hostAddr: number, flags: number): MachineAddress =>
  (flags & GNTMAP_contains_pte) !== 0 ? guestPte(mapper, hostAddr) : pteAddress(mapper, hostAddr);

function createPvMapping(mapper: Domain, hostAddr: number, frame: number, flags: number): number {
  const slot = hostPte(mapper, hostAddr, flags);
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

const p2mType = (readonly: boolean): P2mType => (readonly ? p2m_grant_map_ro : p2m_grant_map_rw);

function createP2mMapping(mapper: Domain, address: number, frame: number, flags: number): number {
  if ((flags & ~GNTMAP_readonly) !== GNTMAP_host_map) return GNTST_general_error;
  const gfn = Math.floor(address / PAGE_SIZE);
  if (gfn >= MAX_GFN) return GNTST_general_error;
  const type = p2mType((flags & GNTMAP_readonly) !== 0);
  return addPage(mapper, gfn, frame, type) ? GNTST_okay : GNTST_general_error;
}

/**
 * replace_grant_host_mapping(): takes the mapping of `frame` at `hostAddr` away, if there is one of exactly that frame
 * and access, and puts the entry of `newAddr` in its place, if that is not 0. That entry is gone whatever happens.
 *
 * @param flags GNTMAP_* that the handle remembers
 */
export function replaceHostMapping(
  mapper: Domain,
  hostAddr: number,
  frame: number,
  newAddr: number,
  flags: number,
): number {
  const readonly = (flags & GNTMAP_readonly) !== 0;
  if (newAddr === 0) {
    return mapper.translated
      ? destroyP2mMapping(mapper, hostAddr, frame, readonly)
      : replacePvMapping(mapper, hostPte(mapper, hostAddr, flags), frame, readonly, EMPTY);
  }
  if (mapper.translated || (flags & GNTMAP_contains_pte) !== 0) return GNTST_general_error;
  const { machine } = mapper;
  const donor = pteAddress(mapper, newAddr);
  if (donor < 0) return GNTST_general_error;
  const stolen = stealPte(machine, donor);
  const slot = pteAddress(mapper, hostAddr);
  const status = replacePvMapping(mapper, slot, frame, readonly, stolen);
  if (status !== GNTST_okay) dropPte(machine, stolen.lo, stolen.hi);
  return status;
}

const EMPTY: Pte = { lo: 0, hi: 0 };

function replacePvMapping(
  mapper: Domain,
  slot: MachineAddress,
  frame: number,
  readonly: boolean,
  replacement: Pte,
): number {
  const { machine } = mapper;
  if (slot < 0) return GNTST_general_error;
  const lo = pteLo(machine, slot);
  const expected = _PAGE_PRESENT | (readonly ? 0 : _PAGE_RW);
  const same =
    (lo & (_PAGE_PRESENT | _PAGE_RW)) === expected && pteFrame(lo, pteHi(machine, slot)) === frame;
  if (!same) return GNTST_general_error;
  replacePte(machine, slot, replacement.lo, replacement.hi);
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
  if (entryType(entry) !== p2mType(readonly) || entryFrame(entry) !== frame)
    return GNTST_general_error;
  clearP2m(mapper, gfn);
  return GNTST_okay;
}

/**
 * Where a host mapping is, in 32 bits: the gfn of a translated domain; for a PV domain which 8 bytes of the machine's
 * memory its page table entry is. 0 if the map is for devices alone.
 */
export function hostPlace(mapper: Domain, hostAddr: number, flags: number): number {
  if ((flags & GNTMAP_host_map) === 0) return 0;
  return mapper.translated
    ? Math.floor(hostAddr / PAGE_SIZE)
    : hostPte(mapper, hostAddr, flags) / PTE_SIZE;
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

/** A place where the domain maps `frame` as somebody's grant with this access, none of `taken`; -1 if there is none. */
export function findHostMapping(
  mapper: Domain,
  frame: number,
  readonly: boolean,
  taken: ReadonlySet<number>,
): number {
  for (const place of mapper.translated ? filledGfns(mapper) : presentPtes(mapper)) {
    const at = mapper.translated ? place : place / PTE_SIZE;
    if (!taken.has(at) && isMappedAt(mapper, at, frame, readonly)) return at;
  }
  return -1;
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
