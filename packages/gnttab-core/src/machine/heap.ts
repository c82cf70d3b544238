/** How bank 0 is laid out: the header, the table of banks, and what is set up once at the machine's start. */
import { DOMID_FIRST_RESERVED, DOMID_INVALID, NR_VIRQS, vcpuInfo } from '../abi/xen.ts';
import type { Bank } from './bank.ts';
import {
  bankEntry,
  INVALID_MFN,
  LAYOUT_VERSION,
  MACHINE_MAGIC,
  machineHeader,
  NO_QUOTA,
  pageInfo,
} from './layout.ts';
import { PAGE_SIZE } from './page.ts';
import { traceHeader, traceRecord } from './trace.ts';

const { banks: BANKS, nr_banks: NR_BANKS } = machineHeader.offset;
const { pages: BANK_PAGE_COUNT, frame_table: FRAME_TABLE, flags: BANK_FLAGS } = bankEntry.offset;
/** bank_entry.flags: somebody else's memory; its frames are never allocated. */
export const BANK_foreign = 1;

const pagesFor = (bytes: number) => Math.ceil(bytes / PAGE_SIZE);

/** Frames of bank 0 that a bank's frame table takes. */
export const frameTablePages = (bank: Bank): number => pagesFor(bank.pages * pageInfo.size);

/** Makes a bank known: from now on its frames are valid. */
export function describeBank(
  heap: Bank,
  index: number,
  pages: number,
  frameTable: number,
  flags: number,
): void {
  const { u32 } = heap;
  const entry = BANKS + index * bankEntry.size;
  u32[(entry + BANK_PAGE_COUNT) >>> 2] = pages;
  u32[(entry + FRAME_TABLE) >>> 2] = frameTable;
  u32[(entry + BANK_FLAGS) >>> 2] = flags;
  Atomics.store(u32, NR_BANKS >>> 2, index + 1);
}

/** Takes `pages` neighbouring frames that were never used; throws RangeError when there are none. */
export function takeUnused(heap: Bank, pages: number): number {
  const { unused_from, free_pages } = machineHeader.offset;
  const { u32 } = heap;
  const first = u32[unused_from >>> 2]!;
  if (first + pages > heap.pages) {
    throw new RangeError(`machine memory is full: ${pages} neighbouring frames are not to be had`);
  }
  u32[unused_from >>> 2] = first + pages;
  u32[free_pages >>> 2]! -= pages;
  return first;
}

/** Lays out an empty bank 0. `traceRecords` is the room of the trace ring, `flags` are MACHINE_*. Throws RangeError if it is too small. */
export function formatHeap(heap: Bank, traceRecords: number, flags: number): void {
  const header = machineHeader.cursor().at(heap.view, 0);
  header.magic = MACHINE_MAGIC;
  header.layout_version = LAYOUT_VERSION;
  header.flags = flags;
  header.xen_heap_quota = NO_QUOTA;
  header.domain_heap_quota = NO_QUOTA;
  header.free_head = INVALID_MFN;
  header.hardware_domain = DOMID_INVALID;
  for (let virq = 0; virq < NR_VIRQS; virq++) header.global_virq_handlers.set(virq, DOMID_INVALID);
  heap.u8[machineHeader.offset.dummy_vcpu_info + vcpuInfo.x86_64.offset.evtchn_upcall_mask] = 1;
  header.unused_from = pagesFor(machineHeader.size);
  header.free_pages = heap.pages - header.unused_from;
  header.domain_table = takeUnused(heap, pagesFor(DOMID_FIRST_RESERVED * 4)) * PAGE_SIZE;
  describeBank(heap, 0, heap.pages, takeUnused(heap, frameTablePages(heap)) * PAGE_SIZE, 0);
  if (traceRecords > 0) {
    const bytes = traceHeader.size + traceRecords * traceRecord.size;
    header.trace = takeUnused(heap, pagesFor(bytes)) * PAGE_SIZE;
    header.trace_records = traceRecords;
  }
}
