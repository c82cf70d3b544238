/**
 * A guest kernel's memory: its own pages in a direct map, windows for other frames, and the steps of page flipping. A
 * page here is a *place* (a gfn and its address); the frame behind it may be given away and another put in.
 */
import { type Access, type AddressSpace, readBytes, writeBytes } from '../machine/address-space.ts';
import type { Bank } from '../machine/bank.ts';
import type { Domain } from '../machine/machine.ts';
import { PV_VA_BASE } from '../machine/domain-build.ts';
import { domainAddressSpace } from '../machine/domain-space.ts';
import { invariant } from '../machine/errors.ts';
import { frameGfn, ownerOf } from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import { clearP2m, gfnToMfn, p2m_ram_rw, setP2m } from '../machine/p2m.ts';
import { bankOffset, type MachineAddress, PAGE_SIZE } from '../machine/page.ts';
import type { Hypercalls } from '../hypercall/hypercalls.ts';
import { GuestMemoryError } from './errors.ts';
import { type GuestPage, PagePool } from './page-pool.ts';
import { WindowAllocator } from './windows.ts';

/** Windows lie above the own memory, and everything below 2 GiB: V8 keeps such numbers out of the heap. */
const WINDOW_OFFSET = 0x2000_0000;

/** The memory of one guest. As an address space it is the domain's own: virtual (PV) or guest-physical (translated). */
export class GuestMemory implements AddressSpace {
  /** Addresses for frames that are not the guest's own; see `mappingWindow`. */
  readonly windows: WindowAllocator;
  readonly #domain: Domain;
  readonly #hypercalls: Hypercalls;
  readonly #space: AddressSpace;
  readonly #pages: PagePool;
  readonly #frames: number[] = [];

  /** `pages` of the domain's are the guest's, from gfn 0 on. */
  constructor(domain: Domain, hypercalls: Hypercalls, pages: number) {
    this.#domain = domain;
    this.#hypercalls = hypercalls;
    this.#space = domainAddressSpace(domain);
    const base = domain.translated ? 0 : PV_VA_BASE;
    this.windows = new WindowAllocator(base + WINDOW_OFFSET, base + 2 * WINDOW_OFFSET);
    this.#pages = new PagePool(`domain ${domain.id}`, pages, base);
  }

  /** See AddressSpace. Throws PageFault. */
  translate(va: number, access: Access): MachineAddress {
    return this.#space.translate(va, access);
  }

  /** See AddressSpace. */
  bankOf(address: MachineAddress): Bank {
    return this.#space.bankOf(address);
  }

  /** Pages not handed out. */
  get freeCount(): number {
    return this.#pages.freeCount;
  }

  /** A page of the guest's own; its contents are whatever was left there. Throws GuestMemoryError. */
  allocPage(): GuestPage {
    return this.#pages.take();
  }

  /** `count` pages at consecutive addresses. Throws GuestMemoryError. */
  allocPages(count: number): GuestPage[] {
    return this.#pages.takeRun(count);
  }

  /** Pages that were freed and are not handed out, because another domain may still reach them. */
  get quarantined(): number {
    return this.#pages.quarantined;
  }

  /** Is another domain allowed to reach the page? */
  isShared({ gfn }: GuestPage): boolean {
    return this.#pages.isShared(gfn);
  }

  /**
   * Gives a page back to the guest's allocator. There must be a frame behind it. One that is still granted is kept in
   * quarantine: it is handed out again only when its last grant has ended. Throws InvariantError if it was freed already.
   */
  freePage(page: GuestPage): void {
    this.#pages.give(page);
  }

  /** For the guest's grant table: a reference shows page `gfn` from now on. */
  share(gfn: number): void {
    this.#pages.share(gfn);
  }

  /** For the guest's grant table: a reference to page `gfn` has ended. */
  unshare(gfn: number): void {
    this.#pages.unshare(gfn);
  }

  /** `freePage` for each. */
  freePages(pages: readonly GuestPage[]): void {
    for (const page of pages) this.freePage(page);
  }

  /** Copies from `va` on, across pages. Throws PageFault. */
  read(va: number, into: Uint8Array): void {
    readBytes(this, va, into);
  }

  /** Copies to `va` on, across pages. Throws PageFault. */
  write(va: number, from: Uint8Array): void {
    writeBytes(this, va, from);
  }

  /**
   * A view of bytes inside one page, valid until that page is unmapped or given away, and no longer than the current
   * turn. Throws PageFault, or RangeError across a page boundary.
   */
  bytes(va: number, lengthBytes: number, access: Access): Uint8Array {
    if ((va & 4095) + lengthBytes > PAGE_SIZE) {
      throw new RangeError(`${lengthBytes} bytes at 0x${va.toString(16)} cross a page boundary`);
    }
    const address = this.#space.translate(va, access);
    const offset = bankOffset(address);
    return this.#space.bankOf(address).u8.subarray(offset, offset + lengthBytes);
  }

  /** Zeroes a page. Throws PageFault. */
  zero(page: GuestPage): void {
    const address = this.#space.translate(page.va, 'write');
    const bank = this.#space.bankOf(address);
    bank.zero(bankOffset(address), PAGE_SIZE);
    bank.memory.written?.(bankOffset(address), PAGE_SIZE);
  }

  /** The machine frame behind a page; INVALID_MFN if it is empty. */
  mfnOf(page: GuestPage): number {
    return gfnToMfn(this.#domain, page.gfn);
  }

  /** What a grant entry or a copy's gmfn takes for a page: its mfn (PV) or gfn (translated); INVALID_MFN if it is empty. */
  frameOf(page: GuestPage): number {
    const mfn = gfnToMfn(this.#domain, page.gfn);
    if (!this.#domain.translated) return mfn;
    return mfn === INVALID_MFN ? INVALID_MFN : page.gfn;
  }

  /** The page that `frameOf` gives this frame for; a number that is no page's if there is none. */
  gfnOf(frame: number): number {
    if (this.#domain.translated) return frame;
    const { machine, id } = this.#domain;
    return ownerOf(machine, frame) === id ? frameGfn(machine, frame) : INVALID_MFN;
  }

  /**
   * Maps a frame that Xen shares with the guest and returns its address. A PV guest maps the machine frame; a translated
   * one has it put into its physical address space by kind (XENMAPSPACE_*) and index.
   */
  mapXenFrame(space: number, index: number, frame: number): number {
    const va = this.mappingWindow(1);
    const result = this.#domain.translated
      ? this.#hypercalls.addToPhysmap(space, index, va / PAGE_SIZE)
      : this.#hypercalls.updateVaMapping(va, frame, true);
    invariant(result === 0, `frame ${frame} is shared with domain ${this.#domain.id}`);
    return va;
  }

  /** Address of a run of pages where frames can be mapped, with page tables. Throws GuestMemoryError. */
  mappingWindow(pages: number): number {
    const va = this.windows.alloc(pages);
    if (!this.#domain.translated && this.#hypercalls.providePageTables(va, pages) !== 0) {
      this.windows.free(va, pages);
      throw new GuestMemoryError(`domain ${this.#domain.id}: no memory for page tables`);
    }
    return va;
  }

  /** Gives the frames behind `pages` back to Xen (a balloon): the places stay ours, empty. */
  surrender(pages: readonly GuestPage[]): void {
    const frames = this.#frames;
    frames.length = 0;
    for (const page of pages) {
      frames.push(this.frameOf(page));
      if (!this.#domain.translated) this.#empty(page);
    }
    const done = this.#hypercalls.decreaseReservation(frames);
    invariant(done === frames.length, 'the guest owns the pages that it surrenders');
  }

  /** Puts fresh frames from Xen behind empty pages; returns how many (fewer when Xen has none). */
  refill(pages: readonly GuestPage[]): number {
    if (this.#domain.translated)
      return this.#hypercalls.populatePhysmap(pages.map(({ gfn }) => gfn));
    const frames = this.#hypercalls.increaseReservation(pages.length);
    frames.forEach((frame, i) => this.adopt(pages[i]!, frame));
    return frames.length;
  }

  /**
   * Lets go of a page's frame, for GNTTABOP_transfer: no mapping, no p2m entry. Returns the mfn; the page is empty. Only
   * a PV guest can: a translated one cannot name a machine frame.
   */
  detachForTransfer(page: GuestPage): number {
    invariant(!this.#domain.translated, 'a translated domain cannot transfer pages');
    const frame = this.mfnOf(page);
    invariant(frame !== INVALID_MFN, `page ${page.gfn} has no frame to transfer`);
    this.#empty(page);
    return frame;
  }

  #empty(page: GuestPage): void {
    this.#hypercalls.updateVaMapping(page.va, null, false);
    clearP2m(this.#domain, page.gfn);
  }

  /** Puts a frame that the domain owns behind an empty page. (A translated guest finds it there already.) */
  adopt(page: GuestPage, frame: number): void {
    if (this.#domain.translated) return;
    setP2m(this.#domain, page.gfn, frame, p2m_ram_rw);
    const result = this.#hypercalls.updateVaMapping(page.va, frame, true);
    invariant(result === 0, `frame ${frame} is the domain's to map`);
  }
}
