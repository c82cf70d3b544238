/**
 * What a vif end counts. For each direction: frames in = frames out + frames dropped, each with its reason.
 */
import type { Trace } from '@ringside/gnttab-core';
import { refusals } from './packet.ts';
import type { RefusalReason } from './packet.ts';

/** Why a frame that was accepted did not get through; the codec's refusals and what only drivers see. */
export const dropReasons = {
  ...Object.fromEntries(
    Object.entries(refusals).map(([reason, { sentence }]) => [reason, sentence]),
  ),
  'no frame': 'the peer answered without handing over a frame',
  'no memory': 'the domain has no page left for it',
  'data not copied': 'the hypervisor refused to copy (a grant of the peer was bad)',
  'data not transferred': 'the hypervisor refused to transfer (a grant of the peer was bad)',
  'receiver stalled': 'the guest it was for did not read for too long',
  disconnected: 'the connection ended before it was delivered',
} as Record<DropReason, string>;

export type DropReason =
  | RefusalReason
  | 'no frame'
  | 'no memory'
  | 'data not copied'
  | 'data not transferred'
  | 'receiver stalled'
  | 'disconnected';

const reasonNumbers = new Map(Object.keys(dropReasons).map((reason, number) => [reason, number]));

/** Where the traffic of one direction of one end is traced. */
export interface TrafficTrace {
  readonly trace: Trace;
  /** The domain that counts. */
  readonly domid: number;
  /** The vif: its frontend's domain, its number. */
  readonly front: number;
  readonly handle: number;
  /** Trace kinds of a frame that passed and of one that was dropped. */
  readonly passed: number;
  readonly dropped: number;
}

/** One direction of one end. */
export class Traffic {
  frames = 0;
  bytes = 0;
  slots = 0;
  /** Hypercalls that moved the data: each carries a batch. */
  batches = 0;
  readonly dropped: Partial<Record<DropReason, number>> = {};
  readonly #trace: TrafficTrace;

  constructor(trace: TrafficTrace) {
    this.#trace = trace;
  }

  count(bytes: number, slots: number): void {
    this.frames++;
    this.bytes += bytes;
    this.slots += slots;
    const { trace, domid, front, handle, passed } = this.#trace;
    trace.emit(passed, domid, front, handle, bytes, slots);
  }

  /** Takes back a count: the frame did not get through after all. */
  lose(bytes: number, reason: DropReason): void {
    this.frames--;
    this.bytes -= bytes;
    this.drop(reason);
  }

  drop(reason: DropReason): void {
    this.dropped[reason] = (this.dropped[reason] ?? 0) + 1;
    const { trace, domid, front, handle, dropped } = this.#trace;
    trace.emit(dropped, domid, front, handle, reasonNumbers.get(reason)!);
  }

  /** Frames dropped for any reason. */
  get droppedFrames(): number {
    return Object.values(this.dropped).reduce((sum, frames) => sum + frames, 0);
  }
}
