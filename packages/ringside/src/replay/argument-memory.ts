/** Where a guest of a replay puts the arguments of its hypercalls: pages besides those that the recording knows. */
import { type Domain, INVALID_MFN, PAGE_SIZE } from '@ringside/gnttab-core';
import type { Abi } from '@ringside/gnttab-core/abi';
import {
  allocXenHeapPage,
  ensureL1,
  mapOwnFrame,
  p2m_grant_map_ro,
  p2m_ram_rw,
  pteAddress,
  setP2m,
  shareXenPageWithGuest,
} from '@ringside/gnttab-core/hypervisor';
import { readFrame, writeFrame } from './frames.ts';
import { forEachPage } from './page.ts';
import { RecordingError } from './reader.ts';

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

/** Pages of a guest's argument memory. */
export interface ArgumentPages {
  /** PV: where the guest's addresses begin. */
  readonly vaBase: number;
  /** Page of its argument memory that they begin with. */
  readonly index: number;
  readonly pages: number;
  /** The guest may only read them. Default false. */
  readonly readonly?: boolean;
}

/** Some pages of guest memory with nothing behind them. Arrays end where the pages do, so that reading on is a fault. */
export class ArgumentMemory {
  readonly #domain: Domain;
  readonly #frames: readonly number[];
  readonly #start: number;

  /** Takes the pages from the hypervisor's heap. */
  constructor(domain: Domain, { vaBase, index, pages, readonly = false }: ArgumentPages) {
    const base = domain.translated ? TRANSLATED_BASE : vaBase + PV_OFFSET;
    this.#domain = domain;
    this.#start = base + index * PAGE_SIZE;
    this.#frames = Array.from({ length: pages }, (_, i) =>
      provide(domain, this.#start + i * PAGE_SIZE, readonly),
    );
  }

  get sizeBytes(): number {
    return this.#frames.length * PAGE_SIZE;
  }

  /** Where an array of so many bytes begins that ends with the memory. Throws RecordingError if it is too long. */
  placeBytes(lengthBytes: number): number {
    if (lengthBytes <= this.sizeBytes) return this.#start + this.sizeBytes - lengthBytes;
    throw new RecordingError(`an array of ${lengthBytes} bytes; room is for ${this.sizeBytes}`);
  }

  write(va: number, bytes: Uint8Array): void {
    forEachPage(va - this.#start, bytes.length, (index, inPage, inSpan, count) => {
      const part = bytes.subarray(inSpan, inSpan + count);
      writeFrame(this.#domain.machine, this.#frames[index]!, inPage, part);
    });
  }

  read(va: number, into: Uint8Array): void {
    forEachPage(va - this.#start, into.length, (index, inPage, inSpan, count) => {
      into.set(readFrame(this.#domain.machine, this.#frames[index]!, inPage, count), inSpan);
    });
  }
}

/** Puts a page of the hypervisor's that the guest may use at an address. */
function provide(domain: Domain, va: number, readonly: boolean): number {
  const frame = allocXenHeapPage(domain.machine);
  let ready = frame !== INVALID_MFN;
  if (ready) shareXenPageWithGuest(domain, frame);
  if (domain.translated) {
    ready &&= setP2m(domain, va / PAGE_SIZE, frame, readonly ? p2m_grant_map_ro : p2m_ram_rw);
  } else {
    ready &&= ensureL1(domain, va);
    ready &&= mapOwnFrame(domain, pteAddress(domain, va), frame, !readonly);
  }
  if (ready) return frame;
  throw new Error(`domain ${domain.id}: no memory for arguments at 0x${va.toString(16)}`);
}
