/** Results as tables for people. */
import { counterNames, type CounterName } from '@ringside/gnttab-core';
import type { RefusedFrame } from '@ringside/netif';
import { dropReasons } from '@ringside/netif';
import type { DomainReport } from '../scenario/bring-up.ts';
import type { DiskResult } from '../workload/disk-job.ts';
import type { LatencySummary } from '../workload/latency.ts';
import type { NetResult } from '../workload/net-result.ts';
import { bytes, count, counted, duration, size, table } from './format.ts';

/** The percentiles that fit a line; `--json` has all. */
const LATENCIES = ['p50', 'p99', 'p99.9'] as const;

const latencyCells = (latency: LatencySummary): string[] =>
  LATENCIES.map((name) => duration(latency[name]));

/** A line for each disk workload. */
export function diskTable(
  results: readonly (DiskResult & { readonly domain: string })[],
): string[] {
  const rows = results.map((result) => [
    result.domain,
    `${result.workload} ${size(result.blockBytes)} qd${result.iodepth}`,
    count(result.requests),
    bytes(result.bytes),
    count(result.perSecond.requests),
    `${bytes(result.perSecond.bytes)}/s`,
    ...latencyCells(result.latencyNs),
  ]);
  const head = ['disk', 'workload', 'requests', 'bytes', 'IOPS', 'throughput', ...LATENCIES];
  return table([head, ...rows], ['left', 'left']);
}

/** A network workload and where it went. */
export type NetRun = NetResult & {
  readonly from: string;
  readonly to: string;
  readonly modes: { readonly tx: string; readonly rx: string };
};

/** A line for each network workload. */
export function netTable(results: readonly NetRun[]): string[] {
  const rows = results.map((result) => [
    `${result.from} → ${result.to}`,
    result.workload,
    `${result.modes.tx} → ${result.modes.rx}`,
    count(result.frames),
    bytes(result.bytes),
    count(result.perSecond.requests),
    `${bytes(result.perSecond.bytes)}/s`,
    ...latencyCells(result.latencyNs),
  ]);
  const head = [
    'network',
    'workload',
    'tx → rx',
    'frames',
    'bytes',
    'frames/s',
    'throughput',
    ...LATENCIES,
  ];
  return table([head, ...rows], ['left', 'left', 'left']);
}

/** What the counters are called. */
const COUNTERS: Readonly<Record<CounterName, string>> = {
  hypercalls: 'hypercalls',
  grants: 'grants',
  grantEnds: 'grants ended',
  maps: 'maps',
  unmaps: 'unmaps',
  copies: 'copies',
  copiedBytes: 'bytes copied',
  transfers: 'transfers',
  revocations: 'grants taken back',
  notificationsSent: 'notifications sent',
  notificationsSuppressed: 'notifications suppressed',
  upcalls: 'upcalls',
  mmuUpdates: 'page table updates',
  reservationChanges: 'reservation changes',
};

/** What each domain asked of the hypervisor. */
export function counterTable(domains: readonly DomainReport[]): string[] {
  const rows = counterNames.map((name) => {
    const values = domains.map(({ counters }) => counters[name]);
    const sum = values.reduce((total, value) => total + value, 0);
    return [COUNTERS[name], ...[...values, sum].map(count)];
  });
  return table([['hypervisor', ...domains.map(({ name }) => name), 'total'], ...rows]);
}

const MAX_LISTED = 20;

/** A line for each frame that could not be sent: its number as analysers count, from 1, and its size. */
export function refusedLines(refused: readonly RefusedFrame[]): string[] {
  const lines = refused
    .slice(0, MAX_LISTED)
    .map(
      ({ frameNumber, lengthBytes, reason }) =>
        `refused: frame ${frameNumber} of ${counted(lengthBytes, 'byte')}: ${dropReasons[reason]}`,
    );
  const more = refused.length - lines.length;
  return more > 0 ? [...lines, `refused: ${counted(more, 'more frame')}`] : lines;
}
