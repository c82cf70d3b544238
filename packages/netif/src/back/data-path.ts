/**
 * A connected backend: a port of the bridge on one side, the rings of one guest on the other. Synchronous; the
 * machine's scheduler says when it works.
 *
 * It takes from the guest only what the bridge takes from it: while a packet is held, the rings are left alone, so
 * that the guest itself is held back. Towards the guest packets wait in a bounded queue.
 */
import type { Bridge, BridgePort } from '../bridge.ts';
import type { Link, PacketReceiver, PacketSender } from '../link.ts';
import type { LocalPacket } from '../memory/local-packet.ts';
import type { DropReason, Traffic } from '../stats.ts';
import { coalesced, onceThereIsMemory } from '../work.ts';
import { GuestQueue } from './guest-queue.ts';

export interface BackDataPathParts {
  readonly link: Link;
  readonly bridge: Bridge<LocalPacket>;
  readonly receiver: PacketReceiver;
  readonly sender: PacketSender;
  /** From the guest: what the bridge was given, and what was dropped before. */
  readonly fromGuest: Traffic;
  /** To the guest: what it got, and what was dropped on the way. */
  readonly toGuest: Traffic;
  /** Whether the guest takes packets of several slots. */
  readonly scatterGather: boolean;
  readonly limitSlots: number;
  readonly stallNs: number;
  /** The guest broke the protocol; its vif is dead, the others live. */
  readonly onBroken: (reason: string) => void;
}

export class BackDataPath implements BridgePort<LocalPacket> {
  readonly #parts: BackDataPathParts;
  readonly #schedule: () => void;
  readonly #retry: () => void;
  readonly #queue: GuestQueue;
  /** Came from the guest and waits for the bridge; from `#backlogHead` on. */
  readonly #backlog: LocalPacket[] = [];
  #backlogHead = 0;
  #open = true;

  constructor(parts: BackDataPathParts) {
    const { bridge, link, limitSlots, stallNs } = parts;
    const { scheduler, clock } = link.guest.machine;
    this.#parts = parts;
    this.#schedule = coalesced(link.guest, () => this.#work());
    this.#retry = onceThereIsMemory(link.guest, this.#schedule);
    this.#queue = new GuestQueue({
      limitSlots,
      stallNs,
      nowNs: () => clock.nowNs(),
      sleep: (ns) => scheduler.sleep(ns),
      onRoom: () => bridge.resume(),
    });
    bridge.addPort(this);
    link.port.events$.subscribe(this.#schedule);
    this.#schedule();
  }

  get holding(): boolean {
    return this.#queue.holding;
  }

  /** True while the guest does not read and loses packets for it. */
  get stalled(): boolean {
    return this.#queue.stalled;
  }

  output(packet: LocalPacket): void {
    if (!this.#open) return this.#drop(packet, 'disconnected');
    const { sender, scatterGather } = this.#parts;
    const slots = sender.slotsFor(packet);
    if (slots > 1 && !scatterGather) return this.#drop(packet, 'one slot only');
    while (!this.#queue.push(packet, slots))
      this.#drop(this.#queue.dropOldest()!, 'receiver stalled');
    this.#schedule();
  }

  resume(): void {
    this.#schedule();
  }

  /** Drops and counts what waited, and takes everything back, as `PacketReceiver.close`. */
  close(): number {
    const { link, fromGuest, sender, receiver } = this.#parts;
    this.stop();
    for (let packet = this.#queue.shift(); packet; packet = this.#queue.shift()) {
      this.#drop(packet, 'disconnected');
    }
    for (const packet of this.#backlog.splice(0).slice(this.#backlogHead)) {
      fromGuest.lose(packet.totalBytes, 'disconnected');
      link.packets.release(packet);
    }
    return sender.close() + receiver.close();
  }

  /** Moves nothing any more, and leaves the bridge, so that nobody waits for this guest; the rings stay as they are. */
  stop(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#parts.bridge.removePort(this);
  }

  /** Drops a packet for the guest. */
  #drop(packet: LocalPacket, reason: DropReason): void {
    this.#parts.toGuest.drop(reason);
    this.#parts.link.packets.release(packet);
  }

  #work(): void {
    if (!this.#open) return;
    const broken = this.#deliver() ?? this.#collect();
    if (!broken) return;
    this.stop();
    this.#parts.onBroken(broken);
  }

  /** Hands the guest what waits for it, as far as it has offered pages. */
  #deliver(): string | undefined {
    const { sender } = this.#parts;
    for (;;) {
      const slots = this.#queue.nextSlots;
      if (slots === 0) break;
      if (!sender.hasRoom(slots) && !sender.awaitRoom(slots)) break;
      sender.send(this.#queue.shift()!);
    }
    return sender.flush() ?? sender.reap();
  }

  /** Takes what the guest has sent, unless the bridge does not take what it sent before. */
  #collect(): string | undefined {
    const { receiver } = this.#parts;
    if (!this.#forward()) return undefined;
    const broken = receiver.receive(this.#keep);
    const moved = this.#forward();
    if (broken) return broken;
    if (!receiver.replenish()) this.#retry();
    if (moved && receiver.finalCheck()) this.#schedule();
    return undefined;
  }

  readonly #keep = (packet: LocalPacket): void => {
    this.#backlog.push(packet);
  };

  /** Gives the bridge what came from the guest; false if it holds some of it. */
  #forward(): boolean {
    const { bridge } = this.#parts;
    const backlog = this.#backlog;
    for (; this.#backlogHead < backlog.length; this.#backlogHead++) {
      if (bridge.forward(this, backlog[this.#backlogHead]!) === 'held') return false;
    }
    backlog.length = this.#backlogHead = 0;
    return true;
  }
}
