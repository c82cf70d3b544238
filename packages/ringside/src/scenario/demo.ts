/**
 * The demo: a driver domain and two guests, each with a disk and a vif. Both disks work at once, then both guests send to
 * each other at once, then one pings the other; every byte that crosses is compared. Runs on memory disks, anywhere.
 */
import { type Blkfront, memoryDisk } from '@ringside/blkif';
import { createMachine, type Machine } from '@ringside/gnttab-core';
import type { Modes, Netfront } from '@ringside/netif';
import type { RunningDomain } from '../toolstack/index.ts';
import { type DiskResult, runDiskJob } from '../workload/disk-job.ts';
import { runBulk, runPing } from '../workload/net-jobs.ts';
import type { NetResult } from '../workload/net-result.ts';
import { patternSource } from '../workload/pattern.ts';
import { Progress } from '../workload/progress.ts';
import { bringUpHost, type DomainReport, plugDisk, plugVif, reportOf } from './bring-up.ts';

/** How large the demo is, and who follows it. */
export interface DemoOptions {
  /** Default: a machine without a seed. It must be new. */
  readonly machine?: Machine;
  /** Bytes of each guest's disk, a multiple of 4096. Default: 32 MiB. */
  readonly diskBytes?: number;
  /** Frames that each guest sends. Default: 20,000. */
  readonly frames?: number;
  /** Echo requests. Default: 1000. */
  readonly pings?: number;
  /** Called at each step with what begins. */
  readonly onStep?: (step: DemoStep, progress: readonly Progress[]) => void;
}

/** What the demo does, in order. */
export const demoSteps = ['connect', 'disk', 'net', 'ping', 'disconnect'] as const;
/** One of `demoSteps`. */
export type DemoStep = (typeof demoSteps)[number];

/** What crossed, how fast, and whether it was right. Times are of the machine's clock. */
export interface DemoResult {
  /** True if every byte was right. */
  readonly ok: boolean;
  readonly failures: readonly string[];
  readonly verifiedBytes: number;
  readonly disk: readonly (DiskResult & { readonly domain: string })[];
  readonly net: readonly (NetResult & {
    readonly from: string;
    readonly to: string;
    readonly modes: { readonly tx: Modes['tx']; readonly rx: Modes['rx'] };
  })[];
  readonly domains: readonly DomainReport[];
}

/** A guest with its devices. */
interface EquippedGuest {
  readonly domain: RunningDomain;
  readonly disk: Blkfront;
  readonly vif: Netfront;
}

/** Runs the demo to its end. */
export async function runDemo(options: DemoOptions = {}): Promise<DemoResult> {
  const { diskBytes = 32 << 20, frames = 20_000, pings = 1000, onStep } = options;
  const machine = options.machine ?? createMachine();
  const random = machine.random.fork('demo');
  const begin = (step: DemoStep): readonly [Progress, Progress] => {
    const progress = [new Progress(), new Progress()] as const;
    onStep?.(step, progress);
    return progress;
  };

  begin('connect');
  const host = await bringUpHost(machine);
  const contentSeed = random.u32();
  const content = new Uint8Array(diskBytes);
  patternSource(contentSeed).read(0, [content]);
  const equip = async (name: string, mode: Modes['rx']): Promise<EquippedGuest> => {
    const domain = await host.toolstack.createDomain({ name, pages: 2048 });
    const disk = await plugDisk(host, domain, memoryDisk({ content }));
    return { domain, disk, vif: await plugVif(host, domain, { rx: mode, tx: mode }) };
  };
  const [first, second] = [await equip('guest1', 'flip'), await equip('guest2', 'copy')];

  const diskJob = async (
    { domain, disk }: EquippedGuest,
    part: Progress,
    job: { workload: 'randread' | 'randwrite' },
  ) => {
    const { guest, name } = domain;
    const expected = patternSource(contentSeed);
    const seed = random.u32();
    const result = await runDiskJob({ ...job, guest, disk, seed, expected, progress: part });
    return { domain: name, ...result };
  };
  const [reading, writing] = begin('disk');
  const disk = await Promise.all([
    diskJob(first, reading, { workload: 'randread' }),
    diskJob(second, writing, { workload: 'randwrite' }),
  ]);

  const netJob = async (
    run: typeof runBulk,
    from: EquippedGuest,
    to: EquippedGuest,
    count: number,
    part: Progress,
  ) => {
    const end = ({ domain, vif }: EquippedGuest) => ({ guest: domain.guest, vif });
    const job = { from: end(from), to: end(to), count, seed: random.u32(), progress: part };
    const modes = { tx: from.vif.modes.tx, rx: to.vif.modes.rx };
    return { from: from.domain.name, to: to.domain.name, modes, ...(await run(job)) };
  };
  const [there, back] = begin('net');
  const bulk = await Promise.all([
    netJob(runBulk, first, second, frames, there),
    netJob(runBulk, second, first, frames, back),
  ]);
  const [pinging] = begin('ping');
  const net = [...bulk, await netJob(runPing, first, second, pings, pinging)];

  begin('disconnect');
  for (const { disk: front, vif } of [first, second])
    await Promise.all([front.close(), vif.close()]);
  const domains = [host.driver, first.domain, second.domain].map(reportOf);
  const results = [...disk, ...net];
  const failures = results.flatMap((result) => result.failures);
  const verifiedBytes = results.reduce((sum, result) => sum + result.verifiedBytes, 0);
  return { ok: failures.length === 0, failures, verifiedBytes, disk, net, domains };
}
