/**
 * Physical-to-machine: which frame is behind a guest frame number, and of what type (p2m_type_t). For a translated
 * domain this is its address space; for a PV domain it is the phys_to_machine_mapping that the guest keeps.
 */
import type { Domain } from './machine.ts';
import { frameGfn, INVALID_M2P_ENTRY, ownerOf, putPageFor, setFrameGfn } from './frame-table.ts';
import { DOMAIN, INVALID_MFN } from './layout.ts';
import { ensureLeaf, ROOT_ENTRIES, rootWord } from './radix.ts';

export const p2m_invalid = 0;
export const p2m_ram_rw = 1;
export const p2m_grant_map_rw = 2;
export const p2m_grant_map_ro = 3;
/** RAM whose contents are elsewhere for the moment: try again. */
export const p2m_ram_paged = 4;
/** Another domain's page, mapped by a control domain. */
export const p2m_map_foreign = 5;
/** A device's registers. */
export const p2m_mmio_direct = 6;
export type P2mType =
  | typeof p2m_invalid
  | typeof p2m_ram_rw
  | typeof p2m_grant_map_rw
  | typeof p2m_grant_map_ro
  | typeof p2m_ram_paged
  | typeof p2m_map_foreign
  | typeof p2m_mmio_direct;

/** Leaf entry: the type in the top four bits, the frame number below. */
const TYPE_SHIFT = 28;
const FRAME_MASK = 0x0fff_ffff;
const LEAF_SHIFT = 10;
/** Guest frame numbers lie below this (4 GiB of guest-physical space). */
export const MAX_GFN = ROOT_ENTRIES << LEAF_SHIFT;

/** The raw entry of `gfn`: 0 is invalid. See `entryFrame` and `entryType`. */
export function p2mEntry(domain: Domain, gfn: number): number {
  if (gfn >>> 0 !== gfn || gfn >= MAX_GFN) return 0;
  const { u32 } = domain.machine;
  const root = u32[(domain.base + DOMAIN.p2m_root) >>> 2]!;
  const leaf = u32[rootWord(root, gfn >>> LEAF_SHIFT)]!;
  return leaf === 0 ? 0 : u32[(leaf << 10) + (gfn & 1023)]!;
}

export const entryFrame = (entry: number): number => entry & FRAME_MASK;
export const entryType = (entry: number): P2mType => (entry >>> TYPE_SHIFT) as P2mType;

/** The frame behind `gfn`, INVALID_MFN if none. */
export function gfnToMfn(domain: Domain, gfn: number): number {
  const entry = p2mEntry(domain, gfn);
  return entry === 0 ? INVALID_MFN : entryFrame(entry);
}

/**
 * Puts a frame behind `gfn` (and, for RAM, the m2p entry) in the place of what was there; false when memory for the table
 * is exhausted. A grant mapping brings the references that the caller has taken (see getPageFor).
 */
export function setP2m(domain: Domain, gfn: number, frame: number, type: P2mType): boolean {
  const { machine } = domain;
  const leaf = ensureLeafOf(domain, gfn);
  if (leaf === INVALID_MFN) return false;
  replaceEntry(domain, (leaf << 10) + (gfn & 1023), (type << TYPE_SHIFT) | frame);
  if (type === p2m_ram_rw) setFrameGfn(machine, frame, gfn);
  return true;
}

/** The leaf that `gfn` is in; INVALID_MFN if there can be none, or there is no memory for it. */
function ensureLeafOf(domain: Domain, gfn: number): number {
  if (gfn >= MAX_GFN) return INVALID_MFN;
  const { machine } = domain;
  const root = machine.u32[(domain.base + DOMAIN.p2m_root) >>> 2]!;
  return ensureLeaf(machine, root, gfn >>> LEAF_SHIFT);
}

/** Writes an entry, and lets go of the frame of the grant mapping that stood there. */
function replaceEntry(domain: Domain, word: number, entry: number): void {
  const { machine } = domain;
  const { u32 } = machine;
  const old = u32[word]!;
  u32[word] = entry;
  const type = entryType(old);
  if (isGrantMap(type)) {
    putPageFor(machine, entryFrame(old), type === p2m_grant_map_rw);
  }
}

/** INVALID_P2M_ENTRY: nothing is behind `gfn` any more. */
export function clearP2m(domain: Domain, gfn: number): void {
  const { u32 } = domain.machine;
  const root = u32[(domain.base + DOMAIN.p2m_root) >>> 2]!;
  const leaf = gfn < MAX_GFN ? u32[rootWord(root, gfn >>> LEAF_SHIFT)]! : 0;
  if (leaf !== 0) replaceEntry(domain, (leaf << 10) + (gfn & 1023), p2m_invalid);
}

/** A frame that is about to be put at another gfn is no longer at the one where it was RAM (guest_physmap_remove_page). */
export function leaveGfn(domain: Domain, frame: number): void {
  const gfn = frameGfn(domain.machine, frame);
  const entry = p2mEntry(domain, gfn);
  if (entryType(entry) !== p2m_ram_rw || entryFrame(entry) !== frame) return;
  clearP2m(domain, gfn);
  setFrameGfn(domain.machine, frame, INVALID_M2P_ENTRY);
}

/**
 * guest_physmap_add_entry(): puts a frame at `gfn`. RAM that was there is displaced for good, a frame of the domain's own
 * leaves the gfn where it was, and a mapping that is overwritten is the end of the domain. False, with p2m
 * and m2p as they were, if it could not be.
 */
export function addPage(domain: Domain, gfn: number, frame: number, type: P2mType): boolean {
  const { machine } = domain;
  const there = entryType(p2mEntry(domain, gfn));
  if (isGrantMap(there) || there === p2m_map_foreign) {
    domain.crash(`a frame was put at gfn ${gfn}, where another domain's is mapped`);
    return false;
  }
  if (ensureLeafOf(domain, gfn) === INVALID_MFN) return false;
  if (there === p2m_ram_rw) setFrameGfn(machine, gfnToMfn(domain, gfn), INVALID_M2P_ENTRY);
  if (ownerOf(machine, frame) === domain.id && frameGfn(machine, frame) !== gfn) {
    leaveGfn(domain, frame);
  }
  return setP2m(domain, gfn, frame, type);
}

/** The gfns behind which something is. */
export function* filledGfns(domain: Domain): Generator<number> {
  const { u32 } = domain.machine;
  const root = u32[(domain.base + DOMAIN.p2m_root) >>> 2]!;
  for (let n = 0; n < ROOT_ENTRIES; n++) {
    const leaf = u32[rootWord(root, n)]!;
    for (let i = 0; leaf !== 0 && i < 1 << LEAF_SHIFT; i++) {
      if (u32[(leaf << 10) + i] !== 0) yield (n << LEAF_SHIFT) + i;
    }
  }
}

const isGrantMap = (type: P2mType): boolean =>
  type === p2m_grant_map_rw || type === p2m_grant_map_ro;

/** The highest gfn with something behind it, 0 if there is none. */
export function maxMappedGfn(domain: Domain): number {
  const { u32 } = domain.machine;
  const root = u32[(domain.base + DOMAIN.p2m_root) >>> 2]!;
  for (let n = ROOT_ENTRIES - 1; n >= 0; n--) {
    const leaf = u32[rootWord(root, n)]!;
    if (leaf === 0) continue;
    for (let i = (1 << LEAF_SHIFT) - 1; i >= 0; i--) {
      if (u32[(leaf << LEAF_SHIFT) + i] !== 0) return (n << LEAF_SHIFT) + i;
    }
  }
  return 0;
}

/** Nothing is behind any gfn any more. */
export function clearAllP2m(domain: Domain): void {
  const { u32 } = domain.machine;
  const root = u32[(domain.base + DOMAIN.p2m_root) >>> 2]!;
  for (let n = 0; n < ROOT_ENTRIES; n++) {
    const leaf = u32[rootWord(root, n)]!;
    if (leaf === 0) continue;
    for (let word = leaf << 10; word < (leaf + 1) << 10; word++) {
      if (u32[word] !== 0) replaceEntry(domain, word, p2m_invalid);
    }
  }
}
