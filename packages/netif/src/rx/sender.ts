/**
 * The sending end of a netif_rx ring: it fills the pages that the other end has offered. It serves a backend's way to
 * its guest and, with `tx-flip-ring-ref`, a frontend's way out; copied or flipped is a matter of the delivery.
 */
import { add, describeRingFault } from '@ringside/gnttab-core';
import type { BackRing } from '@ringside/gnttab-core';
import type { NetifRxRequest, NetifRxResponse } from '../rings.ts';
import type { Link, PacketSender } from '../link.ts';
import type { LocalPacket } from '../memory/local-packet.ts';
import { rxFlags } from '../packet.ts';
import type { Traffic } from '../stats.ts';
import type { Delivery, SlotResults } from './delivery.ts';

export class RxSender implements PacketSender {
  readonly #link: Link;
  readonly #ring: BackRing<NetifRxRequest, NetifRxResponse>;
  readonly #delivery: Delivery;
  readonly #traffic: Traffic;
  readonly #response: NetifRxResponse;
  readonly #results: SlotResults;
  readonly #queue: LocalPacket[] = [];
  #queuedSlots = 0;
  /** Requests that were there when last looked. */
  #seenRequests = 0;

  constructor(
    link: Link,
    ring: BackRing<NetifRxRequest, NetifRxResponse>,
    delivery: Delivery,
    traffic: Traffic,
  ) {
    this.#link = link;
    this.#ring = ring;
    this.#delivery = delivery;
    this.#traffic = traffic;
    this.#response = ring.layout.newResponse();
    this.#results = { offset: new Uint16Array(ring.size), status: new Int16Array(ring.size) };
  }

  /** What was not flushed yet: nobody has to answer afterwards. */
  get inFlight(): number {
    return this.#queuedSlots;
  }

  slotsFor(packet: LocalPacket): number {
    return this.#delivery.slotsFor(packet);
  }

  hasRoom(slots: number): boolean {
    const wanted = this.#queuedSlots + slots;
    if (this.#seenRequests < wanted) this.#seenRequests = this.#ring.unconsumedRequests;
    return this.#seenRequests >= wanted;
  }

  awaitRoom(slots: number): boolean {
    const { shared, reqCons } = this.#ring;
    // As RING_FINAL_CHECK_FOR_REQUESTS, but the event comes with the last of the requests that are needed.
    shared.reqEvent = add(reqCons, this.#queuedSlots + slots);
    return this.hasRoom(slots);
  }

  send(packet: LocalPacket): void {
    this.#queue.push(packet);
    this.#queuedSlots += this.#delivery.slotsFor(packet);
  }

  flush(): string | undefined {
    if (this.#queuedSlots === 0) return undefined;
    const { items, count, fault } = this.#ring.drainRequests(this.#queuedSlots);
    if (fault) return describeRingFault(fault);
    if (count < this.#queuedSlots) return 'requests that had been made are gone';
    this.#seenRequests -= count;
    let at = 0;
    for (const packet of this.#queue) {
      this.#delivery.add(packet, items, at);
      at += this.#delivery.slotsFor(packet);
    }
    this.#delivery.commit(this.#results);
    this.#traffic.batches++;
    this.#respond(items);
    this.#queue.length = 0;
    this.#queuedSlots = 0;
    return undefined;
  }

  reap(): undefined {
    return undefined;
  }

  close(): number {
    for (const packet of this.#queue) {
      this.#traffic.drop('disconnected');
      this.#link.packets.release(packet);
    }
    this.#queue.length = 0;
    return 0;
  }

  #respond(requests: readonly NetifRxRequest[]): void {
    const ring = this.#ring;
    const response = this.#response;
    const { offset, status } = this.#results;
    let at = 0;
    for (const packet of this.#queue) {
      const slots = this.#delivery.slotsFor(packet);
      let lost = false;
      for (let k = 0; k < slots; k++, at++) {
        lost ||= status[at]! < 0;
        response.id = requests[at]!.id;
        response.offset = offset[at]!;
        response.flags = rxFlags(k, slots);
        response.status = status[at]!;
        ring.put(response);
      }
      if (lost) this.#traffic.drop(this.#delivery.failure);
      else this.#traffic.count(packet.totalBytes, slots);
      this.#delivery.finish(packet);
    }
    this.#link.port.notifyIf(ring.pushResponsesAndCheckNotify());
  }
}
