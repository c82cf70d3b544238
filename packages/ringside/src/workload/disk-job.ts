/** Disk workloads in fio's words, over a blkfront's zero-copy interface. */
import type { Blkfront } from '@ringside/blkif';
import { BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_RSP_OKAY } from '@ringside/blkif/abi';
import { type Guest, seededRandom } from '@ringside/gnttab-core';
import { runBlockPass } from './block-pass.ts';
import { BlockSlot } from './block-slot.ts';
import { LatencyHistogram, type LatencySummary } from './latency.ts';
import { type BlockSource, firstDifference, hexByte, patternSource } from './pattern.ts';
import { JobError } from './job-error.ts';
import { permutation } from './permutation.ts';
import { Progress } from './progress.ts';
import { perSecond, type Rates } from './rates.ts';

/**
 * `read`, `write`: one block after the other. `randread`, `randwrite`: every block once, in random order. `verify`: reads
 * and compares with `expected`. `copy`: reads and hands to `into`. What is written is read back and compared.
 */
export const diskWorkloads = ['read', 'write', 'randread', 'randwrite', 'verify', 'copy'] as const;
/** One of `diskWorkloads`. */
export type DiskWorkload = (typeof diskWorkloads)[number];

/** Whether a workload changes the disk. */
export const isWriting = (workload: DiskWorkload): boolean => workload.endsWith('write');

/** Takes blocks: writes like a disk. */
export interface BlockSink {
  write(offsetBytes: number, views: readonly Uint8Array[]): void;
}

/** A workload, and what it works on. */
export interface DiskJob {
  readonly guest: Guest;
  readonly disk: Blkfront;
  readonly workload: DiskWorkload;
  /** Bytes of a request, a multiple of the disk's sector size, at most 1 MiB. Default: 4096. */
  readonly blockBytes?: number | undefined;
  /** Requests under way at once. Default: 32. */
  readonly iodepth?: number | undefined;
  /** How much of the disk, from its beginning. Default: all. */
  readonly sizeBytes?: number | undefined;
  /** Begin no more requests after this time of the machine's clock. Default: until all is done. */
  readonly runtimeNs?: number | undefined;
  /** Of the order and of the bytes written. */
  readonly seed: number;
  /** What every block read must be. Default: not compared. */
  readonly expected?: BlockSource | undefined;
  readonly into?: BlockSink | undefined;
  readonly progress?: Progress | undefined;
}

/** What a disk workload did. Times are of the machine's clock. */
export interface DiskResult {
  readonly workload: DiskWorkload;
  readonly blockBytes: number;
  readonly iodepth: number;
  readonly requests: number;
  readonly bytes: number;
  /** From the first request to the last answer, without reading back. */
  readonly elapsedNs: number;
  readonly perSecond: Rates;
  readonly latencyNs: LatencySummary;
  /** Bytes that were compared with what they must be, and are it. */
  readonly verifiedBytes: number;
  /** One line for each thing that was wrong; the job ends after ten. Empty: all is well. */
  readonly failures: readonly string[];
}

const MAX_FAILURES = 10;
const MAX_BLOCK_BYTES = 2 ** 20;
const MAX_IODEPTH = 4096;

/** Runs a workload to its end. Throws JobError for a job that cannot be, GuestMemoryError for one too large. */
export async function runDiskJob(job: DiskJob): Promise<DiskResult> {
  const { guest, disk, workload, blockBytes = 4096, iodepth = 32, seed } = job;
  const { sectors512, sectorSize, flush } = disk.properties;
  const { sizeBytes = sectors512 * 512, runtimeNs = Infinity } = job;
  check('bs', blockBytes, sectorSize, MAX_BLOCK_BYTES, sectorSize);
  check('iodepth', iodepth, 1, MAX_IODEPTH, 1);
  check('size', sizeBytes, sectorSize, sectors512 * 512, sectorSize);

  const writing = isWriting(workload);
  const { clock } = guest.machine;
  const blocks = Math.ceil(sizeBytes / blockBytes);
  const order = workload.startsWith('rand')
    ? permutation(blocks, seededRandom(seed))
    : (index: number) => index;
  const blockAt = (index: number) => {
    const offsetBytes = order(index) * blockBytes;
    return { offsetBytes, lengthBytes: Math.min(blockBytes, sizeBytes - offsetBytes) };
  };
  const written = patternSource(seed);
  const verifier = new Verifier(blockBytes);
  const latency = new LatencyHistogram();
  const progress = job.progress ?? new Progress();
  const slots = Array.from(
    { length: Math.min(iodepth, blocks) },
    () => new BlockSlot(guest, blockBytes),
  );
  const finish = (slot: BlockSlot, status: number, completed: () => void): boolean => {
    progress.advance(slot.lengthBytes);
    if (status === BLKIF_RSP_OKAY) completed();
    else
      verifier.failures.push(`${workload} of block at byte ${slot.offsetBytes}: status ${status}`);
    return status === BLKIF_RSP_OKAY && verifier.failures.length < MAX_FAILURES;
  };
  const parts = { guest, disk, slots, blockAt };
  try {
    progress.begin(workload, sizeBytes, 'bytes');
    const startNs = clock.nowNs();
    const main = await runBlockPass({
      ...parts,
      operation: writing ? BLKIF_OP_WRITE : BLKIF_OP_READ,
      blocks,
      endNs: startNs + runtimeNs,
      prepare: (slot) => {
        if (writing) written.read(slot.offsetBytes, slot.views('write'));
      },
      finish: (slot, status) =>
        finish(slot, status, () => {
          latency.record(slot.elapsedNs);
          if (writing) return;
          if (job.expected !== undefined) verifier.compare(slot, job.expected);
          job.into?.write(slot.offsetBytes, slot.views('read'));
        }),
    });
    const elapsedNs = clock.nowNs() - startNs;
    if (writing && verifier.failures.length === 0) {
      if (flush) await disk.flush();
      progress.begin('verify', main.bytes, 'bytes');
      await runBlockPass({
        ...parts,
        operation: BLKIF_OP_READ,
        blocks: main.requests,
        endNs: Infinity,
        prepare: () => {},
        finish: (slot, status) => finish(slot, status, () => verifier.compare(slot, written)),
      });
    }
    const { verifiedBytes, failures } = verifier;
    return {
      workload,
      blockBytes,
      iodepth,
      ...main,
      elapsedNs,
      perSecond: perSecond(main.requests, main.bytes, elapsedNs),
      latencyNs: latency.summary(),
      verifiedBytes,
      failures,
    };
  } finally {
    for (const slot of slots) slot.free();
  }
}

/** Compares what was read with what it must be. */
class Verifier {
  verifiedBytes = 0;
  readonly failures: string[] = [];
  readonly #expected: Uint8Array;

  constructor(blockBytes: number) {
    this.#expected = new Uint8Array(blockBytes);
  }

  compare(slot: BlockSlot, source: BlockSource): void {
    const expected = this.#expected.subarray(0, slot.lengthBytes);
    source.read(slot.offsetBytes, [expected]);
    let at = 0;
    for (const view of slot.views('read')) {
      const difference = firstDifference(view, expected.subarray(at, at + view.length));
      if (difference >= 0) {
        const [is, must] = [hexByte(view[difference]), hexByte(expected[at + difference])];
        const place = slot.offsetBytes + at + difference;
        this.failures.push(`byte ${place} of the disk is ${is}, expected ${must}`);
        return;
      }
      at += view.length;
    }
    this.verifiedBytes += slot.lengthBytes;
  }
}

function check(name: string, value: number, min: number, max: number, multipleOf: number): void {
  if (value >= min && value <= max && value % multipleOf === 0) return;
  const step = multipleOf === 1 ? 'whole numbers' : `multiples of ${multipleOf}`;
  throw new JobError(`${name} ${value}; allowed: ${step} from ${min} to ${max}`);
}
