/**
 * How code that runs in a domain reaches memory: a PV guest by virtual address through its page
 * table, a translated guest by guest-physical address through its p2m. A stale or read-only mapping faults.
 */
import { Bank } from './bank.ts';
import { bankOffset, type MachineAddress } from './page.ts';

export type Access = 'read' | 'write';

/** A memory access that the page table (or p2m) does not allow. */
export class PageFault extends Error {
  override readonly name = 'PageFault';
  readonly va: number;
  readonly access: Access;
  readonly reason: 'not-present' | 'read-only';

  constructor(va: number, access: Access, reason: 'not-present' | 'read-only') {
    super(`${access} at 0x${va.toString(16)}: page is ${reason}`);
    this.va = va;
    this.access = access;
    this.reason = reason;
  }
}

export interface AddressSpace {
  /**
   * Where the byte at `va` is. Holds to the end of its page and until the next hypercall.
   * Throws PageFault.
   */
  translate(va: number, access: Access): MachineAddress;
  /** The bank that a machine address lies in; its views are good until the next call of anything. */
  bankOf(address: MachineAddress): Bank;
}

/** An address space over one buffer, for tests and tools: `baseVa` maps to the buffer's first byte. */
export function flatAddressSpace(buffer: ArrayBufferLike, baseVa = 0): AddressSpace {
  const bank = new Bank(0, { buffer }, true);
  return {
    translate(va, access) {
      const offset = va - baseVa;
      if (offset < 0 || offset >= buffer.byteLength) throw new PageFault(va, access, 'not-present');
      return offset;
    },
    bankOf: () => bank.refresh(),
  };
}

/** Copies `into.length` bytes from `va` on, page by page. Throws PageFault; bytes before the fault are copied. */
export function readBytes(space: AddressSpace, va: number, into: Uint8Array): void {
  for (let done = 0; done < into.length;) {
    const address = space.translate(va + done, 'read');
    const offset = bankOffset(address);
    const length = Math.min(into.length - done, 4096 - (address & 4095));
    into.set(space.bankOf(address).u8.subarray(offset, offset + length), done);
    done += length;
  }
}

/** Copies `from` to `va` on, page by page. Throws PageFault; bytes before the fault are written. */
export function writeBytes(space: AddressSpace, va: number, from: Uint8Array): void {
  for (let done = 0; done < from.length;) {
    const address = space.translate(va + done, 'write');
    const offset = bankOffset(address);
    const length = Math.min(from.length - done, 4096 - (address & 4095));
    const bank = space.bankOf(address);
    bank.u8.set(from.subarray(done, done + length), offset);
    bank.memory.written?.(offset, length);
    done += length;
  }
}
