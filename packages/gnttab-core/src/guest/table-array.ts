/** Elements of one size in frames that Xen shares with the guest, which reaches them through mappings of its own. */
import type { Bank } from '../machine/bank.ts';
import { bankOffset, PAGE_SHIFT, PAGE_SIZE } from '../machine/page.ts';
import { GrantError } from './errors.ts';
import type { GuestMemory } from './memory.ts';

/** An array that grows by frames: the grant entries, or the status words, of a table. */
export class TableArray {
  /** Elements in a frame. */
  readonly perFrame: number;
  /** Where `locate` found the last element. */
  bank!: Bank;
  readonly #memory: GuestMemory;
  readonly #elementShift: number;
  readonly #frameShift: number;
  /** Address of each mapped frame. */
  readonly #frames: number[] = [];

  /** `elementBytes` is a power of two. */
  constructor(memory: GuestMemory, elementBytes: number) {
    this.#memory = memory;
    this.perFrame = PAGE_SIZE / elementBytes;
    this.#elementShift = Math.log2(elementBytes);
    this.#frameShift = PAGE_SHIFT - this.#elementShift;
  }

  /** Frames mapped so far. */
  get frames(): number {
    return this.#frames.length;
  }

  /** Maps the next frame: `frame` of a PV guest, the one with this index of kind `space` for a translated one. */
  mapNext(space: number, index: number, frame: number): void {
    this.#frames.push(this.#memory.mapXenFrame(space, index, frame));
  }

  /** Byte offset in `bank` of an element. Throws GrantError if there is no such reference. */
  locate(ref: number): number {
    const frame = this.#frames[ref >>> this.#frameShift];
    if (frame === undefined) throw new GrantError(`reference ${ref}`, 'beyond the grant table');
    const offset = (ref << this.#elementShift) & (PAGE_SIZE - 1);
    const address = this.#memory.translate(frame + offset, 'write');
    this.bank = this.#memory.bankOf(address);
    return bankOffset(address);
  }
}
