/**
 * Banks: the machine's memory. The native kind is a WebAssembly memory, whose `memory.copy` moves a page in about half
 * the time of `copyWithin`; shared where the host allows it, else a plain buffer. A foreign bank wraps somebody else's
 * buffer, which may be replaced by a bigger one at any time.
 */
import { type Native, nativeCode } from './native-code.ts';
import { BANK_PAGES, PAGE_SIZE } from './page.ts';

/** What holds a bank's bytes. `WebAssembly.Memory` and `{ buffer }` fit. */
export interface BankMemory {
  /** The bytes. May be a different, bigger buffer at every look (a guest's memory that grows). */
  readonly buffer: ArrayBufferLike;
  /**
   * Only the hypervisor has this buffer: nobody writes to it but through the machine, so it can hold page tables, and its
   * frames can change hands. A guest that has its own buffer keeps what it gives away.
   */
  readonly trusted?: boolean;
  /** Told after somebody other than the owner wrote (an emulator's code cache may hold the page). */
  written?(offsetBytes: number, lengthBytes: number): void;
}

/**
 * One bank of machine memory.
 *
 * Never keep its views across calls: a foreign buffer may have been replaced. Ask `machine.bank(mfn)` again.
 */
export class Bank {
  readonly index: number;
  readonly pages: number;
  readonly foreign: boolean;
  readonly memory: BankMemory;
  #buffer!: ArrayBufferLike;
  u8!: Uint8Array<ArrayBufferLike>;
  u16!: Uint16Array<ArrayBufferLike>;
  u32!: Uint32Array<ArrayBufferLike>;
  i32!: Int32Array<ArrayBufferLike>;
  view!: DataView<ArrayBufferLike>;
  /** The atomic steps of locks and reference counts; native banks only. */
  readonly native: Native | undefined;

  constructor(index: number, memory: BankMemory, foreign: boolean) {
    this.index = index;
    this.memory = memory;
    this.foreign = foreign;
    this.pages = Math.min(BANK_PAGES, Math.floor(memory.buffer.byteLength / PAGE_SIZE));
    this.#derive(memory.buffer);
    this.native = memory instanceof WebAssembly.Memory && !foreign ? nativeCode(memory) : undefined;
  }

  /** Derives the views anew if the buffer was replaced. */
  refresh(): this {
    const { buffer } = this.memory;
    if (buffer !== this.#buffer) this.#derive(buffer);
    return this;
  }

  #derive(buffer: ArrayBufferLike): void {
    this.#buffer = buffer;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer, 0, buffer.byteLength >>> 1);
    this.u32 = new Uint32Array(buffer, 0, buffer.byteLength >>> 2);
    this.i32 = new Int32Array(buffer, 0, buffer.byteLength >>> 2);
    this.view = new DataView(buffer);
  }

  /** Zeroes bytes. (`fill` on shared memory goes byte by byte: 1.3 µs for a page.) */
  zero(at: number, lengthBytes: number): void {
    if (this.native === undefined) this.u8.fill(0, at, at + lengthBytes);
    else this.native.zero(at, lengthBytes);
  }

  /** Moves bytes inside the bank; the ranges may overlap (memmove). */
  copy(to: number, from: number, lengthBytes: number): void {
    if (this.native === undefined) this.u8.copyWithin(to, from, from + lengthBytes);
    else this.native.copy(to, from, lengthBytes);
  }
}

/** Wasm pages are 64 KiB, 16 of ours. */
const WASM_PAGE = 65_536;

/**
 * Memory for a native bank of `pages` frames (rounded up to 64 KiB).
 *
 * @param shared false asks for memory that only one thread can see, as a page that is not cross-origin isolated has.
 */
export function nativeMemory(
  pages: number,
  shared = typeof SharedArrayBuffer !== 'undefined',
): WebAssembly.Memory {
  if (!Number.isInteger(pages) || pages < 1 || pages > BANK_PAGES) {
    throw new RangeError(`a bank of ${pages} pages: allowed are 1 to ${BANK_PAGES}`);
  }
  const size = Math.ceil((pages * PAGE_SIZE) / WASM_PAGE);
  return new WebAssembly.Memory({ initial: size, maximum: size, shared });
}
