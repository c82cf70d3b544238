/** The revocation lab: who granted what to whom, who still maps it, and why an end is refused. */
export { momentLines, tableLines } from './dump.ts';
export { runDiskLab, runNetLab } from './devices.ts';
export {
  GrantHistory,
  type GrantRecord,
  type PastGrant,
  type PastMapping,
  type RefusedEnd,
} from './history.ts';
export { historyRows, refusedRows, type ReportFormat, revokedLines } from './history-report.ts';
export { type Lab, type Moment, namesOf, takeMoment } from './moment.ts';
export { runSharingLab } from './sharing.ts';
export { GrantTraceError, type GrantTrace, readGrantTrace } from './trace.ts';
