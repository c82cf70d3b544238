/**
 * Banks: the machine's memory (design section 1). The native kind is a shared WebAssembly memory, whose
 * `memory.copy` moves a page in about half the time of `copyWithin`; a plain buffer serves where that is
 * missing; a foreign bank wraps somebody else's buffer, which may be replaced by a bigger one at any time.
 */
import { BANK_PAGES, PAGE_SIZE } from './page.ts';

/** What holds a bank's bytes. `WebAssembly.Memory` and `{ buffer }` fit. */
export interface BankMemory {
  /** The bytes. May be a different, bigger buffer at every look (a guest's memory that grows). */
  readonly buffer: ArrayBufferLike;
  /** Told after somebody other than the owner wrote (an emulator's code cache may hold the page). */
  written?(offsetBytes: number, lengthBytes: number): void;
}

type CopyBytes = (to: number, from: number, lengthBytes: number) => void;

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
  u8!: Uint8Array<ArrayBufferLike>;
  u16!: Uint16Array<ArrayBufferLike>;
  u32!: Uint32Array<ArrayBufferLike>;
  i32!: Int32Array<ArrayBufferLike>;
  view!: DataView<ArrayBufferLike>;
  readonly #copy: CopyBytes | undefined;

  constructor(index: number, memory: BankMemory, foreign: boolean) {
    this.index = index;
    this.memory = memory;
    this.foreign = foreign;
    this.pages = Math.min(BANK_PAGES, Math.floor(memory.buffer.byteLength / PAGE_SIZE));
    this.#derive(memory.buffer);
    this.#copy = foreign ? undefined : wasmCopy(memory);
  }

  /** Derives the views anew if the buffer was replaced. */
  refresh(): this {
    const { buffer } = this.memory;
    if (buffer !== this.u8.buffer) this.#derive(buffer);
    return this;
  }

  #derive(buffer: ArrayBufferLike): void {
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer, 0, buffer.byteLength >>> 1);
    this.u32 = new Uint32Array(buffer, 0, buffer.byteLength >>> 2);
    this.i32 = new Int32Array(buffer, 0, buffer.byteLength >>> 2);
    this.view = new DataView(buffer);
  }

  /** Moves bytes inside the bank; the ranges may overlap (memmove). */
  copy(to: number, from: number, lengthBytes: number): void {
    if (this.#copy === undefined) this.u8.copyWithin(to, from, from + lengthBytes);
    else this.#copy(to, from, lengthBytes);
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
): BankMemory {
  if (!Number.isInteger(pages) || pages < 1 || pages > BANK_PAGES) {
    throw new RangeError(`a bank of ${pages} pages: allowed are 1 to ${BANK_PAGES}`);
  }
  if (typeof WebAssembly === 'undefined') return { buffer: new ArrayBuffer(pages * PAGE_SIZE) };
  const size = Math.ceil((pages * PAGE_SIZE) / WASM_PAGE);
  return new WebAssembly.Memory({ initial: size, maximum: size, shared });
}

/**
 * `(import "m" "m" (memory 1 65536 [shared])) (func (export "copy") (param i32 i32 i32) memory.copy)`,
 * assembled by hand: one function is not worth a toolchain.
 */
const copyModule = (limits: number): Uint8Array<ArrayBuffer> =>
  // prettier-ignore
  new Uint8Array([
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00,
    0x01, 0x07, 0x01, 0x60, 0x03, 0x7f, 0x7f, 0x7f, 0x00, // type: (i32, i32, i32) -> ()
    0x02, 0x0b, 0x01, 0x01, 0x6d, 0x01, 0x6d, 0x02, limits, 0x01, 0x80, 0x80, 0x04, // import
    0x03, 0x02, 0x01, 0x00, // function 0 has type 0
    0x07, 0x08, 0x01, 0x04, 0x63, 0x6f, 0x70, 0x79, 0x00, 0x00, // export "copy"
    0x0a, 0x0e, 0x01, 0x0c, 0x00, 0x20, 0x00, 0x20, 0x01, 0x20, 0x02, 0xfc, 0x0a, 0x00, 0x00, 0x0b,
  ]);
const LIMITS_MAX = 0x01;
const LIMITS_MAX_SHARED = 0x03;

const compiled = new Map<number, WebAssembly.Module>();

function wasmCopy(memory: BankMemory): CopyBytes | undefined {
  if (typeof WebAssembly === 'undefined' || !(memory instanceof WebAssembly.Memory))
    return undefined;
  const shared =
    typeof SharedArrayBuffer !== 'undefined' && memory.buffer instanceof SharedArrayBuffer;
  const limits = shared ? LIMITS_MAX_SHARED : LIMITS_MAX;
  let module = compiled.get(limits);
  if (module === undefined) {
    module = new WebAssembly.Module(copyModule(limits));
    compiled.set(limits, module);
  }
  return new WebAssembly.Instance(module, { m: { m: memory } }).exports['copy'] as CopyBytes;
}
