/**
 * The frontend's end of a netif_tx ring: it grants the backend read access to the pages of a packet until they are
 * answered. The backend copies out of them.
 */
import { add, describeRingFault, distance } from '@ringside/gnttab-core';
import type { FrontRing, GrantRef, GrantReserve } from '@ringside/gnttab-core';
import { NETIF_RSP_NULL, NETIF_RSP_OKAY } from '../abi.ts';
import type { Link, PacketSender } from '../link.ts';
import type { Frame } from '../memory/frame-pool.ts';
import type { LocalPacket } from '../memory/local-packet.ts';
import { txFlags, txSize } from '../packet.ts';
import type { NetifTxRequest, NetifTxResponse } from '../rings.ts';
import type { Traffic } from '../stats.ts';

/** What lies behind an id while the backend has it. */
interface Slot {
  frame: Frame | undefined;
  ref: GrantRef;
  /** Bytes and slots of the packet if this is its first slot, else 0. */
  packetBytes: number;
  packetSlots: number;
}

export class TxSender implements PacketSender {
  readonly #link: Link;
  readonly #ring: FrontRing<NetifTxRequest, NetifTxResponse>;
  readonly #traffic: Traffic;
  readonly #reserve: GrantReserve;
  readonly #slots: Slot[];
  /** Ids that may be used: unique among the requests in flight. */
  readonly #freeIds: number[];
  readonly #request: NetifTxRequest;
  #published = 0;

  constructor(link: Link, ring: FrontRing<NetifTxRequest, NetifTxResponse>, traffic: Traffic) {
    this.#link = link;
    this.#ring = ring;
    this.#traffic = traffic;
    this.#reserve = link.guest.grants.allocGrantReferences(ring.size);
    this.#slots = Array.from({ length: ring.size }, () => ({
      frame: undefined,
      ref: 0 as GrantRef,
      packetBytes: 0,
      packetSlots: 0,
    }));
    this.#freeIds = Array.from({ length: ring.size }, (_, i) => ring.size - 1 - i);
    this.#request = ring.layout.newRequest();
    this.#published = ring.reqProdPvt;
  }

  get inFlight(): number {
    return this.#ring.size - this.#freeIds.length;
  }

  slotsFor(packet: LocalPacket): number {
    return packet.count;
  }

  hasRoom(slots: number): boolean {
    return this.#freeIds.length >= slots && this.#ring.freeRequests >= slots;
  }

  awaitRoom(slots: number): boolean {
    this.#awaitHalf();
    return this.hasRoom(slots);
  }

  send(packet: LocalPacket): void {
    const { guest, peer, packets } = this.#link;
    const request = this.#request;
    for (let k = 0; k < packet.count; k++) {
      const frame = packet.frames[k]!;
      packets.frames.clearBehind(frame);
      const ref = this.#reserve.claim();
      guest.grants.grantForeignAccessRef(ref, peer, guest.memory.frameOf(frame.page), true);
      const id = this.#freeIds.pop()!;
      const slot = this.#slots[id]!;
      slot.frame = frame;
      slot.ref = ref;
      slot.packetBytes = k === 0 ? packet.totalBytes : 0;
      slot.packetSlots = k === 0 ? packet.count : 0;
      request.gref = ref;
      request.offset = frame.offsetBytes;
      request.flags = txFlags(k, packet.count);
      request.id = id;
      request.size = txSize(k, frame.sizeBytes, packet.totalBytes);
      this.#ring.put(request);
    }
    packets.retire(packet);
  }

  flush(): undefined {
    if (this.#published === this.#ring.reqProdPvt) return undefined;
    this.#published = this.#ring.reqProdPvt;
    this.#traffic.batches++;
    this.#link.port.notifyIf(this.#ring.pushRequestsAndCheckNotify());
    return undefined;
  }

  reap(): string | undefined {
    do {
      const { items, count, fault } = this.#ring.drainResponses();
      if (fault) return describeRingFault(fault);
      for (let i = 0; i < count; i++) {
        const broken = this.#answered(items[i]!);
        if (broken) return broken;
      }
    } while (this.#awaitHalf());
    return undefined;
  }

  close(): number {
    let stuck = 0;
    for (const slot of this.#slots) {
      if (!slot.frame) continue;
      if (slot.packetSlots > 0) this.#traffic.drop('disconnected');
      if (!this.#takeBack(slot)) stuck++;
    }
    if (stuck === 0) this.#reserve.free();
    return stuck;
  }

  #answered({ id, status }: NetifTxResponse): string | undefined {
    const slot = this.#slots[id];
    if (!slot?.frame) return `tx response for id ${id}, which is not in flight`;
    const { packetBytes, packetSlots } = slot;
    if (!this.#takeBack(slot)) return `tx grant ${slot.ref} was answered and is still in use`;
    this.#freeIds.push(id);
    if (packetSlots === 0) return undefined;
    if (status === NETIF_RSP_OKAY) this.#traffic.count(packetBytes, packetSlots);
    else if (status !== NETIF_RSP_NULL) this.#traffic.drop('error status');
    return undefined;
  }

  #takeBack(slot: Slot): boolean {
    if (this.#link.guest.grants.endForeignAccessRef(slot.ref) === 'busy') return false;
    this.#reserve.release(slot.ref);
    this.#link.packets.frames.putFull(slot.frame!);
    slot.frame = undefined;
    return true;
  }

  /**
   * Asks for an event when half of what is in flight is answered, so that events come seldom while there is much to do
   * and yet no answer stays unseen. True if there are answers already.
   */
  #awaitHalf(): boolean {
    const { shared, rspCons, reqProdPvt } = this.#ring;
    shared.rspEvent = add(rspCons, (distance(rspCons, reqProdPvt) >>> 1) + 1);
    return this.#ring.hasUnconsumedResponses;
  }
}
