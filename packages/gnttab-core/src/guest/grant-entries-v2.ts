/**
 * Grant table entries, version 2: sixteen bytes that only the guest writes (but for transfers), and apart from them a
 * status word for each, that only Xen writes. So nothing is exchanged: each side writes its word, and after a full barrier
 * looks at the other's.
 */
import { errnoNames } from '../abi/errno.ts';
import {
  grantEntryHeader,
  grantEntryV2,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transitive,
  GTF_writing,
} from '../abi/grant-table.ts';
import { XENMAPIDX_grant_table_status, XENMAPSPACE_grant_table } from '../abi/memory.ts';
import type { Hypercalls } from '../hypercall/hypercalls.ts';
import type { DomId, GrantRef } from '../machine/page.ts';
import { GrantError } from './errors.ts';
import { type GrantEntries, growShared, settleTransfer } from './grant-entries.ts';
import type { GuestMemory } from './memory.ts';
import { TableArray } from './table-array.ts';

const { flags: FLAGS, domid: DOMID } = grantEntryHeader.x86_64.offset;
const { full_page, sub_page, transitive } = grantEntryV2.table;
const { frame: FRAME } = full_page.offset;
/** Bytes of a grant_status_t. */
const STATUS_SIZE = 2;

export class GrantEntriesV2 implements GrantEntries {
  readonly version = 2;
  readonly perFrame: number;
  readonly #shared: TableArray;
  readonly #status: TableArray;
  readonly #hypercalls: Hypercalls;

  /** Asks Xen for version 2. Throws GrantError if the domain may not have it. */
  constructor(memory: GuestMemory, hypercalls: Hypercalls) {
    const result = hypercalls.setGrantVersion(2);
    if (result !== 0) {
      const errno = errnoNames.get(-result) ?? result;
      throw new GrantError('grant table version 2', `refused (${errno})`);
    }
    this.#hypercalls = hypercalls;
    this.#shared = new TableArray(memory, grantEntryV2.x86_64.size);
    this.#status = new TableArray(memory, STATUS_SIZE);
    this.perFrame = this.#shared.perFrame;
  }

  get frames(): number {
    return this.#shared.frames;
  }

  grow(frames: number): boolean {
    if (!growShared(this.#hypercalls, this.#shared, frames)) return false;
    const wanted = Math.ceil((frames * this.perFrame) / this.#status.perFrame);
    if (wanted === this.#status.frames) return true;
    const status = this.#hypercalls.getStatusFrames(wanted);
    if (status.status !== 0) throw new GrantError('status frames', status.status);
    for (let n = this.#status.frames; n < wanted; n++) {
      const index = XENMAPIDX_grant_table_status + n;
      this.#status.mapNext(XENMAPSPACE_grant_table, index, status.frames[n]!);
    }
    return true;
  }

  introduce(ref: number, flags: number, domid: number, frame: number): void {
    const entry = this.#shared.locate(ref);
    const { u32 } = this.#shared.bank;
    u32[(entry + FRAME) >>> 2] = frame;
    u32[((entry + FRAME) >>> 2) + 1] = 0;
    this.#publish(entry, flags, domid);
  }

  /** A grant of `lengthBytes` from `offsetBytes` of a frame, for copies only. */
  introduceSubPage(
    ref: number,
    flags: number,
    domid: number,
    frame: number,
    { offsetBytes, lengthBytes }: { offsetBytes: number; lengthBytes: number },
  ): void {
    const entry = this.#shared.locate(ref);
    const { u16, u32 } = this.#shared.bank;
    u16[(entry + sub_page.offset.page_off) >>> 1] = offsetBytes;
    u16[(entry + sub_page.offset.length) >>> 1] = lengthBytes;
    u32[(entry + sub_page.offset.frame) >>> 2] = frame;
    u32[((entry + sub_page.offset.frame) >>> 2) + 1] = 0;
    this.#publish(entry, flags | GTF_sub_page, domid);
  }

  /** A grant of what `viaDomid` granted this domain with its reference `viaRef`, for copies only. */
  introduceTransitive(
    ref: number,
    flags: number,
    domid: number,
    { viaDomid, viaRef }: { viaDomid: DomId; viaRef: GrantRef },
  ): void {
    const entry = this.#shared.locate(ref);
    const { u16, u32 } = this.#shared.bank;
    u16[(entry + transitive.offset.trans_domid) >>> 1] = viaDomid;
    u32[(entry + transitive.offset.gref) >>> 2] = viaRef;
    this.#publish(entry, flags | GTF_transitive, domid);
  }

  #publish(entry: number, flags: number, domid: number): void {
    const { u16 } = this.#shared.bank;
    u16[(entry + DOMID) >>> 1] = domid;
    // An atomic store is ordered after the writes before it: the header's WMB.
    Atomics.store(u16, (entry + FLAGS) >>> 1, flags);
  }

  usage(ref: number): number {
    const word = this.#status.locate(ref) >>> 1;
    return Atomics.load(this.#status.bank.u16, word) & (GTF_reading | GTF_writing);
  }

  /**
   * Clears the flags, then (every Atomics operation is a full barrier) looks at the status word. In use, the flags stay
   * cleared: the peer keeps what it has pinned, and cannot come back when it has let go of all. A later call does the same
   * again, until the status word is clear.
   */
  end(ref: number): boolean {
    const word = this.#flags(ref);
    Atomics.store(this.#shared.bank.u16, word, 0);
    return this.usage(ref) === 0;
  }

  /** As `end`: first the flag, then the look. While somebody writes the flag stays set: nobody else gets to write. */
  makeReadonly(ref: number): boolean {
    const word = this.#flags(ref);
    Atomics.or(this.#shared.bank.u16, word, GTF_readonly);
    return (this.usage(ref) & GTF_writing) === 0;
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
