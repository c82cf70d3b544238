/**
 * What the two versions of grant table entries have in common for the guest that writes them: Linux's gnttab_ops. Each
 * follows the concurrency rules at the head of grant_table.h to the letter.
 */
import { GTF_transfer_committed, GTF_transfer_completed } from '../abi/grant-table.ts';
import { XENMAPSPACE_grant_table } from '../abi/memory.ts';
import type { Hypercalls } from '../hypercall/hypercalls.ts';
import type { TableArray } from './table-array.ts';

/** A guest's grant table. References that it does not have throw GrantError. */
export interface GrantEntries {
  readonly version: 1 | 2;
  /** Entries in a frame. */
  readonly perFrame: number;
  /** Frames mapped so far. */
  readonly frames: number;
  /** Has the table grow to `frames` frames and maps them; false if Xen refuses, and nothing has changed then. */
  grow(frames: number): boolean;
  /** "Introducing a valid entry into the grant table": domid and frame, barrier, flags. */
  introduce(ref: number, flags: number, domid: number, frame: number): void;
  /** GTF_reading and GTF_writing, as Xen has set them. */
  usage(ref: number): number;
  /** "Invalidating an unused GTF_permit_access entry"; false while somebody uses the grant. */
  end(ref: number): boolean;
  /** "Changing a GTF_permit_access from writable to read-only"; false while somebody may write. */
  makeReadonly(ref: number): boolean;
  /** "Changing a GTF_permit_access from read-only to writable": one atomic bit operation. */
  makeWritable(ref: number): void;
  /**
   * "Invalidating an unused / a committed GTF_accept_transfer entry": undefined if it was not used, else the frame,
   * waiting from committed to completed.
   */
  endTransfer(ref: number): number | undefined;
}

/** Has the table of shared entries grow to `frames` frames, and maps the new ones; false if Xen refuses. */
export function growShared(hypercalls: Hypercalls, shared: TableArray, frames: number): boolean {
  const table = hypercalls.setupTable(frames);
  if (table.status !== 0) return false;
  for (let n = shared.frames; n < frames; n++) {
    shared.mapNext(XENMAPSPACE_grant_table, n, table.frames[n]!);
  }
  return true;
}

/** Withdraws the accept entry whose flags are at `word` (false), or sees its transfer to the end (true). */
export function settleTransfer(words: Uint16Array<ArrayBufferLike>, word: number): boolean {
  let flags = Atomics.load(words, word);
  while ((flags & GTF_transfer_committed) === 0) {
    const seen = Atomics.compareExchange(words, word, flags, 0);
    if (seen === flags) return false;
    flags = seen;
  }
  // The header allows spinning here: Xen completes a committed transfer in a timely manner.
  while ((Atomics.load(words, word) & GTF_transfer_completed) === 0);
  return true;
}
