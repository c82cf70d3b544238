/** The frames of bank 0 that are free: a list of those that were used before, and behind them all that never were. */
import { DOMID_INVALID } from '../abi/xen.ts';
import { INVALID_MFN, machineHeader, NO_QUOTA, pageInfo } from './layout.ts';
import type { Machine } from './machine.ts';
import { frameAddress, PAGE_SIZE } from './page.ts';

const { type_info: TYPE, owner: OWNER, next: NEXT } = pageInfo.offset;
const {
  heap_lock: HEAP_LOCK,
  free_head: FREE_HEAD,
  unused_from: UNUSED_FROM,
  free_pages: FREE_PAGES,
} = machineHeader.offset;

/** Where the header counts what may still be allocated: for the hypervisor, and for domains. */
export const XEN_HEAP_QUOTA = machineHeader.offset.xen_heap_quota;
export const DOMAIN_HEAP_QUOTA = machineHeader.offset.domain_heap_quota;

/** How many more pages the hypervisor gets for itself; -1 is as many as there are. To see what happens without memory. */
export const limitXenHeap = (machine: Machine, pages: number): void => {
  machine.u32[XEN_HEAP_QUOTA >>> 2] = pages;
};

/** The same for pages of domains. */
export const limitDomainHeap = (machine: Machine, pages: number): void => {
  machine.u32[DOMAIN_HEAP_QUOTA >>> 2] = pages;
};

/** Frames of bank 0 that are free. */
export const freePages = (machine: Machine): number => machine.u32[FREE_PAGES >>> 2]!;

/**
 * Takes a zeroed frame numbered below `limit`, if the quota at `quota` is not used up. With a limit below the size of bank 0
 * it may look at every frame of the list while it has the heap's lock: some 5 ns for each, 0.3 ms for 65,536. (Xen has a
 * list for each address width.) A guest can have that done once for each hypercall, or page that it gets.
 */
export function takeFree(machine: Machine, quota: number, limit = INVALID_MFN): number {
  const { u32 } = machine;
  machine.native.spinLock(HEAP_LOCK);
  const left = u32[quota >>> 2]!;
  let frame = left === 0 ? INVALID_MFN : unlinkFree(machine, limit);
  const recycled = frame !== INVALID_MFN;
  const unused = u32[UNUSED_FROM >>> 2]!;
  if (!recycled && left !== 0 && unused < machine.heap.pages && unused < limit) {
    frame = unused;
    u32[UNUSED_FROM >>> 2] = frame + 1;
  }
  if (frame !== INVALID_MFN) {
    u32[FREE_PAGES >>> 2]! -= 1;
    if (left !== NO_QUOTA) u32[quota >>> 2] = left - 1;
  }
  machine.native.spinUnlock(HEAP_LOCK);
  // A frame never used before is zero already; another's must not be readable by its next owner.
  if (recycled) machine.native.zero(frameAddress(frame), PAGE_SIZE);
  return frame;
}

/** The first frame below `limit` of the list of those that were freed. */
function unlinkFree(machine: Machine, limit: number): number {
  const { u32 } = machine;
  let link = FREE_HEAD;
  let frame = u32[link >>> 2]!;
  while (frame !== INVALID_MFN && frame >= limit) {
    link = machine.pageInfo(frame) + NEXT;
    frame = u32[link >>> 2]!;
  }
  if (frame !== INVALID_MFN) u32[link >>> 2] = u32[(machine.pageInfo(frame) + NEXT) >>> 2]!;
  return frame;
}

/** Gives a frame back that nobody owns or references. */
export function giveFree(machine: Machine, frame: number): void {
  const info = machine.pageInfo(frame);
  const { u16, u32, i32 } = machine;
  u16[(info + OWNER) >>> 1] = DOMID_INVALID;
  i32[(info + TYPE) >>> 2] = 0;
  // A foreign bank's frames belong to their guest's memory: freed, they are nobody's for good.
  if (machine.bank(frame) !== machine.heap) return;
  machine.native.spinLock(HEAP_LOCK);
  u32[(info + NEXT) >>> 2] = u32[FREE_HEAD >>> 2]!;
  u32[FREE_HEAD >>> 2] = frame;
  u32[FREE_PAGES >>> 2]! += 1;
  machine.native.spinUnlock(HEAP_LOCK);
}
