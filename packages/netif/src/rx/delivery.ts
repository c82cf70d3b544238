/**
 * The two ways in which packets get into the pages that a peer has offered on a netif_rx ring. Either moves a batch of
 * packets with one hypercall, and then knows for every slot what to answer.
 */
import { GnttabCopy, GnttabTransfer } from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  GNTCOPY_dest_gref,
  GNTST_bad_page,
  GNTST_okay,
} from '@ringside/gnttab-core/abi';
import { NETIF_RSP_ERROR } from '../abi.ts';
import type { Link } from '../link.ts';
import type { Frame } from '../memory/frame-pool.ts';
import { slotsOf } from '../memory/local-packet.ts';
import type { LocalPacket } from '../memory/local-packet.ts';
import { pageBytes } from '../packet.ts';
import type { DropReason } from '../stats.ts';

/** What to answer, by slot of the batch. */
export interface SlotResults {
  readonly offset: Uint16Array;
  /** Bytes in the slot, or NETIF_RSP_ERROR. */
  readonly status: Int16Array;
}

export interface Delivery {
  /** Why a packet was lost if one of its slots failed. */
  readonly failure: DropReason;
  /** Slots that `packet` takes. */
  slotsFor(packet: LocalPacket): number;
  /** Prepares a packet for the pages offered by requests `at` and following. */
  add(packet: LocalPacket, requests: readonly { gref: number }[], at: number): void;
  /** Does it. */
  commit(results: SlotResults): void;
  /** Takes back a packet that was moved. */
  finish(packet: LocalPacket): void;
}

/** GNTTABOP_transfer: every fragment goes as it is, its page and all. */
export class FlipDelivery implements Delivery {
  readonly failure = 'data not transferred';
  readonly #link: Link;
  readonly #ops: GnttabTransfer[] = [];
  readonly #frames: Frame[] = [];
  #count = 0;

  constructor(link: Link) {
    this.#link = link;
  }

  slotsFor(packet: LocalPacket): number {
    return packet.count;
  }

  add(packet: LocalPacket, requests: readonly { gref: number }[], at: number): void {
    const { peer, guest, packets } = this.#link;
    for (let k = 0; k < packet.count; k++) {
      const frame = packet.frames[k]!;
      packets.frames.clearBehind(frame);
      const op = (this.#ops[this.#count] ??= new GnttabTransfer());
      op.mfn = guest.memory.detachForTransfer(frame.page);
      op.domid = peer;
      op.ref = requests[at + k]!.gref;
      this.#frames[this.#count++] = frame;
    }
  }

  commit({ offset, status }: SlotResults): void {
    const { guest, packets } = this.#link;
    guest.hypercalls.gnttabTransfer(this.#ops, this.#count);
    for (let i = 0; i < this.#count; i++) {
      const op = this.#ops[i]!;
      const frame = this.#frames[i]!;
      const moved = op.status === GNTST_okay;
      offset[i] = moved ? frame.offsetBytes : 0;
      status[i] = moved ? frame.sizeBytes : NETIF_RSP_ERROR;
      // Only a page that cannot be transferred stays ours; any other failure loses the frame (grant_table.h).
      if (op.status === GNTST_bad_page) {
        guest.memory.adopt(frame.page, op.mfn);
        packets.frames.putDirty(frame);
      } else {
        packets.frames.putEmpty(frame);
      }
    }
    this.#count = 0;
  }

  /** Its frames went to the peer, or back to the pool. */
  finish(packet: LocalPacket): void {
    this.#link.packets.retire(packet);
  }
}

/** GNTTABOP_copy: the packet is laid out anew from the start of each offered page. */
export class CopyDelivery implements Delivery {
  readonly failure = 'data not copied';
  readonly #link: Link;
  readonly #ops: GnttabCopy[] = [];
  /** Which slot of the batch an operation belongs to. */
  readonly #slotOfOp: number[] = [];
  readonly #sizes: number[] = [];
  #opCount = 0;
  #slotCount = 0;

  constructor(link: Link) {
    this.#link = link;
  }

  slotsFor(packet: LocalPacket): number {
    return slotsOf(packet);
  }

  add(packet: LocalPacket, requests: readonly { gref: number }[], at: number): void {
    const { memory } = this.#link.guest;
    let roomBytes = 0;
    let slot = at - 1;
    for (let k = 0; k < packet.count; k++) {
      const { page, offsetBytes, sizeBytes } = packet.frames[k]!;
      const gmfn = memory.frameOf(page);
      let offset = offsetBytes;
      for (let left = sizeBytes; left > 0;) {
        if (roomBytes === 0) {
          slot++;
          roomBytes = pageBytes;
          this.#sizes[slot] = 0;
        }
        const bytes = Math.min(left, roomBytes);
        this.#copy(gmfn, offset, requests[slot]!.gref, this.#sizes[slot]!, bytes, slot);
        this.#sizes[slot]! += bytes;
        roomBytes -= bytes;
        offset += bytes;
        left -= bytes;
      }
    }
    this.#slotCount = slot + 1;
  }

  commit({ offset, status }: SlotResults): void {
    this.#link.guest.hypercalls.gnttabCopy(this.#ops, this.#opCount);
    for (let slot = 0; slot < this.#slotCount; slot++) {
      offset[slot] = 0;
      status[slot] = this.#sizes[slot]!;
    }
    for (let i = 0; i < this.#opCount; i++) {
      if (this.#ops[i]!.status !== GNTST_okay) status[this.#slotOfOp[i]!] = NETIF_RSP_ERROR;
    }
    this.#opCount = this.#slotCount = 0;
  }

  finish(packet: LocalPacket): void {
    this.#link.packets.release(packet);
  }

  #copy(gmfn: number, offset: number, ref: number, at: number, bytes: number, slot: number): void {
    const op = (this.#ops[this.#opCount] ??= newCopyOut());
    op.source.gmfn = gmfn;
    op.source.offset = offset;
    op.dest.ref = ref;
    op.dest.domid = this.#link.peer;
    op.dest.offset = at;
    op.len = bytes;
    this.#slotOfOp[this.#opCount++] = slot;
  }
}

function newCopyOut(): GnttabCopy {
  const op = new GnttabCopy();
  op.source.domid = DOMID_SELF;
  op.flags = GNTCOPY_dest_gref;
  return op;
}
