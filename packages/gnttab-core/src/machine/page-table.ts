/**
 * A PV domain's page table: x86-64 page table entries in L1 frames, found through one root. Each present entry holds a
 * reference to its frame, and a writable one a reference of type PGT_writable_page, whoever owns the frame. An entry is
 * *foreign* when it maps a frame that its domain does not own.
 */
import type { Domain, Machine } from './machine.ts';
import { getPageAndType, getPageFor, isPageTable, ownerOf, putPageFor } from './frame-table.ts';
import { DOMAIN, INVALID_MFN, PGT_l1_page_table } from './layout.ts';
import { bankOffset, frameAddress, type MachineAddress, PAGE_SHIFT } from './page.ts';
import { ensureLeaf, ROOT_ENTRIES, rootWord } from './radix.ts';

/** Low word of an entry, as the processor defines it. */
export const _PAGE_PRESENT = 0x001;
export const _PAGE_RW = 0x002;
export const _PAGE_USER = 0x004;
export const _PAGE_ACCESSED = 0x020;
export const _PAGE_DIRTY = 0x040;
export const _PAGE_GLOBAL = 0x100;
/** Three bits that the processor leaves to the system; GNTMAP_guest_avail goes there. */
export const PAGE_AVAIL_SHIFT = 9;
/** High word: Xen's mark of a kernel mapping (bit 52) and no-execute (bit 63). */
export const _PAGE_GUEST_KERNEL_HI = 1 << 20;
export const _PAGE_NX_HI = 0x8000_0000;

/** Bytes of an entry. */
export const PTE_SIZE = 8;
/** An L1 table has 512 entries. */
export const L1_SHIFT = 9;
export const L1_ENTRIES = 1 << L1_SHIFT;
/** Bits of the high word that belong to the frame number: those that a frame of the machine has, and all. */
const FRAME_HI = 0xff;
const FRAME_HI_WIDE = 0x000f_ff00;
/** Virtual addresses a table covers. */
export const PAGE_TABLE_SPAN = (ROOT_ENTRIES << L1_SHIFT) * 4096;

/** One page table entry. */
export interface Pte {
  readonly lo: number;
  readonly hi: number;
}

/** The halves of an entry for a frame. */
export const pteLow = (frame: number, flags: number): number =>
  ((frame << PAGE_SHIFT) | flags) >>> 0;
export const pteHigh = (frame: number, flagsHi: number): number =>
  ((frame >>> (32 - PAGE_SHIFT)) | flagsHi) >>> 0;
export const makePte = (frame: number, flags: number, flagsHi: number): Pte => ({
  lo: pteLow(frame, flags),
  hi: pteHigh(frame, flagsHi),
});
export const pteFrame = (lo: number, hi: number): number =>
  (lo >>> PAGE_SHIFT) | ((hi & FRAME_HI) << (32 - PAGE_SHIFT));

/** An entry with another frame in it. */
export const withFrame = (lo: number, hi: number, frame: number): Pte =>
  makePte(frame, lo & ((1 << PAGE_SHIFT) - 1), hi & ~FRAME_HI);

/** Number of `va`'s page in the table's span; at least the span's size where `va` is outside. */
function pageNumber(domain: Domain, va: number): number {
  const base = domain.machine.u32[(domain.base + DOMAIN.va_base) >>> 2]!;
  const offset = va - base;
  return offset >= 0 && offset < PAGE_TABLE_SPAN ? offset >>> PAGE_SHIFT : PAGE_TABLE_SPAN;
}

/** Machine address of the entry for `va`, or -1 where no L1 table covers it. */
export function pteAddress(domain: Domain, va: number): MachineAddress {
  const page = pageNumber(domain, va);
  if (page === PAGE_TABLE_SPAN) return -1;
  const { u32 } = domain.machine;
  const l1 = u32[rootWord(u32[(domain.base + DOMAIN.pt_root) >>> 2]!, page >>> L1_SHIFT)]!;
  return l1 === 0 ? -1 : frameAddress(l1) + (page & (L1_ENTRIES - 1)) * PTE_SIZE;
}

/** Provides the L1 table for `va`; false outside the span or when memory is exhausted. */
export function ensureL1(domain: Domain, va: number): boolean {
  const page = pageNumber(domain, va);
  if (page === PAGE_TABLE_SPAN) return false;
  const { machine } = domain;
  const root = machine.u32[(domain.base + DOMAIN.pt_root) >>> 2]!;
  return ensureLeaf(machine, root, page >>> L1_SHIFT) !== INVALID_MFN;
}

export const pteLo = (machine: Machine, address: MachineAddress): number =>
  machine.bankOf(address).u32[bankOffset(address) >>> 2]!;
export const pteHi = (machine: Machine, address: MachineAddress): number =>
  machine.bankOf(address).u32[(bankOffset(address) >>> 2) + 1]!;

/** The entry that maps `va`, or undefined where none is present. */
export function lookup(
  domain: Domain,
  va: number,
): { frame: number; writable: boolean; foreign: boolean } | undefined {
  const address = pteAddress(domain, va);
  if (address < 0) return undefined;
  const { machine } = domain;
  const lo = pteLo(machine, address);
  if ((lo & _PAGE_PRESENT) === 0) return undefined;
  const frame = pteFrame(lo, pteHi(machine, address));
  return {
    frame,
    writable: (lo & _PAGE_RW) !== 0,
    foreign: ownerOf(machine, frame) !== domain.id,
  };
}

/**
 * Writes an entry whose references the caller has taken, and drops those of the entry that stood there: overwriting a
 * mapping of a foreign frame releases the frame, not the grant's pin.
 */
export function replacePte(
  machine: Machine,
  address: MachineAddress,
  lo: number,
  hi: number,
): void {
  const { u32 } = machine.bankOf(address);
  const word = bankOffset(address) >>> 2;
  const oldLo = u32[word]!;
  const oldHi = u32[word + 1]!;
  u32[word + 1] = hi;
  u32[word] = lo;
  dropPte(machine, oldLo, oldHi);
}

/** The same, if the entry maps `frame` with exactly `access` of _PAGE_PRESENT and _PAGE_RW. */
export function replacePteOf(
  machine: Machine,
  address: MachineAddress,
  frame: number,
  access: number,
  lo: number,
  hi: number,
): boolean {
  const { u32 } = machine.bankOf(address);
  const word = bankOffset(address) >>> 2;
  const oldLo = u32[word]!;
  const oldHi = u32[word + 1]!;
  if ((oldLo & (_PAGE_PRESENT | _PAGE_RW)) !== access || pteFrame(oldLo, oldHi) !== frame) {
    return false;
  }
  u32[word + 1] = hi;
  u32[word] = lo;
  dropPte(machine, oldLo, oldHi);
  return true;
}

/** Empties an entry whose references go on with whoever calls. */
export function stealPte(machine: Machine, address: MachineAddress): Pte {
  const { u32 } = machine.bankOf(address);
  const word = bankOffset(address) >>> 2;
  const pte = { lo: u32[word]!, hi: u32[word + 1]! };
  u32[word] = 0;
  u32[word + 1] = 0;
  return pte;
}

/** put_page_from_l1e(): drops the references of an entry that stands nowhere any more. */
export function dropPte(machine: Machine, lo: number, hi: number): void {
  if ((lo & _PAGE_PRESENT) !== 0) putPageFor(machine, pteFrame(lo, hi), (lo & _PAGE_RW) !== 0);
}

/**
 * mod_l1_entry(): the domain writes an entry of its own. One that is present may map only a frame that `owner` owns (or
 * that Xen shares with it), and a page table only read-only; false, with nothing changed, otherwise.
 */
export function writePte(
  domain: Domain,
  address: MachineAddress,
  lo: number,
  hi: number,
  owner = domain,
): boolean {
  const { machine } = domain;
  if ((lo & _PAGE_PRESENT) === 0) {
    replacePte(machine, address, lo, hi);
    return true;
  }
  const frame = (hi & FRAME_HI_WIDE) === 0 ? pteFrame(lo, hi) : INVALID_MFN;
  if (!getPageFor(machine, frame, owner.id, (lo & _PAGE_RW) !== 0)) return false;
  // adjust_guest_l1e(): what the guest's kernel maps is its user's too, marked as the kernel's.
  replacePte(machine, address, (lo | _PAGE_USER) >>> 0, (hi | _PAGE_GUEST_KERNEL_HI) >>> 0);
  return true;
}

/** Maps a frame that the domain owns at the entry, as a guest's kernel does; false if it may not. */
export function mapOwnFrame(
  domain: Domain,
  address: MachineAddress,
  frame: number,
  writable: boolean,
): boolean {
  const flags = _PAGE_PRESENT | _PAGE_ACCESSED | _PAGE_DIRTY | (writable ? _PAGE_RW : 0);
  const { lo, hi } = makePte(frame, flags, 0);
  return writePte(domain, address, lo, hi);
}

/**
 * A frame of the domain's becomes its L1 table for the 2 MiB at `va`, as a PV guest brings its own page tables: from now
 * on it is typed, so nobody maps or copies to it writably. False if there is a table, or the frame is in other use, has
 * entries already, or lies in memory that the guest can write without asking (see BankMemory.trusted).
 */
export function linkL1(domain: Domain, va: number, frame: number): boolean {
  const { machine } = domain;
  const page = pageNumber(domain, va);
  if (page === PAGE_TABLE_SPAN) return false;
  const { u32 } = machine;
  const word = rootWord(u32[(domain.base + DOMAIN.pt_root) >>> 2]!, page >>> L1_SHIFT);
  if (u32[word] !== 0 || !getPageAndType(machine, frame, domain.id, PGT_l1_page_table))
    return false;
  if (!isEmpty(machine, frame)) {
    putPageFor(machine, frame, true);
    return false;
  }
  u32[word] = frame;
  return true;
}

/** No entry of the table is present, and none can be but by way of us. */
function isEmpty(machine: Machine, frame: number): boolean {
  const bank = machine.bank(frame);
  if (bank.foreign && bank.memory.trusted !== true) return false;
  for (let entry = 0; entry < L1_ENTRIES; entry++) {
    if ((pteLo(machine, frameAddress(frame) + entry * PTE_SIZE) & _PAGE_PRESENT) !== 0)
      return false;
  }
  return true;
}

/** The entry at a machine address, if it lies in a page table of the domain's own; else -1. */
export function guestPte(domain: Domain, address: MachineAddress): MachineAddress {
  const aligned = address % PTE_SIZE === 0;
  const frame = Math.floor(address / 2 ** PAGE_SHIFT);
  return aligned && isPageTable(domain.machine, frame, domain.id) ? address : -1;
}

/** Drops every mapping of the table, and the table's claim on the L1 frames that are the domain's own. */
export function clearPageTable(domain: Domain): void {
  const { machine } = domain;
  const { u32 } = machine;
  const root = u32[(domain.base + DOMAIN.pt_root) >>> 2]!;
  for (let leaf = 0; leaf < ROOT_ENTRIES; leaf++) {
    const l1 = u32[rootWord(root, leaf)]!;
    if (l1 === 0) continue;
    for (let entry = 0; entry < L1_ENTRIES; entry++) {
      replacePte(machine, frameAddress(l1) + entry * PTE_SIZE, 0, 0);
    }
    if (!isPageTable(machine, l1, domain.id)) continue;
    u32[rootWord(root, leaf)] = 0;
    putPageFor(machine, l1, true);
  }
}
