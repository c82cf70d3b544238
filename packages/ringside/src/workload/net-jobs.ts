/** Network workloads between two guests: a stream of frames one way, and echoes there and back. */
import { type Netfront, parseMac } from '@ringside/netif';
import type { Guest } from '@ringside/gnttab-core';
import { FrameMaker, type Station } from './frames.ts';
import { LatencyHistogram } from './latency.ts';
import { FrameCheck, type NetResult } from './net-result.ts';
import { progressing } from './patience.ts';
import { Progress } from './progress.ts';
import { perSecond } from './rates.ts';
import { WORKLOAD_TRACE } from './trace-kinds.ts';

/** A guest on the network, and what a workload needs of its vif. */
export interface NetEnd {
  readonly guest: Guest;
  readonly vif: Pick<Netfront, 'mac' | 'packets$' | 'send' | 'sendAll' | 'room' | 'flush'>;
}

/** How much is sent, and between whom. */
export interface NetJob {
  readonly from: NetEnd;
  readonly to: NetEnd;
  /** Frames to send. Default: 20,000 (bulk), 1000 (ping). */
  readonly count?: number | undefined;
  /** Bytes of a frame without its check sequence. Default: 1514 (bulk), 98 (ping, as ping's own default). */
  readonly frameBytes?: number | undefined;
  /** Of the bytes in the frames. */
  readonly seed: number;
  readonly progress?: Progress | undefined;
}

/** 10.0.0.DOMID */
const stationOf = ({ guest, vif }: NetEnd): Station => ({
  mac: parseMac(vif.mac) ?? 0,
  address: 0x0a00_0000 + guest.id,
});

/** Sends `count` UDP datagrams as fast as they go; each must arrive once, in order, byte for byte. */
export async function runBulk(job: NetJob): Promise<NetResult> {
  const { from, to, count = 20_000, frameBytes = 1514, seed, progress = new Progress() } = job;
  const { clock, scheduler, trace } = to.guest.machine;
  const make = () => new FrameMaker('udp', stationOf(from), stationOf(to), frameBytes, seed);
  const [sent, expected] = [make(), make()];
  const sentNs = new Float64Array(count);
  const latency = new LatencyHistogram();
  const check = new FrameCheck();
  let received = 0;
  let lastNs = 0;
  let finish = (): void => {};
  const all = new Promise<void>((resolve) => (finish = resolve));
  const subscription = to.vif.packets$.subscribe((frames) => {
    lastNs = clock.nowNs();
    for (const frame of frames) {
      trace.emit(WORKLOAD_TRACE.frameReceive, to.guest.id, received, frame.length);
      latency.record(lastNs - sentNs[received]!);
      check.compare(received, frame, expected.frame(received));
      received++;
    }
    progress.advance(frames.length);
    if (received >= count) finish();
  });
  progress.begin('bulk', count, 'frames');
  const startNs = clock.nowNs();
  const { refused } = await from.vif.sendAll(
    (function* () {
      for (let n = 0; n < count; n++) {
        sentNs[n] = clock.nowNs();
        trace.emit(WORKLOAD_TRACE.frameSend, from.guest.id, n, frameBytes);
        yield sent.frame(n);
      }
    })(),
  );
  await progressing(scheduler, all, () => received);
  subscription.unsubscribe();
  check.arrived(received, count - refused.length);
  const elapsedNs = Math.max(0, lastNs - startNs);
  return {
    workload: 'bulk',
    frames: received,
    bytes: received * frameBytes,
    elapsedNs,
    perSecond: perSecond(received, received * frameBytes, elapsedNs),
    latencyNs: latency.summary(),
    verifiedBytes: check.verifiedBytes,
    refused,
    failures: check.failures,
  };
}

/** Sends ICMP echo requests one after the other, each answered by the other guest; both ways are compared. */
export async function runPing(job: NetJob): Promise<NetResult> {
  const { from, to, count = 1000, frameBytes = 98, seed, progress = new Progress() } = job;
  const { clock, scheduler, trace } = from.guest.machine;
  const [here, there] = [stationOf(from), stationOf(to)];
  const requests = [0, 1].map(() => new FrameMaker('echo request', here, there, frameBytes, seed));
  const replies = [0, 1].map(() => new FrameMaker('echo reply', there, here, frameBytes, seed));
  const latency = new LatencyHistogram();
  const check = new FrameCheck();
  let [asked, answered, replied, sentNs] = [0, 0, 0, 0];
  let finish = (): void => {};
  const all = new Promise<void>((resolve) => (finish = resolve));

  const ask = (): void => {
    sentNs = clock.nowNs();
    trace.emit(WORKLOAD_TRACE.pingSend, from.guest.id, asked);
    send(from, requests[0]!.frame(asked++));
  };
  const send = ({ vif }: NetEnd, frame: Uint8Array): void => {
    const outcome = vif.send(frame);
    if (outcome === 'sent') return vif.flush();
    check.fail(outcome === 'full' ? 'no room for one frame' : `refused: ${outcome.reason}`);
    finish();
  };
  const subscriptions = [
    to.vif.packets$.subscribe((frames) => {
      for (const frame of frames) {
        check.compare(answered, frame, requests[1]!.frame(answered));
        send(to, replies[0]!.frame(answered++));
      }
    }),
    from.vif.packets$.subscribe((frames) => {
      for (const frame of frames) {
        latency.record(clock.nowNs() - sentNs);
        trace.emit(WORKLOAD_TRACE.pingReply, from.guest.id, replied);
        check.compare(replied, frame, replies[1]!.frame(replied));
        replied++;
      }
      progress.advance(frames.length);
      if (replied >= count) finish();
      else ask();
    }),
  ];
  progress.begin('ping', count, 'frames');
  const startNs = clock.nowNs();
  ask();
  await progressing(scheduler, all, () => replied);
  const elapsedNs = clock.nowNs() - startNs;
  for (const subscription of subscriptions) subscription.unsubscribe();
  check.arrived(replied, count);
  return {
    workload: 'ping',
    frames: replied * 2,
    bytes: replied * 2 * frameBytes,
    elapsedNs,
    perSecond: perSecond(replied * 2, replied * 2 * frameBytes, elapsedNs),
    latencyNs: latency.summary(),
    verifiedBytes: check.verifiedBytes,
    refused: [],
    failures: check.failures,
  };
}
