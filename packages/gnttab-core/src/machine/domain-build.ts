/** Building a domain's memory, and taking it apart. Grant table and event channels are added by their own code. */
import { DOMID_FIRST_RESERVED } from '../abi/xen.ts';
import type { Domain, Machine } from './machine.ts';
import {
  allocDomainPage,
  allocXenHeapPage,
  freeXenHeapPage,
  releaseAllocation,
  shareXenPageWithGuest,
} from './frame-table.ts';
import {
  DOMAIN,
  DOMAIN_privileged,
  DOMAIN_translated,
  domainStruct,
  INVALID_MFN,
  machineHeader,
  pageInfo,
} from './layout.ts';
import { invariant } from './errors.ts';
import { p2m_ram_rw, setP2m } from './p2m.ts';
import { type DomId, domId, frameAddress, PAGE_SIZE } from './page.ts';
import { clearPageTable, ensureL1, mapOwnFrame, pteAddress } from './page-table.ts';
import { freeTable, rootWord } from './radix.ts';

/** Where a PV domain's direct map begins: the page of gfn n is at `PV_VA_BASE + n * 4096`. */
export const PV_VA_BASE = 0x4000_0000;

export interface DomainOptions {
  /** Pages the domain starts with. */
  pages: number;
  /** Pages it may own at most. Default: `pages`. */
  maxPages?: number;
  /** A control domain. Default false. */
  privileged?: boolean;
  /** 'pv': names machine frames, has a page table. 'translated': names its own frames only. Default 'pv'. */
  type?: 'pv' | 'translated';
  /** Default: the lowest id not used so far. */
  domid?: number;
}

/** Memory for a domain was not to be had. */
export class OutOfMemory extends Error {
  override readonly name = 'OutOfMemory';
}

/** Creates the domain with its pages; PV pages are mapped in its direct map. Throws OutOfMemory, RangeError. */
export function buildDomain(machine: Machine, options: DomainOptions): Domain {
  const { pages, maxPages = pages, privileged = false, type = 'pv' } = options;
  const id = claimDomid(machine, options.domid);
  const { heap } = machine;
  const frame = xenHeapPage(machine);
  const base = frameAddress(frame);
  invariant(domainStruct.size <= PAGE_SIZE, 'struct domain fits its frame');
  const fields = domainStruct.cursor().at(heap.view, base);
  fields.domid = id;
  fields.flags =
    (type === 'translated' ? DOMAIN_translated : 0) | (privileged ? DOMAIN_privileged : 0);
  fields.max_pages = maxPages;
  fields.page_list = INVALID_MFN;
  fields.p2m_root = xenHeapPage(machine);
  fields.va_base = PV_VA_BASE;
  if (type === 'pv') fields.pt_root = xenHeapPage(machine);
  fields.nr_vcpus = 1;
  fields.shared_info = xenHeapPage(machine);
  heap.u32[machine.domainSlot(id)] = base;
  const domain = machine.domainById(id)!;
  shareXenPageWithGuest(domain, fields.shared_info);
  for (let gfn = 0; gfn < pages; gfn++) populate(domain, gfn);
  return domain;
}

/** Puts a fresh page behind `gfn`, mapped where a PV guest's direct map has it. */
function populate(domain: Domain, gfn: number): void {
  const page = allocDomainPage(domain);
  const ready = page !== INVALID_MFN && setP2m(domain, gfn, page, p2m_ram_rw);
  if (!ready) throw new OutOfMemory(`domain ${domain.id}: no memory for its page ${gfn}`);
  if (domain.translated) return;
  const va = PV_VA_BASE + gfn * PAGE_SIZE;
  if (!ensureL1(domain, va))
    throw new OutOfMemory(`domain ${domain.id}: no memory for page tables`);
  invariant(mapOwnFrame(domain, pteAddress(domain, va), page, true), 'a fresh page can be mapped');
}

function xenHeapPage(machine: Machine): number {
  const frame = allocXenHeapPage(machine);
  if (frame === INVALID_MFN) throw new OutOfMemory('machine memory is full');
  return frame;
}

function claimDomid(machine: Machine, wanted: number | undefined): DomId {
  const { u32 } = machine.heap;
  const next = machineHeader.offset.next_domid >>> 2;
  let id = wanted ?? u32[next]!;
  if (wanted === undefined) while (u32[machine.domainSlot(id)] !== 0) id++;
  if (id >= DOMID_FIRST_RESERVED) {
    throw new RangeError(`domain id ${id} is not below ${DOMID_FIRST_RESERVED}`);
  }
  if (u32[machine.domainSlot(id)] !== 0) throw new RangeError(`there is a domain ${id} already`);
  if (wanted === undefined) u32[next] = id + 1;
  return domId(id);
}

/**
 * Takes the domain's memory apart: mappings, p2m, pages. Pages that others still reference stay until their last
 * reference goes; the struct domain stays as long (`false` is returned then; call `reapDomain` later).
 */
export function relinquishMemory(domain: Domain): void {
  const { machine, base } = domain;
  const { u32 } = machine.heap;
  if (!domain.translated) clearPageTable(domain);
  forEachPage(domain, (page) => releaseAllocation(machine, page));
  clearAllP2m(domain);
  freeXenHeapPage(machine, u32[(base + DOMAIN.shared_info) >>> 2]!);
}

/** Frees the struct domain itself once the domain owns no page. True when it is gone. */
export function reapDomain(domain: Domain): boolean {
  if (domain.totPages > 0) return false;
  const { machine, base } = domain;
  const { u32 } = machine.heap;
  freeTable(machine, u32[(base + DOMAIN.p2m_root) >>> 2]!);
  if (!domain.translated) freeTable(machine, u32[(base + DOMAIN.pt_root) >>> 2]!);
  u32[machine.domainSlot(domain.id)] = 0;
  freeXenHeapPage(machine, base / PAGE_SIZE);
  return true;
}

function forEachPage(domain: Domain, action: (frame: number) => void): void {
  const { machine, base } = domain;
  const { u32 } = machine.heap;
  for (let page = u32[(base + DOMAIN.page_list) >>> 2]!; page !== INVALID_MFN;) {
    const next = u32[(machine.pageInfo(page) + pageInfo.offset.next) >>> 2]!;
    action(page);
    page = next;
  }
}

function clearAllP2m(domain: Domain): void {
  const { machine } = domain;
  const { u32 } = machine.heap;
  const root = u32[(domain.base + DOMAIN.p2m_root) >>> 2]!;
  for (let leaf = 0; leaf < 1024; leaf++) {
    const frame = u32[rootWord(root, leaf)]!;
    if (frame !== 0) machine.native.zero(frameAddress(frame), PAGE_SIZE);
  }
}
