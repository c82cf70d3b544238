/** What network workloads report, and how they check a frame. */
import type { RefusedFrame } from '@ringside/netif';
import type { LatencySummary } from './latency.ts';
import type { Rates } from './rates.ts';
import { firstDifference, hexByte } from './pattern.ts';

/** What a network workload did. Times are of the machine's clock. */
export interface NetResult {
  readonly workload: 'bulk' | 'ping' | 'pcap';
  /** Frames that arrived as they were sent. */
  readonly frames: number;
  readonly bytes: number;
  /** From the first frame sent to the last received. */
  readonly elapsedNs: number;
  readonly perSecond: Rates;
  /** Of each frame from end to end, or there and back (ping). */
  readonly latencyNs: LatencySummary;
  readonly verifiedBytes: number;
  /** Frames that the vif cannot carry. */
  readonly refused: readonly RefusedFrame[];
  /** One line for each thing that was wrong; at most ten. Empty: all is well. */
  readonly failures: readonly string[];
}

const MAX_FAILURES = 10;

/** Collects what is wrong with the frames of a job. */
export class FrameCheck {
  verifiedBytes = 0;
  readonly failures: string[] = [];

  /** Compares frame `number` with what it must be. */
  compare(number: number, frame: Uint8Array, expected: Uint8Array): void {
    const difference = firstDifference(frame, expected);
    if (frame.length !== expected.length) {
      this.fail(`frame ${number} has ${frame.length} bytes, expected ${expected.length}`);
    } else if (difference >= 0) {
      const [is, must] = [hexByte(frame[difference]), hexByte(expected[difference])];
      this.fail(`byte ${difference} of frame ${number} is ${is}, expected ${must}`);
    } else {
      this.verifiedBytes += frame.length;
    }
  }

  fail(line: string): void {
    if (this.failures.length < MAX_FAILURES) this.failures.push(line);
  }

  /** Notes that not all came. */
  arrived(frames: number, sent: number): void {
    if (frames !== sent) this.fail(`${frames} of ${sent} frames arrived`);
  }
}
