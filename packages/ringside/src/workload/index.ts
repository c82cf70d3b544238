/** Workloads: disk requests in fio's words, frames between guests; every byte is compared. */
export {
  type BlockSink,
  type DiskJob,
  type DiskResult,
  type DiskWorkload,
  diskWorkloads,
  isWriting,
  runDiskJob,
} from './disk-job.ts';
export { frameLimits } from './frames.ts';
export { JobError } from './job-error.ts';
export { LatencyHistogram, type LatencySummary } from './latency.ts';
export { type NetEnd, type NetJob, runBulk, runPing } from './net-jobs.ts';
export { type ReplayJob, runReplay } from './net-replay.ts';
export type { NetResult } from './net-result.ts';
export { type BlockSource, patternSource } from './pattern.ts';
export type { Rates } from './rates.ts';
export { Progress } from './progress.ts';
