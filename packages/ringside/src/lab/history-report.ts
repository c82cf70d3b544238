/** What a trace tells of grants, for people. */
import type { DomainName } from '@ringside/gnttab-core';
import { count, type TimeFormat } from '../cli/format.ts';
import type { GrantHistory, PastGrant, PastMapping, RefusedEnd } from './history.ts';
import { userWords } from './user-words.ts';

/** What a report calls domains, and how it writes times. */
export interface ReportFormat {
  readonly nameOf: DomainName;
  readonly times: TimeFormat;
}

/** As a dump of the tables has it. */
const KINDS: Readonly<Record<PastGrant['kind'], string>> = {
  access: 'GTF_permit_access',
  'read-only': 'GTF_permit_access GTF_readonly',
  'sub-page': 'GTF_permit_access GTF_sub_page',
  transitive: 'GTF_transitive',
  transfer: 'GTF_accept_transfer',
  unknown: 'not in the trace',
};

/**
 * A row of cells for each mapping of each grant that stands, a heading first. Neighbours that nobody maps and that are
 * alike but for their time share one.
 */
export function historyRows(history: GrantHistory, format: ReportFormat): string[][] {
  const { nameOf } = format;
  const { grants } = history;
  const rows: string[][] = [];
  for (let i = 0; i < grants.length;) {
    const grant = grants[i]!;
    const mappings = history.mappingsOf(grant);
    const run = mappings.length > 0 ? 1 : runLength(history, grants, i, format);
    const cells = [
      nameOf(grant.granter),
      run === 1 ? `${grant.ref}` : `${grant.ref}-${grant.ref + run - 1}`,
      kindCell(grant, format),
      nameOf(grant.to),
      sinceCell(grants.slice(i, i + run), format),
    ];
    const users = mappings.map((mapping) => mappingText(mapping, nameOf));
    rows.push([...cells, users[0] ?? 'nobody']);
    for (const user of users.slice(1)) rows.push([...cells.map(() => ''), user]);
    i += run;
  }
  return rows.length === 0
    ? []
    : [['granter', 'ref', 'grant', 'to', 'since', 'who maps it'], ...rows];
}

/** Since when one of these stands, and since when all do. */
function sinceCell(grants: readonly PastGrant[], { times }: ReportFormat): string {
  const since = grants.flatMap(({ sinceNs }) => (sinceNs === undefined ? [] : [sinceNs]));
  return since.length === 0 ? '' : times.span(Math.min(...since), Math.max(...since));
}

function runLength(
  history: GrantHistory,
  grants: readonly PastGrant[],
  first: number,
  format: ReportFormat,
): number {
  const one = grants[first]!;
  let length = 1;
  for (; first + length < grants.length; length++) {
    const next = grants[first + length]!;
    const alike =
      next.granter === one.granter &&
      next.ref === one.ref + length &&
      next.to === one.to &&
      kindCell(next, format) === kindCell(one, format);
    if (!alike || history.mappingsOf(next).length > 0) break;
  }
  return length;
}

const kindCell = ({ kind, completed, limitNs }: PastGrant, { times }: ReportFormat): string =>
  [
    KINDS[kind],
    ...(kind === 'transfer' ? [completed ? 'completed' : 'posted'] : []),
    ...(limitNs === undefined ? [] : [`until ${times.time(limitNs)}`]),
  ].join(', ');

const mappingText = (mapping: PastMapping, nameOf: DomainName): string =>
  userWords({
    ...mapping,
    mapper: nameOf(mapping.mapper),
    ...(mapping.host && mapping.device && { place: 'for CPUs' }),
  });

/** A row of cells for each end that was refused, a heading first. */
export function refusedRows(
  refused: readonly RefusedEnd[],
  { nameOf, times: { time } }: ReportFormat,
): string[][] {
  const rows = refused.map(({ granter, ref, firstNs, lastNs, times, mappings }) => [
    time(firstNs),
    times === 1 ? '' : time(lastNs),
    count(times),
    nameOf(granter),
    `${ref}`,
    mappings.length === 0
      ? 'nobody: a copy was under way, or the flags are its own'
      : mappings.map((mapping) => mappingText(mapping, nameOf)).join('; '),
  ]);
  if (rows.length === 0) return [];
  return [['refused', 'until', 'times', 'granter', 'ref', 'who mapped it then'], ...rows];
}

/** Lines for the mappings that were taken back. */
export const revokedLines = (history: GrantHistory, nameOf: DomainName): string[] =>
  history.revoked.map(({ mapper, handle, granter, ref, revoked }) => {
    const which = `handle ${handle} of ${nameOf(mapper)}, reference ${ref} of ${nameOf(granter)}`;
    const shows = revoked === 'fault' ? 'faults' : 'a private copy';
    return `${which}: taken back, ${shows}, waits for its unmap`;
  });
