/**
 * Guest handles (guest_access.h of Xen): how a hypercall reaches its arguments in guest memory. A struct is copied once
 * into a private buffer and decoded there; what comes back is written from there.
 */
import type { Abi, Cursor, Struct, Table } from '../abi/struct.ts';
import {
  type Access,
  type AddressSpace,
  PageFault,
  readBytes,
  writeBytes,
} from '../machine/address-space.ts';
import { domainAddressSpace } from '../machine/domain-space.ts';
import type { Domain } from '../machine/machine.ts';

/** HYPERVISOR_VIRT_START: a PV guest's own part of the address space ends where Xen's begins (arch-x86/xen-x86_*.h). */
export const HYPERVISOR_VIRT_START = {
  x86_64: 0xffff_8000_0000_0000n,
  i386: 0xf580_0000n,
} as const;
/** Where addresses stop being a PV guest's: on x86_64 already at the hole below Xen, which no page table can map. */
const GUEST_END = { x86_64: 2 ** 47, i386: Number(HYPERVISOR_VIRT_START.i386) } as const;

/** 64 bits of a struct as a number; rounded beyond 2^53. */
export const wide = (low: number, high: number): number => low + high * 2 ** 32;

/** Accesses guest memory; false where that faults. */
export function accessible(access: () => void): boolean {
  try {
    access();
    return true;
  } catch (fault) {
    if (fault instanceof PageFault) return false;
    throw fault;
  }
}

/** The memory of a domain as its hypercalls see it. Every access throws PageFault where there is nothing. */
export class GuestAccess {
  readonly abi: Abi;
  /** Bytes of `unsigned long`, xen_pfn_t and pointers. */
  readonly wordBytes: number;
  readonly #space: AddressSpace;
  readonly #end: number;
  readonly #word = new DataView(new ArrayBuffer(8));

  constructor(domain: Domain, abi: Abi) {
    this.abi = abi;
    this.wordBytes = abi === 'i386' ? 4 : 8;
    this.#space = domainAddressSpace(domain);
    this.#end = domain.translated ? Infinity : GUEST_END[abi];
  }

  /** guest_handle_okay(): `count` elements from `va` on are at addresses that a guest can have at all. */
  okay(va: number, count: number, elementBytes: number): boolean {
    return va + count * elementBytes <= this.#end;
  }

  /** copy_from_guest(). */
  read(va: number, into: Uint8Array): void {
    this.#check(va, into.length, 'read');
    readBytes(this.#space, va, into);
  }

  /** copy_to_guest(); bytes before a fault are written. */
  write(va: number, from: Uint8Array): void {
    this.#check(va, from.length, 'write');
    writeBytes(this.#space, va, from);
  }

  #check(va: number, lengthBytes: number, access: Access): void {
    if (!this.okay(va, lengthBytes, 1)) throw new PageFault(va, access, 'not-present');
  }

  /** Reads element `index` of an array of `unsigned long` or xen_pfn_t. */
  readWord(va: number, index = 0): number {
    const view = this.#word;
    view.setUint32(4, 0, true);
    this.read(va + index * this.wordBytes, bytesOf(view, this.wordBytes));
    return wide(view.getUint32(0, true), view.getUint32(4, true));
  }

  /** Writes element `index` of such an array, or of one of uint64_t; -1 is all ones. */
  writeWord(va: number, value: number, index = 0, bytes = this.wordBytes): void {
    const view = this.#word;
    view.setUint32(0, value >>> 0, true);
    view.setUint32(4, Math.floor(value / 2 ** 32) >>> 0, true);
    this.write(va + index * bytes, bytesOf(view, bytes));
  }

  /** Reads element `index` of an array of `unsigned int`. */
  readUint(va: number, index = 0): number {
    this.read(va + index * 4, bytesOf(this.#word, 4));
    return this.#word.getUint32(0, true);
  }

  /** Writes element `index` of an array of `int` or `unsigned int`. */
  writeUint(va: number, value: number, index = 0): void {
    this.#word.setUint32(0, value >>> 0, true);
    this.write(va + index * 4, bytesOf(this.#word, 4));
  }
}

const bytesOf = (view: DataView, length: number) => new Uint8Array(view.buffer, 0, length);

/** The private copy of a guest's struct. It is used again by every call, so it holds until the next `read`. */
export class GuestStruct<T extends Table> {
  readonly size: number;
  /** The fields of the copy. */
  readonly fields: Cursor<T>;
  readonly #access: GuestAccess;
  readonly #struct: Struct<T>;
  readonly #bytes: Uint8Array;
  /** The parts of the copy that were written back before. */
  readonly #parts = new Map<string, Uint8Array>();

  constructor(access: GuestAccess, struct: Struct<T>) {
    this.#access = access;
    this.#struct = struct;
    this.size = struct.size;
    this.#bytes = new Uint8Array(struct.size);
    this.fields = struct.cursor().at(new DataView(this.#bytes.buffer), 0);
  }

  /** copy_from_guest(): takes a new copy. */
  read(va: number): Cursor<T> {
    this.#access.read(va, this.#bytes);
    return this.fields;
  }

  /** copy_to_guest(): writes the whole copy back. */
  write(va: number): void {
    this.#access.write(va, this.#bytes);
  }

  /** copy_field_to_guest(): writes one field back. */
  writeField(va: number, name: keyof T & string): void {
    const offset = this.#struct.offset[name];
    let part = this.#parts.get(name);
    if (part === undefined) {
      const { size } = this.#struct.fields.find(({ path }) => path === name)!;
      part = this.#bytes.subarray(offset, offset + size);
      this.#parts.set(name, part);
    }
    this.#access.write(va + offset, part);
  }
}
