/**
 * Grant table entries, version 2: sixteen bytes that only the guest writes (but for transfers), and apart from them a
 * status word for each, that only Xen writes. So nothing is exchanged: each side writes its word, and after a full barrier
 * looks at the other's.
 */
import { errnoNames } from '../abi/errno.ts';
import {
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
import { GrantEntries } from './grant-entries.ts';
import type { GuestMemory } from './memory.ts';
import { TableArray } from './table-array.ts';

const { full_page, sub_page, transitive } = grantEntryV2.table;
/** The same in a full page's entry and in a part's. */
const { frame: FRAME } = full_page.offset;
/** Bytes of a grant_status_t. */
const STATUS_SIZE = 2;

/** A guest's grant table of version 2 (grant_entry_v2 and grant_status_t, grant_table.h). */
export class GrantEntriesV2 extends GrantEntries {
  readonly version = 2;
  readonly #status: TableArray;

  /** Asks Xen for version 2. Throws GrantError if the domain may not have it. */
  constructor(memory: GuestMemory, hypercalls: Hypercalls) {
    super(memory, hypercalls, grantEntryV2.x86_64.size, FRAME);
    const result = hypercalls.setGrantVersion(2);
    if (result !== 0) {
      const errno = errnoNames.get(-result) ?? result;
      throw new GrantError('grant table version 2', `refused (${errno})`);
    }
    this.#status = new TableArray(memory, STATUS_SIZE);
  }

  /** Status frames grow along. Throws GrantError if Xen has given the entries and not these. */
  override grow(frames: number): boolean {
    if (!super.grow(frames)) return false;
    const wanted = Math.ceil((frames * this.perFrame) / this.#status.perFrame);
    if (wanted === this.#status.frames) return true;
    const status = this.hypercalls.getStatusFrames(wanted);
    if (status.status !== 0) throw new GrantError('status frames', status.status);
    for (let n = this.#status.frames; n < wanted; n++) {
      const index = XENMAPIDX_grant_table_status + n;
      this.#status.mapNext(XENMAPSPACE_grant_table, index, status.frames[n]!);
    }
    return true;
  }

  /** A frame number has 64 bits here. */
  protected override setFrame(ref: number, frame: number): number {
    const entry = super.setFrame(ref, frame);
    this.shared.bank.u32[((entry + FRAME) >>> 2) + 1] = 0;
    return entry;
  }

  /** A grant of `lengthBytes` from `offsetBytes` of a frame, for copies only. */
  introduceSubPage(
    ref: number,
    flags: number,
    domid: number,
    frame: number,
    { offsetBytes, lengthBytes }: { offsetBytes: number; lengthBytes: number },
  ): void {
    const entry = this.setFrame(ref, frame);
    const { u16 } = this.shared.bank;
    u16[(entry + sub_page.offset.page_off) >>> 1] = offsetBytes;
    u16[(entry + sub_page.offset.length) >>> 1] = lengthBytes;
    this.publish(entry, flags | GTF_sub_page, domid);
  }

  /** A grant of what `viaDomid` granted this domain with its reference `viaRef`, for copies only. */
  introduceTransitive(
    ref: number,
    flags: number,
    domid: number,
    { viaDomid, viaRef }: { viaDomid: DomId; viaRef: GrantRef },
  ): void {
    const entry = this.shared.locate(ref);
    const { u16, u32 } = this.shared.bank;
    u16[(entry + transitive.offset.trans_domid) >>> 1] = viaDomid;
    u32[(entry + transitive.offset.gref) >>> 2] = viaRef;
    this.publish(entry, flags | GTF_transitive, domid);
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
    const word = this.flagsWord(ref);
    Atomics.store(this.shared.bank.u16, word, 0);
    return this.usage(ref) === 0;
  }

  /** As `end`: first the flag, then the look. While somebody writes the flag stays set: nobody else gets to write. */
  makeReadonly(ref: number): boolean {
    const word = this.flagsWord(ref);
    Atomics.or(this.shared.bank.u16, word, GTF_readonly);
    return (this.usage(ref) & GTF_writing) === 0;
  }
}
