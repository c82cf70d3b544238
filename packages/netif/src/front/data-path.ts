/** A connected frontend: frames in, slots out, and back. Synchronous; the machine's scheduler says when it works. */
import type { Link, PacketReceiver, PacketSender } from '../link.ts';
import type { LocalPacket } from '../memory/local-packet.ts';
import { refusalToSend, slotsFor } from '../packet.ts';
import type { RefusalReason } from '../packet.ts';
import { coalesced, onceThereIsMemory } from '../work.ts';

/** A frame that was not sent, and why: `frameNumber` counts the frames given to `send`, from 0. */
export interface RefusedFrame {
  readonly reason: RefusalReason | 'no memory' | 'disconnected';
  readonly frameNumber: number;
  readonly lengthBytes: number;
}

/** `sent`: taken over. `full`: not now, wait for room and offer it again. Else: never. */
export type SendOutcome = 'sent' | 'full' | RefusedFrame;

export interface FrontDataPathParts {
  readonly link: Link;
  readonly sender: PacketSender;
  readonly receiver: PacketReceiver;
  /** Whether the backend takes packets of several slots. */
  readonly scatterGather: boolean;
  /** Whether the frames are the listener's to keep; otherwise they are good until it returns. */
  readonly keepFrames: boolean;
  /** Gets what was received, batch by batch. */
  readonly onFrames: (frames: readonly Uint8Array[]) => void;
  /** Something may have been counted. */
  readonly onWork: () => void;
  /** The other end broke the protocol; nothing moves any more. */
  readonly onBroken: (reason: string) => void;
}

export class FrontDataPath {
  /** Frames that were refused, by reason. */
  readonly refused: Partial<Record<RefusedFrame['reason'], number>> = {};
  readonly #parts: FrontDataPathParts;
  readonly #schedule: () => void;
  readonly #retry: () => void;
  readonly #received: LocalPacket[] = [];
  #receivedBytes = 0;
  #scratch = new Uint8Array();
  #offered = 0;
  /** Slots that whoever waits to send needs; 0 if nobody waits. */
  #wantedSlots = 0;
  #wake: (() => void)[] = [];
  #wakeIdle: (() => void)[] = [];
  /** Why nothing moves any more. */
  #stopped: string | undefined;
  /** The other end broke the protocol: its rings are not looked at again. */
  #broken = false;

  constructor(parts: FrontDataPathParts) {
    this.#parts = parts;
    this.#schedule = coalesced(parts.link.guest, () => this.#work());
    this.#retry = onceThereIsMemory(parts.link.guest, this.#schedule);
    parts.link.port.events$.subscribe(this.#schedule);
    this.#schedule();
  }

  /** Takes a copy of the frame. It leaves with the next `flush`, which comes by itself soon. */
  send(frame: Uint8Array): SendOutcome {
    const { sender, link, scatterGather } = this.#parts;
    const slots = slotsFor(frame.length);
    const refusal = this.#stopped
      ? 'disconnected'
      : refusalToSend(frame.length, slots, scatterGather);
    if (refusal) return this.#refuse(frame, refusal);
    if (!this.#hasRoom(slots)) return 'full';
    const packet = link.packets.store(frame);
    if (!packet) {
      if (sender.inFlight === 0) return this.#refuse(frame, 'no memory');
      this.#wantedSlots = Math.max(this.#wantedSlots, slots);
      return 'full';
    }
    this.#offered++;
    sender.send(packet);
    this.#schedule();
    return 'sent';
  }

  /** Resolves when it is worth calling `send` again after `full`, and when the connection is over. */
  room(): Promise<void> {
    if (this.#wantedSlots === 0 || this.#stopped) return Promise.resolve();
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  /** Resolves when the other end is done with everything sent, and when the connection is over. */
  idle(): Promise<void> {
    if (this.#parts.sender.inFlight === 0 || this.#stopped) return Promise.resolve();
    return new Promise((resolve) => this.#wakeIdle.push(resolve));
  }

  /** Hands what was sent to the other end now. */
  flush(): void {
    if (!this.#stopped) this.#end(this.#parts.sender.flush());
  }

  /** Hands on what came before the end. Only after `stop`, when the other end has let go of the rings. */
  drain(): void {
    if (this.#broken) return;
    this.#parts.receiver.receive(this.#collect);
    this.#emit();
  }

  /** Moves nothing any more, for good. */
  stop(reason: string): void {
    this.#stopped ??= reason;
    this.#wake = wakeAll(this.#wake);
    this.#wakeIdle = wakeAll(this.#wakeIdle);
  }

  #refuse(frame: Uint8Array, reason: RefusedFrame['reason']): RefusedFrame {
    this.refused[reason] = (this.refused[reason] ?? 0) + 1;
    return { reason, frameNumber: this.#offered++, lengthBytes: frame.length };
  }

  #hasRoom(slots: number): boolean {
    const { sender } = this.#parts;
    if (sender.hasRoom(slots)) return true;
    this.flush();
    this.#end(sender.reap());
    if (sender.hasRoom(slots) || sender.awaitRoom(slots)) return true;
    this.#wantedSlots = Math.max(this.#wantedSlots, slots);
    return false;
  }

  #work(): void {
    if (this.#stopped) return;
    const { sender, receiver, onWork } = this.#parts;
    this.#end(sender.flush() ?? sender.reap() ?? receiver.receive(this.#collect));
    this.#emit();
    if (this.#stopped) return;
    if (!receiver.replenish()) this.#retry();
    if (receiver.finalCheck()) this.#schedule();
    if (this.#wantedSlots > 0 && sender.awaitRoom(this.#wantedSlots)) {
      this.#wantedSlots = 0;
      this.#wake = wakeAll(this.#wake);
    }
    if (sender.inFlight === 0) this.#wakeIdle = wakeAll(this.#wakeIdle);
    onWork();
  }

  readonly #collect = (packet: LocalPacket): void => {
    this.#received.push(packet);
    this.#receivedBytes += packet.totalBytes;
  };

  /** Copies what was received out of the pages, which go back to the pool, and hands it on. */
  #emit(): void {
    if (this.#received.length === 0) return;
    const { link, keepFrames, onFrames } = this.#parts;
    const bytes = keepFrames ? new Uint8Array(this.#receivedBytes) : this.#scratchBytes();
    const frames: Uint8Array[] = [];
    let at = 0;
    for (const packet of this.#received) {
      const frame = bytes.subarray(at, at + packet.totalBytes);
      packet.copyTo(link.packets.memory, frame, 0);
      at += packet.totalBytes;
      frames.push(frame);
      link.packets.release(packet);
    }
    this.#received.length = this.#receivedBytes = 0;
    onFrames(frames);
  }

  /** Room for a batch, used again for the next one. */
  #scratchBytes(): Uint8Array {
    if (this.#scratch.length < this.#receivedBytes) {
      this.#scratch = new Uint8Array(2 * this.#receivedBytes);
    }
    return this.#scratch;
  }

  #end(broken: string | undefined): void {
    if (!broken || this.#stopped) return;
    this.#broken = true;
    this.stop(broken);
    this.#parts.onBroken(broken);
  }
}

function wakeAll(waiting: readonly (() => void)[]): (() => void)[] {
  for (const resolve of waiting) resolve();
  return [];
}
