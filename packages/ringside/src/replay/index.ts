/** Replays recordings of genuine hypervisor code against the machine; see docs/architecture.md. */
export type { Difference, Sha256, TraceResult } from './difference.ts';
export * from './evtchn/index.ts';
export * from './gnttab/index.ts';
export { RecordingError } from './reader.ts';
