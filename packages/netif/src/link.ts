/** What the data paths of one vif share: the domain they run in, its packets, and the way to the other end. */
import type { DomId, EventPort, Guest } from '@ringside/gnttab-core';
import type { LocalPacket, PacketPool } from './memory/local-packet.ts';

export interface Link {
  readonly guest: Guest;
  /** The other end's domain. */
  readonly peer: DomId;
  readonly port: EventPort;
  readonly packets: PacketPool;
}

/** Takes packets from the other end. */
export interface PacketReceiver {
  /**
   * Hands every packet that has come to `deliver`, which takes it over, and answers each slot.
   * @returns what the other end did that no honest one does; the connection is lost then.
   */
  receive(deliver: (packet: LocalPacket) => void): string | undefined;
  /** Before waiting for an event: true if something has come in the meantime. */
  finalCheck(): boolean;
  /**
   * Offers the other end as many pages as its ring holds. False if it has none at all, because the domain is out of
   * memory: no event will ever come then, so it is to be tried again.
   */
  replenish(): boolean;
  /** Takes back what is with the other end. Answers how many pages it does not let go of. */
  close(): number;
}

/** Sends packets to the other end. */
export interface PacketSender {
  /** How many slots `packet` takes on the ring. */
  slotsFor(packet: LocalPacket): number;
  /** True if a packet of so many slots can be sent now. */
  hasRoom(slots: number): boolean;
  /** Asks for an event when there is room; true if there is some already. */
  awaitRoom(slots: number): boolean;
  /** Takes the packet over. The caller has made sure that there is room. */
  send(packet: LocalPacket): void;
  /** Moves everything sent since the last time in one hypercall, and tells the other end. Returns as `receive`. */
  flush(): string | undefined;
  /** Takes back what the other end is done with. Returns as `receive`. */
  reap(): string | undefined;
  /** Slots that the other end is not done with. */
  readonly inFlight: number;
  /** As of `PacketReceiver`. */
  close(): number;
}
