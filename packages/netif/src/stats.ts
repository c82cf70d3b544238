/**
 * What a vif end counts. For each direction: frames in = frames out + frames dropped, each with its reason.
 */
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

/** One direction of one end. */
export class Traffic {
  frames = 0;
  bytes = 0;
  slots = 0;
  /** Hypercalls that moved the data: each carries a batch. */
  batches = 0;
  readonly dropped: Partial<Record<DropReason, number>> = {};

  count(bytes: number, slots: number): void {
    this.frames++;
    this.bytes += bytes;
    this.slots += slots;
  }

  drop(reason: DropReason, frames = 1): void {
    this.dropped[reason] = (this.dropped[reason] ?? 0) + frames;
  }

  /** Frames dropped for any reason. */
  get droppedFrames(): number {
    return Object.values(this.dropped).reduce((sum, frames) => sum + frames, 0);
  }
}
