/**
 * Two-level tables of frames: a root frame of 1024 frame numbers, each naming a leaf frame. The p2m and the page table
 * are both such tables; leaves come from the Xen heap when first needed.
 */
import { allocXenHeapPage, freeXenHeapPage } from './frame-table.ts';
import { INVALID_MFN } from './layout.ts';
import type { Machine } from './machine.ts';
import { PAGE_SHIFT, PAGE_SIZE } from './page.ts';

export const ROOT_ENTRIES = PAGE_SIZE / 4;

/** The root word of leaf number `leaf`. A root always lies in bank 0; 0 means that the leaf is missing. */
export const rootWord = (root: number, leaf: number): number => (root << (PAGE_SHIFT - 2)) + leaf;

/** The leaf's frame, allocated if it was missing; INVALID_MFN when memory is exhausted. */
export function ensureLeaf(machine: Machine, root: number, leaf: number): number {
  const { u32 } = machine.heap;
  const present = u32[rootWord(root, leaf)]!;
  if (present !== 0) return present;
  const frame = allocXenHeapPage(machine);
  if (frame !== INVALID_MFN) u32[rootWord(root, leaf)] = frame;
  return frame;
}

/** Frees a table: its leaves and its root. */
export function freeTable(machine: Machine, root: number): void {
  for (let leaf = 0; leaf < ROOT_ENTRIES; leaf++) {
    const frame = machine.heap.u32[rootWord(root, leaf)]!;
    if (frame !== 0) freeXenHeapPage(machine, frame);
  }
  freeXenHeapPage(machine, root);
}
