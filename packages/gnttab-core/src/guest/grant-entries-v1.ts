/** Grant table entries, version 1: eight bytes, in which Xen marks the use of a grant beside the guest's own flags. */
import { grantEntryV1, GTF_reading, GTF_readonly, GTF_writing } from '../abi/grant-table.ts';
import type { Hypercalls } from '../hypercall/hypercalls.ts';
import { type GrantEntries, growShared, settleTransfer } from './grant-entries.ts';
import type { GuestMemory } from './memory.ts';
import { TableArray } from './table-array.ts';

const { size: SIZE, offset } = grantEntryV1.x86_64;
const { flags: FLAGS, domid: DOMID, frame: FRAME } = offset;
const IN_USE = GTF_reading | GTF_writing;

export class GrantEntriesV1 implements GrantEntries {
  readonly version = 1;
  readonly perFrame: number;
  readonly #shared: TableArray;
  readonly #hypercalls: Hypercalls;

  constructor(memory: GuestMemory, hypercalls: Hypercalls) {
    this.#hypercalls = hypercalls;
    this.#shared = new TableArray(memory, SIZE);
    this.perFrame = this.#shared.perFrame;
  }

  get frames(): number {
    return this.#shared.frames;
  }

  grow(frames: number): boolean {
    return growShared(this.#hypercalls, this.#shared, frames);
  }

  introduce(ref: number, flags: number, domid: number, frame: number): void {
    const entry = this.#shared.locate(ref);
    const { u16, u32 } = this.#shared.bank;
    u16[(entry + DOMID) >>> 1] = domid;
    u32[(entry + FRAME) >>> 2] = frame;
    // An atomic store is ordered after the writes above: the header's WMB.
    Atomics.store(u16, (entry + FLAGS) >>> 1, flags);
  }

  usage(ref: number): number {
    const word = this.#flags(ref);
    return Atomics.load(this.#shared.bank.u16, word) & IN_USE;
  }

  /** See the flags, observe that nobody reads or writes, compare and exchange. In use, nothing has changed. */
  end(ref: number): boolean {
    const word = this.#flags(ref);
    const { u16 } = this.#shared.bank;
    let flags = Atomics.load(u16, word);
    while ((flags & IN_USE) === 0) {
      const seen = Atomics.compareExchange(u16, word, flags, 0);
      if (seen === flags) return true;
      flags = seen;
    }
    return false;
  }

  makeReadonly(ref: number): boolean {
    const word = this.#flags(ref);
    const { u16 } = this.#shared.bank;
    let flags = Atomics.load(u16, word);
    while ((flags & GTF_writing) === 0) {
      const seen = Atomics.compareExchange(u16, word, flags, flags | GTF_readonly);
      if (seen === flags) return true;
      flags = seen;
    }
    return false;
  }

  makeWritable(ref: number): void {
    const word = this.#flags(ref);
    Atomics.and(this.#shared.bank.u16, word, ~GTF_readonly);
  }

  endTransfer(ref: number): number | undefined {
    const entry = this.#shared.locate(ref);
    const { u16, u32 } = this.#shared.bank;
    const word = (entry + FLAGS) >>> 1;
    if (!settleTransfer(u16, word)) return undefined;
    const frame = u32[(entry + FRAME) >>> 2]!;
    Atomics.store(u16, word, 0);
    return frame;
  }

  /** Index of an entry's flags in the bank's 16-bit words. */
  #flags(ref: number): number {
    return (this.#shared.locate(ref) + FLAGS) >>> 1;
  }
}
