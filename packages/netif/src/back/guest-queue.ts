/**
 * What waits in the backend for a guest to offer pages. It is bounded. A full queue asks senders to wait until half of
 * it is gone, so that a guest which reads loses nothing; a guest that does not get that far within the stall time is
 * stalled: nobody waits for it any more, and the oldest packets give way to the newest (so that one which needs more
 * pages than the guest offers does not stay in front for ever), until the guest has read half of the queue.
 */
import type { LocalPacket } from '../memory/local-packet.ts';

export interface GuestQueueOptions {
  /** Slots that may wait; one packet may go over it. */
  readonly limitSlots: number;
  readonly stallNs: number;
  readonly nowNs: () => number;
  readonly sleep: (ns: number) => Promise<void>;
  /** Called when senders need not wait any longer. */
  readonly onRoom: () => void;
}

/** A timer that outlives its purpose does so no longer than this. */
const lookEveryNs = 20e6;

export class GuestQueue {
  readonly #options: GuestQueueOptions;
  readonly #packets: LocalPacket[] = [];
  readonly #slots: number[] = [];
  #head = 0;
  #queuedSlots = 0;
  #state: 'open' | 'holding' | 'stalled' = 'open';
  #heldSinceNs = 0;
  #timerRuns = false;

  constructor(options: GuestQueueOptions) {
    this.#options = options;
  }

  /** True while senders shall wait. */
  get holding(): boolean {
    return this.#state === 'holding';
  }

  get stalled(): boolean {
    return this.#state === 'stalled';
  }

  get length(): number {
    return this.#packets.length - this.#head;
  }

  /** Takes a packet over; false: the queue is full, and the packet still the caller's. */
  push(packet: LocalPacket, slots: number): boolean {
    if (this.#queuedSlots >= this.#options.limitSlots) return false;
    this.#packets.push(packet);
    this.#slots.push(slots);
    this.#queuedSlots += slots;
    if (this.#queuedSlots >= this.#options.limitSlots) this.#hold();
    return true;
  }

  /** Slots that the next packet takes; 0 if there is none. */
  get nextSlots(): number {
    return this.#slots[this.#head] ?? 0;
  }

  /** The packet in front, because the guest can take it. */
  shift(): LocalPacket | undefined {
    const packet = this.dropOldest();
    if (this.#state !== 'open' && this.#queuedSlots <= this.#options.limitSlots / 2) {
      this.#state = 'open';
      this.#options.onRoom();
    }
    return packet;
  }

  /** The packet in front, because it has waited too long. */
  dropOldest(): LocalPacket | undefined {
    const packet = this.#packets[this.#head];
    if (!packet) return undefined;
    this.#queuedSlots -= this.#slots[this.#head]!;
    this.#head++;
    if (this.#head === this.#packets.length) {
      this.#packets.length = this.#slots.length = this.#head = 0;
    } else if (this.#head >= 1024) {
      this.#packets.splice(0, this.#head);
      this.#slots.splice(0, this.#head);
      this.#head = 0;
    }
    return packet;
  }

  #hold(): void {
    if (this.#state !== 'open') return;
    this.#state = 'holding';
    this.#heldSinceNs = this.#options.nowNs();
    if (!this.#timerRuns) void this.#watch();
  }

  /** One timer at a time looks whether the guest has stalled. */
  async #watch(): Promise<void> {
    const { nowNs, sleep, stallNs, onRoom } = this.#options;
    this.#timerRuns = true;
    while (this.#state === 'holding') {
      const leftNs = this.#heldSinceNs + stallNs - nowNs();
      if (leftNs > 0) {
        await sleep(Math.min(leftNs, lookEveryNs));
      } else {
        this.#state = 'stalled';
        onRoom();
      }
    }
    this.#timerRuns = false;
  }
}
