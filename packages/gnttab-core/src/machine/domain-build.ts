/** Building a domain's memory, and taking it apart. Grant table and event channels are added by their own code. */
import type { Abi } from '../abi/struct.ts';
import { DOMID_FIRST_RESERVED, DOMID_INVALID } from '../abi/xen.ts';
import type { Domain, Machine } from './machine.ts';
import {
  allocDomainPage,
  allocXenHeapPage,
  assignPage,
  freeXenHeapPage,
  ownerOf,
  referenceCount,
  releaseAllocation,
  shareXenPageWithGuest,
} from './frame-table.ts';
import {
  DOMAIN,
  DOMAIN_i386,
  DOMAIN_privileged,
  DOMAIN_translated,
  DOMAIN_unmap_on_overwrite,
  domainStruct,
  INVALID_MFN,
  machineHeader,
  MAX_VCPUS,
  NO_TARGET,
  pageInfo,
} from './layout.ts';
import { invariant } from './errors.ts';
import { clearAllP2m, p2m_ram_rw, setP2m } from './p2m.ts';
import { BANK_PAGES, type DomId, domId, frameAddress, PAGE_SIZE } from './page.ts';
import { clearPageTable, ensureL1, mapOwnFrame, pteAddress } from './page-table.ts';
import { freeTable } from './radix.ts';
import { addVcpus, freeVcpus } from './vcpu.ts';

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
  /** Default: the next id that is free. */
  domid?: number;
  /**
   * The first `pages` frames of this foreign bank are the domain's memory, gfn n in frame n. A PV guest brings its own
   * page tables too (`linkL1`). Default: frames of the heap, which a PV guest finds mapped at `vaBase`.
   */
  bank?: number;
  /** PV: its page table covers virtual addresses from here on, 2 GiB of them. Default PV_VA_BASE. */
  vaBase?: number;
  /** Virtual CPUs. Default 1. */
  vcpus?: number;
  /** Widest machine address of a frame that it can take, in bits (XEN_DOMCTL_set_address_size). Default: any. */
  addressBits?: number;
  /**
   * Overwriting a page table entry of another domain's frame releases its first map track entry, "as if unmap had been
   * invoked" (the usage document, and Xen of its time). Default false: the mapping is gone, and its pin stays.
   */
  unmapOnOverwrite?: boolean;
  /** How its shared info page is laid out, and its structs unless a hypercall door says otherwise. Default 'x86_64'. */
  abi?: Abi;
  /**
   * The hardware domain: global VIRQs are its own unless another domain handles them. A machine has at most one.
   * Default: domain 0 is, if it is a control domain and there is none yet.
   */
  hardwareDomain?: boolean;
  /** It is the device model's domain of this one, and may act for it (XEN_DOMCTL_set_target). Default: of none. */
  target?: number;
}

/** Memory for a domain was not to be had. */
export class OutOfMemory extends Error {
  override readonly name = 'OutOfMemory';
}

/** Creates the domain, still without pages. Throws OutOfMemory or RangeError, and has changed nothing then. */
export function buildDomain(machine: Machine, options: DomainOptions): Domain {
  const { pages, maxPages = pages, privileged = false, type = 'pv' } = options;
  const { vaBase = PV_VA_BASE, vcpus = 1, addressBits = 0, unmapOnOverwrite = false } = options;
  const { abi = 'x86_64', target } = options;
  if (pages > maxPages) {
    throw new RangeError(`a domain of ${pages} pages cannot have at most ${maxPages}`);
  }
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAX_VCPUS) {
    throw new RangeError(`${vcpus} virtual CPUs: allowed are 1 to ${MAX_VCPUS}`);
  }
  if (abi !== 'x86_64' && abi !== 'i386') {
    throw new RangeError(`abi ${String(abi)}: allowed are x86_64 and i386`);
  }
  const targetDomain = target === undefined ? undefined : machine.domainById(target);
  if (target !== undefined && targetDomain === undefined) {
    throw new RangeError(`there is no domain ${target} to be the device model of`);
  }
  const present = machine.hardwareDomain;
  if (options.hardwareDomain === true && present !== undefined) {
    throw new RangeError(`domain ${present.id} is the hardware domain already`);
  }
  const id = claimDomid(machine, options.domid);
  const { heap } = machine;
  const [frame, p2mRoot, sharedInfo, ptRoot = 0] = xenHeapPages(machine, type === 'pv' ? 4 : 3);
  const base = frameAddress(frame!);
  invariant(domainStruct.size <= PAGE_SIZE, 'struct domain fits its frame');
  const fields = domainStruct.cursor().at(heap.view, base);
  fields.domid = id;
  fields.flags =
    (type === 'translated' ? DOMAIN_translated : 0) |
    (privileged ? DOMAIN_privileged : 0) |
    (unmapOnOverwrite ? DOMAIN_unmap_on_overwrite : 0) |
    (abi === 'i386' ? DOMAIN_i386 : 0);
  fields.max_pages = maxPages;
  fields.page_list = INVALID_MFN;
  fields.p2m_root = p2mRoot!;
  fields.va_base = vaBase;
  fields.pt_root = ptRoot;
  fields.nr_vcpus = vcpus;
  fields.address_bits = addressBits;
  fields.target = targetDomain?.serial ?? NO_TARGET;
  fields.shared_info = sharedInfo!;
  fields.serial = Atomics.add(heap.u32, machineHeader.offset.next_serial >>> 2, 1);
  heap.u32[machine.domainSlot(id)] = base;
  const domain = machine.domainById(id)!;
  shareXenPageWithGuest(domain, sharedInfo!);
  const { hardwareDomain = privileged && id === 0 && present === undefined } = options;
  if (hardwareDomain) heap.u32[machineHeader.offset.hardware_domain >>> 2] = id;
  return domain;
}

/**
 * Gives a new domain its virtual CPUs and its first pages. Throws OutOfMemory, or RangeError for a bank that has not so
 * many.
 */
export function populateDomain(domain: Domain, { pages, bank }: DomainOptions): void {
  if (!addVcpus(domain)) throw new OutOfMemory(`domain ${domain.id}: no memory for virtual CPUs`);
  for (let gfn = 0; gfn < pages; gfn++) {
    if (bank === undefined) populateFromHeap(domain, gfn);
    else populateFromBank(domain, bank, gfn);
  }
}

/** Puts a fresh page behind `gfn`, mapped where a PV guest's direct map has it. */
function populateFromHeap(domain: Domain, gfn: number): void {
  const { machine, base } = domain;
  const page = allocDomainPage(domain);
  const ready = page !== INVALID_MFN && setP2m(domain, gfn, page, p2m_ram_rw);
  if (!ready) throw new OutOfMemory(`domain ${domain.id}: no memory for its page ${gfn}`);
  if (domain.translated) return;
  const va = machine.heap.u32[(base + DOMAIN.va_base) >>> 2]! + gfn * PAGE_SIZE;
  if (!ensureL1(domain, va))
    throw new OutOfMemory(`domain ${domain.id}: no memory for page tables`);
  invariant(mapOwnFrame(domain, pteAddress(domain, va), page, true), 'a fresh page can be mapped');
}

/** The guest's own memory: frame `gfn` of a foreign bank. */
function populateFromBank(domain: Domain, bank: number, gfn: number): void {
  const { machine } = domain;
  const frame = bank * BANK_PAGES + gfn;
  const foreign = machine.banks[bank]?.foreign === true && machine.pageInfo(frame) !== 0;
  if (!foreign || ownerOf(machine, frame) !== DOMID_INVALID) {
    throw new RangeError(`bank ${bank} has no free frame ${gfn} for domain ${domain.id}`);
  }
  invariant(assignPage(domain, frame), 'a domain may own its first pages');
  if (!setP2m(domain, gfn, frame, p2m_ram_rw)) {
    throw new OutOfMemory(`domain ${domain.id}: no memory for its page ${gfn}`);
  }
}

/** `count` frames for the hypervisor, all or none. Throws OutOfMemory. */
function xenHeapPages(machine: Machine, count: number): number[] {
  const frames: number[] = [];
  while (frames.length < count) {
    const frame = allocXenHeapPage(machine);
    if (frame === INVALID_MFN) {
      for (const taken of frames) freeXenHeapPage(machine, taken);
      throw new OutOfMemory('machine memory is full');
    }
    frames.push(frame);
  }
  return frames;
}

/** The wanted id, or the next that is free after the one given out last (never 0 again: that is the control domain's). */
function claimDomid(machine: Machine, wanted: number | undefined): DomId {
  const { u32 } = machine.heap;
  const next = machineHeader.offset.next_domid >>> 2;
  const free = (id: number) => u32[machine.domainSlot(id)] === 0;
  if (wanted !== undefined) {
    if (domId(wanted) >= DOMID_FIRST_RESERVED) {
      throw new RangeError(`domain id ${wanted} is not below ${DOMID_FIRST_RESERVED}`);
    }
    if (!free(wanted)) throw new RangeError(`there is a domain ${wanted} already`);
    return domId(wanted);
  }
  for (let tried = 0; tried < DOMID_FIRST_RESERVED; tried++) {
    const id = u32[next]!;
    u32[next] = id + 1 < DOMID_FIRST_RESERVED ? id + 1 : 1;
    if (free(id)) return domId(id);
  }
  throw new RangeError('every domain id is in use');
}

/**
 * Takes the domain's memory apart: mappings, p2m, pages. Pages that others still reference stay until their last
 * reference goes, and the struct domain as long.
 */
export function relinquishMemory(domain: Domain): void {
  const { machine } = domain;
  if (!domain.translated) clearPageTable(domain);
  forEachPage(domain, (page) => releaseAllocation(machine, page));
  clearAllP2m(domain);
}

/** Nobody else holds a page of the domain's, or its shared info page. */
export const memoryIdle = (domain: Domain): boolean =>
  domain.totPages === 0 &&
  domain.machine.u32[(domain.base + DOMAIN.private_copies) >>> 2] === 0 &&
  referenceCount(domain.machine, domain.sharedInfo) === 1;

/** Frees the struct domain itself, once the domain's memory is idle. */
export function reapDomain(domain: Domain): void {
  const { machine, base } = domain;
  const { u32 } = machine.heap;
  freeTable(machine, u32[(base + DOMAIN.p2m_root) >>> 2]!);
  if (!domain.translated) freeTable(machine, u32[(base + DOMAIN.pt_root) >>> 2]!);
  freeXenHeapPage(machine, domain.sharedInfo);
  freeVcpus(domain);
  u32[machine.domainSlot(domain.id)] = 0;
  freeXenHeapPage(machine, base / PAGE_SIZE);
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
