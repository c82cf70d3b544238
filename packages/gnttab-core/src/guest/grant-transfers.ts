/**
 * Accepting frames from other domains. Source: docs/misc/grant-tables.txt of Xen, "Transferring ownership of a frame to
 * another domain", with the two steps that it leaves open:
 *
 * - "Map a transferred frame". Xen has written the frame into the used entry. A PV guest reads its mfn there, puts it into
 *   its p2m behind the empty page (its m2p entry with it) and maps it at the page's address. A translated guest finds the
 *   frame behind the gfn that the entry named: nothing is left to do.
 * - "Clear the used transfer reference". The flags say GTF_transfer_committed from the moment when Xen has decided; the
 *   entry must not be touched from then until GTF_transfer_completed says that the frame number has been written. After
 *   that the flags are set to zero, and the reference may be used again.
 *
 * `acceptTransfer` does both, the second first: the frame number is read before the entry is given up.
 */
import { GTF_accept_transfer } from '../abi/grant-table.ts';
import type { DomId, Gfn, GrantRef } from '../machine/page.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { GrantAllocation } from './grant-allocation.ts';
import type { GuestPage } from './page-pool.ts';
import { ACCEPTING } from './reference-states.ts';

/** The part of GrantReferences that has to do with frames which come from other domains. */
export abstract class GrantTransfers extends GrantAllocation {
  /**
   * Prepares to accept a frame from `domid` into each of `places`: gives the frames there back to Xen and posts a reference
   * for each place, in order. All or none: throws GrantError, before anything is given back, when references are exhausted
   * or a place is empty already (see `grantForeignTransfer`).
   */
  acceptTransfers(domid: DomId, places: readonly GuestPage[]): GrantRef[] {
    for (const place of places) this.frameOf(place);
    const refs = this.pool.takeBatch(places.length);
    this.memory.surrender(places);
    refs.forEach((ref, i) => this.grantForeignTransferRef(ref, domid, places[i]!.gfn));
    return refs;
  }

  /**
   * Takes what came through `ref`: ends it (see `endForeignTransfer`) and maps the frame at `place`, the empty page for
   * which it was posted. Returns the page, full now; undefined if nobody used the reference, and `place` stays empty.
   */
  acceptTransfer(ref: GrantRef, place: GuestPage): GuestPage | undefined {
    const frame = this.endForeignTransfer(ref);
    if (frame === undefined) return undefined;
    this.memory.adopt(place, frame);
    return place;
  }

  /**
   * gnttab_grant_foreign_transfer(): accepts a frame from `domid`, to be put behind the empty page `gfn`. Throws GrantError
   * when references are exhausted.
   */
  grantForeignTransfer(domid: DomId, gfn: Gfn): GrantRef {
    const ref = this.pool.take();
    this.grantForeignTransferRef(ref, domid, gfn);
    return ref;
  }

  /**
   * gnttab_grant_foreign_transfer_ref(), with a claimed reference of the caller's. The frame field holds the gfn until Xen
   * writes the frame.
   */
  grantForeignTransferRef(ref: GrantRef, domid: DomId, gfn: number): void {
    this.begin(ref, ACCEPTING, gfn, TRACE.grantTransferPost, domid, gfn);
    this.entries.introduce(ref, GTF_accept_transfer, domid, gfn);
  }

  /** gnttab_end_foreign_transfer(): as `endForeignTransferRef`, and frees the reference. */
  endForeignTransfer(ref: GrantRef): number | undefined {
    const frame = this.endForeignTransferRef(ref);
    this.pool.give(ref);
    return frame;
  }

  /**
   * gnttab_end_foreign_transfer_ref(): withdraws an unused reference (undefined), or waits from committed to completed
   * and returns the frame: an mfn (PV), the gfn where the page appeared (translated).
   */
  endForeignTransferRef(ref: GrantRef): number | undefined {
    this.pool.states.check(ref, ACCEPTING);
    const frame = this.entries.endTransfer(ref);
    this.finish(ref);
    this.trace.emit(TRACE.grantTransferEnd, this.domain.id, ref, frame ?? 0);
    return frame;
  }
}
