/**
 * Physical-to-machine: which frame is behind a guest frame number, and of what type (p2m_type_t). For a translated
 * domain this is its address space; for a PV domain it is the phys_to_machine_mapping that the guest keeps.
 */
import type { Domain } from './machine.ts';
import { frameGfn, putPageFor, setFrameGfn } from './frame-table.ts';
import { DOMAIN, INVALID_MFN } from './layout.ts';
import { ensureLeaf, ROOT_ENTRIES, rootWord } from './radix.ts';

export const p2m_invalid = 0;
export const p2m_ram_rw = 1;
export const p2m_grant_map_rw = 2;
export const p2m_grant_map_ro = 3;
export type P2mType =
  | typeof p2m_invalid
  | typeof p2m_ram_rw
  | typeof p2m_grant_map_rw
  | typeof p2m_grant_map_ro;

/** Leaf entry: the type in the top four bits, the frame number below. */
const TYPE_SHIFT = 28;
const FRAME_MASK = 0x0fff_ffff;
const LEAF_SHIFT = 10;
/** Guest frame numbers lie below this (4 GiB of guest-physical space). */
export const MAX_GFN = ROOT_ENTRIES << LEAF_SHIFT;

/** The raw entry of `gfn`: 0 is invalid. See `entryFrame` and `entryType`. */
export function p2mEntry(domain: Domain, gfn: number): number {
  if (!(gfn >= 0 && gfn < MAX_GFN)) return 0;
  const { u32 } = domain.machine.heap;
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
  if (gfn >= MAX_GFN) return false;
  const { machine } = domain;
  const { u32 } = machine.heap;
  const root = u32[(domain.base + DOMAIN.p2m_root) >>> 2]!;
  const leaf = ensureLeaf(machine, root, gfn >>> LEAF_SHIFT);
  if (leaf === INVALID_MFN) return false;
  replaceEntry(domain, (leaf << 10) + (gfn & 1023), (type << TYPE_SHIFT) | frame);
  if (type === p2m_ram_rw) setFrameGfn(machine, frame, gfn);
  return true;
}

/** Writes an entry, and lets go of the frame of the grant mapping that stood there. */
function replaceEntry(domain: Domain, word: number, entry: number): void {
  const { machine } = domain;
  const { u32 } = machine.heap;
  const old = u32[word]!;
  u32[word] = entry;
  const type = entryType(old);
  if (type === p2m_grant_map_rw || type === p2m_grant_map_ro) {
    putPageFor(machine, entryFrame(old), type === p2m_grant_map_rw);
  }
}

/** INVALID_P2M_ENTRY: nothing is behind `gfn` any more. */
export function clearP2m(domain: Domain, gfn: number): void {
  const { u32 } = domain.machine.heap;
  const root = u32[(domain.base + DOMAIN.p2m_root) >>> 2]!;
  const leaf = gfn < MAX_GFN ? u32[rootWord(root, gfn >>> LEAF_SHIFT)]! : 0;
  if (leaf !== 0) replaceEntry(domain, (leaf << 10) + (gfn & 1023), p2m_invalid);
}

/** A frame that is about to be put at another gfn is no longer at the one where it was RAM (guest_physmap_remove_page). */
export function leaveGfn(domain: Domain, frame: number): void {
  const gfn = frameGfn(domain.machine, frame);
  const entry = p2mEntry(domain, gfn);
  if (entryType(entry) === p2m_ram_rw && entryFrame(entry) === frame) clearP2m(domain, gfn);
}

/** Nothing is behind any gfn any more. */
export function clearAllP2m(domain: Domain): void {
  const { u32 } = domain.machine.heap;
  const root = u32[(domain.base + DOMAIN.p2m_root) >>> 2]!;
  for (let n = 0; n < ROOT_ENTRIES; n++) {
    const leaf = u32[rootWord(root, n)]!;
    if (leaf === 0) continue;
    for (let word = leaf << 10; word < (leaf + 1) << 10; word++) {
      if (u32[word] !== 0) replaceEntry(domain, word, p2m_invalid);
    }
  }
}
