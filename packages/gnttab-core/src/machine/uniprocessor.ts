/**
 * The steps of native-code.ts for a machine that only one thread is attached to: plain reads and writes instead of atomic
 * ones, and no locks, as a kernel for one processor is built.
 */
import type { Bank } from './bank.ts';
import * as layout from './layout.ts';
import type { Native } from './native-code.ts';

// Constants of this module: V8 folds them into the code, what is imported it does not.
const { count_info: COUNT, type_info: TYPE, owner: OWNER } = layout.pageInfo.offset;
const { PGC_count_mask, PGT_count_mask, PGT_type_mask } = layout;

export class Uniprocessor implements Native {
  readonly copy: Native['copy'];
  readonly zero: Native['zero'];
  // Not #private: what V8 inlines everywhere should be short.
  private readonly i32: Int32Array<ArrayBufferLike>;
  private readonly u16: Uint16Array<ArrayBufferLike>;

  constructor(heap: Bank) {
    this.copy = heap.native!.copy;
    this.zero = heap.native!.zero;
    this.i32 = heap.i32;
    this.u16 = heap.u16;
  }

  cas(at: number, expected: number, replacement: number): number {
    const seen = this.i32[at >>> 2]!;
    if (seen === expected) this.i32[at >>> 2] = replacement;
    return seen;
  }

  load(at: number): number {
    return this.i32[at >>> 2]!;
  }

  or(at: number, bits: number): number {
    const seen = this.i32[at >>> 2]!;
    this.i32[at >>> 2] = seen | bits;
    return seen;
  }

  and(at: number, mask: number): number {
    const seen = this.i32[at >>> 2]!;
    this.i32[at >>> 2] = seen & mask;
    return seen;
  }

  and16(at: number, mask: number): void {
    this.u16[at >>> 1]! &= mask;
  }

  or16(at: number, bits: number): void {
    this.u16[at >>> 1]! |= bits;
  }

  spinLock(): void {}

  spinUnlock(): void {}

  readLock(): void {}

  readUnlock(): void {}

  writeLock(): void {}

  writeUnlock(): void {}

  getPage(info: number, owner: number): number {
    const { i32 } = this;
    const count = i32[(info + COUNT) >>> 2]!;
    const references = count & PGC_count_mask;
    if (references === 0 || references === PGC_count_mask) return 0;
    i32[(info + COUNT) >>> 2] = count + 1;
    return this.u16[(info + OWNER) >>> 1] === owner ? 1 : 2;
  }

  putPage(info: number): number {
    return (this.i32[(info + COUNT) >>> 2]! -= 1);
  }

  getPageAndType(info: number, owner: number, type: number): number {
    const taken = this.getPage(info, owner);
    if (taken !== 1) return taken;
    const { i32 } = this;
    const seen = i32[(info + TYPE) >>> 2]!;
    const uses = seen & PGT_count_mask;
    if (uses !== 0 && ((seen & PGT_type_mask) !== type || uses === PGT_count_mask)) return 3;
    i32[(info + TYPE) >>> 2] = type | (uses + 1);
    return 1;
  }

  putPageAndType(info: number): number {
    this.i32[(info + TYPE) >>> 2]! -= 1;
    return (this.i32[(info + COUNT) >>> 2]! -= 1);
  }
}
