/** What a trace tells of grants, for people. */
import type { DomainName } from '@ringside/gnttab-core';
import { count } from '../cli/format.ts';
import type { GrantHistory, PastGrant, PastMapping, RefusedEnd } from './history.ts';

/** Microseconds with three digits, as the timeline of a trace has them. */
export const traceTime = (timeNs: number): string => `${(timeNs / 1000).toFixed(3)} µs`;

const KINDS: Readonly<Record<PastGrant['kind'], string>> = {
  access: 'access',
  'read-only': 'access, read-only',
  'sub-page': 'part of a page',
  transitive: 'a grant of another',
  transfer: 'accepts a frame',
  unknown: 'not in the trace',
};

/**
 * A row of cells for each mapping of each grant that stands, a heading first. Neighbours that nobody maps and that are
 * alike but for their time share one.
 */
export function historyRows(history: GrantHistory, nameOf: DomainName): string[][] {
  const { grants } = history;
  const rows: string[][] = [];
  for (let i = 0; i < grants.length;) {
    const grant = grants[i]!;
    const mappings = history.mappingsOf(grant);
    const run = mappings.length > 0 ? 1 : runLength(history, grants, i);
    const cells = [
      nameOf(grant.granter),
      run === 1 ? `${grant.ref}` : `${grant.ref}-${grant.ref + run - 1}`,
      kindCell(grant),
      nameOf(grant.to),
      grant.sinceNs === undefined ? '' : traceTime(grant.sinceNs),
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

function runLength(history: GrantHistory, grants: readonly PastGrant[], first: number): number {
  const one = grants[first]!;
  let length = 1;
  for (; first + length < grants.length; length++) {
    const next = grants[first + length]!;
    const alike =
      next.granter === one.granter &&
      next.ref === one.ref + length &&
      next.to === one.to &&
      kindCell(next) === kindCell(one);
    if (!alike || history.mappingsOf(next).length > 0) break;
  }
  return length;
}

const kindCell = ({ kind, completed, limitNs }: PastGrant): string =>
  [
    KINDS[kind],
    ...(completed ? ['completed'] : []),
    ...(limitNs === undefined ? [] : [`until ${traceTime(limitNs)}`]),
  ].join(', ');

function mappingText(mapping: PastMapping, nameOf: DomainName): string {
  const { mapper, handle, host, device, half, readonly } = mapping;
  const where = host ? (device ? (half ? 'one half' : 'host and device') : 'host') : 'device';
  return `${nameOf(mapper)} handle ${handle} ${readonly ? 'ro' : 'rw'} ${where}`;
}

/** A row of cells for each end that was refused, a heading first. */
export function refusedRows(refused: readonly RefusedEnd[], nameOf: DomainName): string[][] {
  const rows = refused.map(({ granter, ref, firstNs, lastNs, times, mappings }) => [
    traceTime(firstNs),
    times === 1 ? '' : traceTime(lastNs),
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
