/**
 * The receiving end of a netif_rx ring: it offers pages and gets packets in them. It serves a frontend's receive path
 * and, with `tx-flip-ring-ref`, a backend's; copied or flipped is a matter of the buffers.
 */
import { describeRingFault } from '@ringside/gnttab-core';
import type { FrontRing, GrantRef, GrantReserve } from '@ringside/gnttab-core';
import type { NetifRxRequest, NetifRxResponse } from '../rings.ts';
import type { Link, PacketReceiver } from '../link.ts';
import type { Frame } from '../memory/frame-pool.ts';
import type { LocalPacket } from '../memory/local-packet.ts';
import { readRxChain, SlotChain } from '../packet.ts';
import type { DropReason, Traffic } from '../stats.ts';
import type { Buffers } from './buffers.ts';

export class RxReceiver implements PacketReceiver {
  readonly #link: Link;
  readonly #ring: FrontRing<NetifRxRequest, NetifRxResponse>;
  readonly #buffers: Buffers;
  readonly #traffic: Traffic;
  readonly #reserve: GrantReserve;
  /** What was offered, by ring slot: a response lies where its request lay, whatever id it has (io/netif.h). */
  readonly #offered: (Frame | undefined)[] = [];
  readonly #refs: GrantRef[] = [];
  readonly #request: NetifRxRequest;
  readonly #received: (Frame | undefined)[] = [];
  readonly #chain = new SlotChain();

  constructor(
    link: Link,
    ring: FrontRing<NetifRxRequest, NetifRxResponse>,
    buffers: Buffers,
    traffic: Traffic,
  ) {
    this.#link = link;
    this.#ring = ring;
    this.#buffers = buffers;
    this.#traffic = traffic;
    this.#reserve = link.guest.grants.allocGrantReferences(ring.size);
    this.#request = ring.layout.newRequest();
  }

  replenish(): boolean {
    const ring = this.#ring;
    const request = this.#request;
    const before = ring.reqProdPvt;
    while (!ring.isFull) {
      const slot = ring.reqProdPvt & (ring.size - 1);
      if (this.#offered[slot]) break; // a page that the other end does not let go of
      const frame = this.#buffers.take();
      if (!frame) break;
      const ref = this.#reserve.claim();
      this.#buffers.offer(ref, frame);
      this.#offered[slot] = frame;
      this.#refs[slot] = ref;
      request.id = slot;
      request.gref = ref;
      ring.put(request);
    }
    if (ring.reqProdPvt !== before) this.#link.port.notifyIf(ring.pushRequestsAndCheckNotify());
    return ring.freeRequests < ring.size;
  }

  receive(deliver: (packet: LocalPacket) => void): string | undefined {
    const ring = this.#ring;
    const first = ring.rspCons;
    const { items, count, fault } = ring.drainResponses();
    if (fault) return describeRingFault(fault);
    const broken = this.#reclaim(first, count);
    const chain = this.#chain;
    for (let at = 0; at < count; at += chain.slots) {
      const refused = readRxChain(items, count, at, chain) ?? this.#missingFrame();
      if (refused) this.#drop(refused);
      else this.#deliver(items, deliver);
    }
    return broken;
  }

  finalCheck(): boolean {
    return this.#ring.finalCheckForResponses();
  }

  close(): number {
    let stuck = 0;
    for (let slot = 0; slot < this.#ring.size; slot++) {
      const frame = this.#takeBack(slot);
      if (frame) this.#recycle(frame);
      else if (this.#offered[slot]) stuck++;
    }
    if (stuck === 0) this.#reserve.free();
    return stuck;
  }

  /** Takes back the pages of `count` answered slots from ring index `first` on. */
  #reclaim(first: number, count: number): string | undefined {
    let broken: string | undefined;
    for (let i = 0; i < count; i++) {
      const slot = (first + i) & (this.#ring.size - 1);
      const frame = this.#takeBack(slot);
      this.#received[i] = frame;
      if (!frame && this.#offered[slot]) {
        broken = `grant ${this.#refs[slot]!} was answered and is still in use`;
      }
    }
    return broken;
  }

  /** The page of a slot if there is a frame in it. Otherwise the page went back to the pool, or is still in use. */
  #takeBack(slot: number): Frame | undefined {
    const frame = this.#offered[slot];
    if (!frame) return undefined;
    const ref = this.#refs[slot]!;
    const reclaimed = this.#buffers.reclaim(ref, frame);
    if (reclaimed === 'busy') return undefined;
    this.#offered[slot] = undefined;
    this.#reserve.release(ref);
    if (reclaimed === 'full') return frame;
    this.#link.packets.frames.putEmpty(frame);
    return undefined;
  }

  #missingFrame(): DropReason | undefined {
    const chain = this.#chain;
    for (let k = 0; k < chain.dataSlots; k++) {
      if (!this.#received[chain.dataSlot(k)]) return 'no frame';
    }
    return undefined;
  }

  #deliver(items: readonly NetifRxResponse[], deliver: (packet: LocalPacket) => void): void {
    const { packets } = this.#link;
    const chain = this.#chain;
    const packet = packets.create();
    for (let k = 0; k < chain.dataSlots; k++) {
      const at = chain.dataSlot(k);
      const { offset, status } = items[at]!;
      const frame = this.#received[at]!;
      if (status > 0) packet.append(frame, offset, status);
      else this.#recycle(frame);
    }
    if (packet.readHeader(packets.memory)) {
      this.#traffic.count(packet.totalBytes, chain.slots);
      deliver(packet);
    } else {
      packets.release(packet);
      this.#traffic.drop('split header');
    }
  }

  #drop(reason: DropReason): void {
    const { first, slots } = this.#chain;
    for (let i = first; i < first + slots; i++) {
      const frame = this.#received[i];
      if (frame) this.#recycle(frame);
    }
    this.#traffic.drop(reason);
  }

  #recycle(frame: Frame): void {
    this.#link.packets.frames.putDirty(frame);
  }
}
