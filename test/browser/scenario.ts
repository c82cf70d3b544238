/** The demo's scenario on memory disks, in whatever engine this runs. */
import { createMachine } from '@ringside/gnttab-core';
import { type DemoResult, runDemo } from '@ringside/ringside';

export interface Outcome {
  /** Which kind of buffer the machine's memory is. */
  readonly memory: string;
  /** How many trace records the run wrote, and a hash of all that they say. */
  readonly traceRecords: number;
  readonly traceHash: number;
  readonly demo: DemoResult;
}

/** With the seeded scheduler: a run that every engine must repeat to the last trace record. */
export async function seededDemo(seed: number): Promise<Outcome> {
  const machine = createMachine({ seed });
  let [traceRecords, traceHash] = [0, 0];
  const { trace } = machine;
  trace.enabled = true;
  trace.onRecords = (records) => {
    traceRecords += records.length;
    for (const { timeNs, kind, domid, args } of records) {
      for (const word of [timeNs, kind, domid, ...Object.values(args)]) {
        traceHash = Math.imul(traceHash ^ word, 0x0100_0193);
      }
    }
  };
  const demo = await runDemo({ machine, diskBytes: 1 << 20, frames: 500, pings: 50 });
  trace.flush();
  const memory = Object.prototype.toString
    .call(machine.heap.u8.buffer)
    .slice('[object '.length, -1);
  return { memory, traceRecords, traceHash, demo };
}

/** With the real scheduler, as whoever opens the page would run it. */
export async function wholeDemo() {
  const { ok, failures, verifiedBytes } = await runDemo();
  return { ok, failures, verifiedBytes };
}
