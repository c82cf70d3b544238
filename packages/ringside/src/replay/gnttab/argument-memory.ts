/** Where a guest of a replay puts the arguments of its hypercalls: pages besides those that the recording knows. */
import { type Domain, INVALID_MFN, PAGE_SIZE, readBytes, writeBytes } from '@ringside/gnttab-core';
import type { Abi } from '@ringside/gnttab-core/abi';
import {
  allocXenHeapPage,
  domainAddressSpace,
  ensureL1,
  mapOwnFrame,
  p2m_ram_rw,
  pteAddress,
  setP2m,
  shareXenPageWithGuest,
} from '@ringside/gnttab-core/hypervisor';
import { RecordingError } from '../reader.ts';

/** Bytes from the start of a PV guest's address space to its arguments: 512 L1 tables are in front of them. */
const PV_OFFSET = 0x4000_0000;
/** Where a translated guest has them: recorded gfns end below 65536. */
const TRANSLATED_BASE = 0x7000_0000;

/** What guest_handle_okay() refuses: Xen's own half of the addresses; on i386 what reaches beyond 32 bits. */
const BAD_ADDRESS: Readonly<Record<Abi, bigint>> = {
  x86_64: 0xffff_8000_0000_0000n,
  i386: 0xffff_ffffn,
};

/** A pointer that a recording has in the place of a good one. */
export type BadPointer = 'bad' | 'null';

export const badPointer = (abi: Abi, pointer: BadPointer): bigint =>
  pointer === 'null' ? 0n : BAD_ADDRESS[abi];

/** Some pages of guest memory with nothing behind them. Arrays end where the pages do, so that reading on is a fault. */
export class ArgumentMemory {
  readonly #space: ReturnType<typeof domainAddressSpace>;
  readonly #start: number;
  readonly #end: number;

  /** Takes `pages` of the hypervisor's heap, from page `index` of the guest's argument memory on. */
  constructor(domain: Domain, vaBase: number, index: number, pages: number) {
    const base = domain.translated ? TRANSLATED_BASE : vaBase + PV_OFFSET;
    this.#start = base + index * PAGE_SIZE;
    this.#end = this.#start + pages * PAGE_SIZE;
    for (let va = this.#start; va < this.#end; va += PAGE_SIZE) provide(domain, va);
    this.#space = domainAddressSpace(domain);
  }

  get sizeBytes(): number {
    return this.#end - this.#start;
  }

  /** Where an array of so many bytes begins that ends with the memory. Throws RecordingError if it is too long. */
  placeBytes(lengthBytes: number): number {
    const start = this.#end - lengthBytes;
    if (start >= this.#start) return start;
    throw new RecordingError(`an array of ${lengthBytes} bytes; room is for ${this.sizeBytes}`);
  }

  write(va: number, bytes: Uint8Array): void {
    writeBytes(this.#space, va, bytes);
  }

  read(va: number, into: Uint8Array): void {
    readBytes(this.#space, va, into);
  }
}

/** Puts a page of the hypervisor's that the guest may use at an address. */
function provide(domain: Domain, va: number): void {
  const frame = allocXenHeapPage(domain.machine);
  let ready = frame !== INVALID_MFN;
  if (ready) shareXenPageWithGuest(domain, frame);
  if (domain.translated) ready &&= setP2m(domain, va / PAGE_SIZE, frame, p2m_ram_rw);
  else ready &&= ensureL1(domain, va) && mapOwnFrame(domain, pteAddress(domain, va), frame, true);
  if (!ready)
    throw new Error(`domain ${domain.id}: no memory for arguments at 0x${va.toString(16)}`);
}
