/**
 * The backend's end of a netif_tx ring: it finds the packets among the requests and has the hypervisor copy them into
 * pages of its own, a whole batch with one hypercall. Every slot gets its answer, in order.
 */
import { describeRingFault, GnttabCopy } from '@ringside/gnttab-core';
import type { BackRing } from '@ringside/gnttab-core';
import { DOMID_SELF, GNTCOPY_source_gref, GNTST_okay } from '@ringside/gnttab-core/abi';
import { NETIF_RSP_ERROR, NETIF_RSP_NULL, NETIF_RSP_OKAY } from '../abi.ts';
import type { Link, PacketReceiver } from '../link.ts';
import type { LocalPacket } from '../memory/local-packet.ts';
import { pageBytes, readTxChain, refusals, SlotChain } from '../packet.ts';
import type { NetifTxRequest, NetifTxResponse } from '../rings.ts';
import type { DropReason, Traffic } from '../stats.ts';

/** One chain of the batch: what to answer, and the packet if it has been accepted. */
interface Arrival {
  first: number;
  slots: number;
  extras: number;
  packet: LocalPacket | undefined;
  /** Copy operations up to here belong to this or an earlier chain. */
  lastOp: number;
}

export class TxReceiver implements PacketReceiver {
  readonly #link: Link;
  readonly #ring: BackRing<NetifTxRequest, NetifTxResponse>;
  readonly #traffic: Traffic;
  readonly #response: NetifTxResponse;
  readonly #chain = new SlotChain();
  readonly #arrivals: Arrival[] = [];
  #arrivalCount = 0;
  readonly #ops: GnttabCopy[] = [];
  #opCount = 0;

  constructor(link: Link, ring: BackRing<NetifTxRequest, NetifTxResponse>, traffic: Traffic) {
    this.#link = link;
    this.#ring = ring;
    this.#traffic = traffic;
    this.#response = ring.layout.newResponse();
  }

  receive(deliver: (packet: LocalPacket) => void): string | undefined {
    const { items, count, fault } = this.#ring.drainRequests();
    if (fault) return describeRingFault(fault);
    if (count === 0) return undefined;
    const broken = this.#prepare(items, count);
    if (this.#opCount > 0) {
      this.#link.guest.hypercalls.gnttabCopy(this.#ops, this.#opCount);
      this.#traffic.batches++;
    }
    this.#finish(items, deliver);
    this.#link.port.notifyIf(this.#ring.pushResponsesAndCheckNotify());
    return broken;
  }

  finalCheck(): boolean {
    return this.#ring.finalCheckForRequests();
  }

  /** Needs no pages in advance. */
  replenish(): boolean {
    return true;
  }

  close(): number {
    return 0;
  }

  /** Finds the chains and lists what is to be copied. */
  #prepare(items: readonly NetifTxRequest[], count: number): string | undefined {
    const chain = this.#chain;
    this.#arrivalCount = this.#opCount = 0;
    for (let at = 0; at < count; at += chain.slots) {
      const refused = readTxChain(items, count, at, chain);
      const packet = refused ? undefined : this.#gather(items);
      if (!packet) this.#traffic.drop(refused ?? 'no memory');
      const arrival = (this.#arrivals[this.#arrivalCount++] ??= newArrival());
      arrival.first = at;
      arrival.slots = chain.slots;
      arrival.extras = chain.extras;
      arrival.packet = packet;
      arrival.lastOp = this.#opCount;
      if (refused && refusals[refused].severity === 'fatal') {
        return `the packet in tx slot ${at} of ${count} ${refusals[refused].sentence}`;
      }
    }
    return undefined;
  }

  /** A packet with room for the chain, and the operations that fill it; undefined if there is no memory. */
  #gather(items: readonly NetifTxRequest[]): LocalPacket | undefined {
    const chain = this.#chain;
    const packet = this.#link.packets.allocate(chain.totalBytes);
    if (!packet) return undefined;
    let filled = 0;
    for (let k = 0; k < chain.dataSlots; k++) {
      const { gref, offset, size } = items[chain.dataSlot(k)]!;
      let left = k === 0 ? chain.firstBytes : size;
      for (let from = offset; left > 0;) {
        const to = filled % pageBytes;
        const bytes = Math.min(left, pageBytes - to);
        const frame = packet.frames[(filled - to) / pageBytes]!;
        this.#copy(gref, from, this.#link.guest.memory.frameOf(frame.page), to, bytes);
        if (frame.dirtyBytes < to + bytes) frame.dirtyBytes = to + bytes;
        filled += bytes;
        from += bytes;
        left -= bytes;
      }
    }
    return packet;
  }

  #copy(gref: number, from: number, gmfn: number, to: number, bytes: number): void {
    const op = (this.#ops[this.#opCount++] ??= newCopyIn());
    op.source.ref = gref;
    op.source.domid = this.#link.peer;
    op.source.offset = from;
    op.dest.gmfn = gmfn;
    op.dest.offset = to;
    op.len = bytes;
  }

  /** Answers every slot, and delivers the packets whose data has come. */
  #finish(items: readonly NetifTxRequest[], deliver: (packet: LocalPacket) => void): void {
    const { packets } = this.#link;
    let op = 0;
    for (let i = 0; i < this.#arrivalCount; i++) {
      const arrival = this.#arrivals[i]!;
      let lost: DropReason | undefined;
      for (; op < arrival.lastOp; op++) {
        if (this.#ops[op]!.status !== GNTST_okay) lost = 'data not copied';
      }
      const { packet } = arrival;
      arrival.packet = undefined;
      if (packet && !lost && !packet.readHeader(packets.memory)) lost = 'split header';
      this.#answer(items, arrival, packet && !lost ? NETIF_RSP_OKAY : NETIF_RSP_ERROR);
      if (!packet) continue;
      if (lost) {
        this.#traffic.drop(lost);
        packets.release(packet);
      } else {
        this.#traffic.count(packet.totalBytes, arrival.slots);
        deliver(packet);
      }
    }
  }

  #answer(
    items: readonly NetifTxRequest[],
    { first, slots, extras }: Arrival,
    status: number,
  ): void {
    const response = this.#response;
    for (let i = 0; i < slots; i++) {
      response.id = items[first + i]!.id;
      response.status = i > 0 && i <= extras ? NETIF_RSP_NULL : status;
      this.#ring.put(response);
    }
  }
}

const newArrival = (): Arrival => ({ first: 0, slots: 0, extras: 0, packet: undefined, lastOp: 0 });

function newCopyIn(): GnttabCopy {
  const op = new GnttabCopy();
  op.dest.domid = DOMID_SELF;
  op.flags = GNTCOPY_source_gref;
  return op;
}
