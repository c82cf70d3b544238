/**
 * What the two versions of grant table entries have in common for the guest that writes them: Linux's gnttab_ops. Each
 * follows the concurrency rules at the head of grant_table.h to the letter. Entries of both begin with the same header.
 */
import {
  grantEntryHeader,
  GTF_readonly,
  GTF_transfer_committed,
  GTF_transfer_completed,
} from '../abi/grant-table.ts';
import { XENMAPSPACE_grant_table } from '../abi/memory.ts';
import type { Hypercalls } from '../hypercall/hypercalls.ts';
import type { GuestMemory } from './memory.ts';
import { TableArray } from './table-array.ts';

/** Version of the entries in a grant table. */
export type GrantVersion = 1 | 2;

const { flags: FLAGS, domid: DOMID } = grantEntryHeader.x86_64.offset;

/** A guest's grant table. References that it does not have throw GrantError. */
export abstract class GrantEntries {
  /** Which of the two. */
  abstract readonly version: GrantVersion;
  /** The entries. */
  protected readonly shared: TableArray;
  /** How more of them are asked for. */
  protected readonly hypercalls: Hypercalls;
  readonly #frameBytes: number;

  /** Entries of `entryBytes`, a power of two, each with (the low word of) its frame number at `frameBytes`. */
  constructor(memory: GuestMemory, hypercalls: Hypercalls, entryBytes: number, frameBytes: number) {
    this.hypercalls = hypercalls;
    this.shared = new TableArray(memory, entryBytes);
    this.#frameBytes = frameBytes;
  }

  /** Entries in a frame. */
  get perFrame(): number {
    return this.shared.perFrame;
  }

  /** Frames mapped so far. */
  get frames(): number {
    return this.shared.frames;
  }

  /** Has the table grow to `frames` frames and maps them; false if Xen refuses, and nothing has changed then. */
  grow(frames: number): boolean {
    const table = this.hypercalls.setupTable(frames);
    if (table.status !== 0) return false;
    for (let n = this.shared.frames; n < frames; n++) {
      this.shared.mapNext(XENMAPSPACE_grant_table, n, table.frames[n]!);
    }
    return true;
  }

  /** "Introducing a valid entry into the grant table": domid and frame, barrier, flags. */
  introduce(ref: number, flags: number, domid: number, frame: number): void {
    this.publish(this.setFrame(ref, frame), flags, domid);
  }

  /** Writes the frame number of an entry; returns the entry's byte offset in the bank. */
  protected setFrame(ref: number, frame: number): number {
    const entry = this.shared.locate(ref);
    this.shared.bank.u32[(entry + this.#frameBytes) >>> 2] = frame;
    return entry;
  }

  /** Writes an entry's header, and with it all that was written to the entry before. */
  protected publish(entry: number, flags: number, domid: number): void {
    const { u16 } = this.shared.bank;
    u16[(entry + DOMID) >>> 1] = domid;
    // An atomic store is ordered after the writes before it: the header's WMB.
    Atomics.store(u16, (entry + FLAGS) >>> 1, flags);
  }

  /** GTF_reading and GTF_writing, as Xen has set them. */
  abstract usage(ref: number): number;

  /** "Invalidating an unused GTF_permit_access entry"; false while somebody uses the grant. */
  abstract end(ref: number): boolean;

  /** "Changing a GTF_permit_access from writable to read-only"; false while somebody may write. */
  abstract makeReadonly(ref: number): boolean;

  /** "Changing a GTF_permit_access from read-only to writable": one atomic bit operation. */
  makeWritable(ref: number): void {
    const word = this.flagsWord(ref);
    Atomics.and(this.shared.bank.u16, word, ~GTF_readonly);
  }

  /**
   * "Invalidating an unused / a committed GTF_accept_transfer entry": undefined if it was not used, else the frame,
   * waiting from committed to completed.
   */
  endTransfer(ref: number): number | undefined {
    const entry = this.shared.locate(ref);
    const { u16, u32 } = this.shared.bank;
    const word = (entry + FLAGS) >>> 1;
    if (this.exchange(word, GTF_transfer_committed, 0, 0)) return undefined;
    // The header allows spinning here: Xen completes a committed transfer in a timely manner.
    while ((Atomics.load(u16, word) & GTF_transfer_completed) === 0);
    const frame = u32[(entry + this.#frameBytes) >>> 2]!;
    Atomics.store(u16, word, 0);
    return frame;
  }

  /**
   * See the flags, observe that none of `busy` is set, compare and exchange: they become `(flags & kept) | added`. False,
   * and nothing has changed, if one is set.
   */
  protected exchange(word: number, busy: number, kept: number, added: number): boolean {
    const { u16 } = this.shared.bank;
    let flags = Atomics.load(u16, word);
    while ((flags & busy) === 0) {
      const seen = Atomics.compareExchange(u16, word, flags, (flags & kept) | added);
      if (seen === flags) return true;
      flags = seen;
    }
    return false;
  }

  /** Index of an entry's flags in the bank's 16-bit words. */
  protected flagsWord(ref: number): number {
    return (this.shared.locate(ref) + FLAGS) >>> 1;
  }
}
