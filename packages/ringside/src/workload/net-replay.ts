/** A capture sent by one guest and received by another. */
import type { CapturedFrame, RefusedFrame } from '@ringside/netif';
import { LatencyHistogram } from './latency.ts';
import type { NetEnd } from './net-jobs.ts';
import { FrameCheck, type NetResult } from './net-result.ts';
import { progressing } from './patience.ts';
import { Progress } from './progress.ts';
import { perSecond } from './rates.ts';
import { WORKLOAD_TRACE } from './trace-kinds.ts';

/** A capture, and the two ends that it goes between. */
export interface ReplayJob {
  readonly from: NetEnd;
  readonly to: NetEnd;
  /** What to send. Errors of the source end the job and are thrown on. */
  readonly frames: Iterable<CapturedFrame> | AsyncIterable<CapturedFrame>;
  /** Gets every frame as it was received, with the time and wire length of the one that was sent. */
  readonly onFrame?: ((frame: CapturedFrame) => void) | undefined;
  readonly progress?: Progress | undefined;
}

/** A frame that was sent and has not arrived. */
interface UnderWay {
  readonly number: number;
  readonly original: CapturedFrame;
  readonly sentNs: number;
}

/** Sends every frame of a capture; each must arrive once, in order, byte for byte. */
export async function runReplay(job: ReplayJob): Promise<NetResult> {
  const { from, to, frames, onFrame, progress = new Progress() } = job;
  const { clock, scheduler, trace } = to.guest.machine;
  const check = new FrameCheck();
  const latency = new LatencyHistogram();
  /** Frames that were sent and have not arrived, in order. */
  const underWay: UnderWay[] = [];
  const refused: RefusedFrame[] = [];
  let [offered, received, bytes, lastNs] = [0, 0, 0, 0];
  let isAllSent = false;
  /** What `onFrame` threw. */
  let failed: unknown;
  let finish = (): void => {};
  const all = new Promise<void>((resolve) => (finish = resolve));

  const take = (frame: Uint8Array): void => {
    trace.emit(WORKLOAD_TRACE.frameReceive, to.guest.id, received, frame.length);
    received++;
    bytes += frame.length;
    const next = underWay.shift();
    if (next === undefined) return check.fail(`frame ${received} arrived and was not sent`);
    const { number, original, sentNs } = next;
    latency.record(lastNs - sentNs);
    check.compare(number, frame, original.bytes);
    onFrame?.({ ...original, bytes: frame });
  };
  const subscription = to.vif.packets$.subscribe((batch) => {
    lastNs = clock.nowNs();
    try {
      batch.forEach(take);
    } catch (error) {
      failed = error;
    }
    progress.advance(batch.length);
    if (failed !== undefined || (isAllSent && underWay.length === 0)) finish();
  });
  progress.begin('pcap', 0, 'frames');
  const startNs = clock.nowNs();
  try {
    for await (const original of frames) {
      const number = offered++;
      trace.emit(WORKLOAD_TRACE.frameSend, from.guest.id, number, original.bytes.length);
      let outcome = from.vif.send(original.bytes);
      while (outcome === 'full') {
        await from.vif.room();
        outcome = from.vif.send(original.bytes);
      }
      if (outcome === 'sent') underWay.push({ number, original, sentNs: clock.nowNs() });
      else refused.push(outcome);
      if (failed !== undefined) break;
    }
    from.vif.flush();
    isAllSent = true;
    if (underWay.length === 0) finish();
    await progressing(scheduler, all, () => received);
  } finally {
    subscription.unsubscribe();
  }
  if (failed !== undefined) throw failed;
  check.arrived(received, offered - refused.length);
  const elapsedNs = Math.max(0, lastNs - startNs);
  return {
    workload: 'pcap',
    frames: received,
    bytes,
    elapsedNs,
    perSecond: perSecond(received, bytes, elapsedNs),
    latencyNs: latency.summary(),
    verifiedBytes: check.verifiedBytes,
    refused,
    failures: check.failures,
  };
}
