/** Grant tables for people: rows of text, one for each grant and each of its users. */
import type { DomainName } from '@ringside/gnttab-core';
import {
  type DescribedMapping,
  type DescribedTable,
  type MappedGrant,
  type PageWindow,
  placeText,
} from '@ringside/gnttab-core/hypervisor';
import { count, counted, table } from '../cli/format.ts';
import type { Moment } from './moment.ts';
import { userWords } from './user-words.ts';

const HEAD = ['granter', 'ref', 'grant', 'to', 'frame', 'in use', 'pins', 'who uses it'];
const ALIGN = HEAD.map((name) => (name === 'ref' || name === 'frame' ? 'right' : 'left'));

/** A row of cells for each user of each grant, a heading first; neighbours that nobody uses and that are alike share one. */
export function grantRows(tables: readonly DescribedTable[], nameOf: DomainName): string[][] {
  const rows: string[][] = [];
  for (const { domid, grants } of tables) {
    for (let i = 0; i < grants.length;) {
      const run = runLength(grants, i);
      const grant = grants[i]!;
      const last = grants[i + run - 1]!;
      const cells = [
        nameOf(domid),
        run === 1 ? `${grant.ref}` : `${grant.ref}-${last.ref}`,
        grantCell(grant, nameOf),
        nameOf(grant.domid),
        grant.frame === undefined ? '' : run === 1 ? hex(grant.frame) : `${run} frames`,
        useCell(grant),
        pinsCell(grant),
      ];
      const users = usersOf(grant, nameOf);
      rows.push([...cells, users[0] ?? 'nobody']);
      for (const user of users.slice(1)) rows.push([...cells.map(() => ''), user]);
      i += run;
    }
  }
  return rows.length === 0 ? [] : [HEAD, ...rows];
}

const hex = (value: number): string => `0x${value.toString(16)}`;

/** How many grants from the `first` on are alike, with consecutive references, and used by nobody. */
function runLength(grants: readonly MappedGrant[], first: number): number {
  const shape = shapeOf(grants[first]!);
  let length = 1;
  if (shape === undefined) return length;
  for (; first + length < grants.length; length++) {
    const next = grants[first + length]!;
    if (next.ref !== grants[first]!.ref + length || shapeOf(next) !== shape) break;
  }
  return length;
}

/** What must be the same for two grants to share a row; undefined for one that has a row of its own. */
function shapeOf(grant: MappedGrant): string | undefined {
  const used = grant.pinned !== undefined || grant.mappings.length > 0;
  if (used || grant.frame === undefined) return undefined;
  return JSON.stringify({ ...grant, ref: 0, frame: 0 });
}

function grantCell({ type, flags, window, behind, transfer }: MappedGrant, nameOf: DomainName) {
  return [
    [type, ...flags].join(' '),
    ...(window === undefined ? [] : [windowText(window)]),
    ...(behind === undefined ? [] : [`reference ${behind.ref} of ${nameOf(behind.domid)}`]),
    ...(transfer === undefined ? [] : [transfer]),
  ].join(', ');
}

const windowText = ({ offsetBytes, lengthBytes }: PageWindow): string =>
  `${counted(lengthBytes, 'byte')} at ${offsetBytes}`;

const useCell = ({ reading, writing }: MappedGrant): string =>
  [...(reading ? ['reading'] : []), ...(writing ? ['writing'] : [])].join(' ');

/** The four counts as Xen calls them. */
function pinsCell({ pinned }: MappedGrant): string {
  if (pinned === undefined) return '';
  const { hostWriters, hostReaders, deviceWriters, deviceReaders } = pinned.pins;
  const counts = { hstw: hostWriters, hstr: hostReaders, devw: deviceWriters, devr: deviceReaders };
  const pins = Object.entries(counts).flatMap(([name, n]) => (n === 0 ? [] : [`${name} ${n}`]));
  return [...pins, ...(pinned.limited ? ['limited'] : [])].join(' ');
}

function usersOf({ mappings, copies, pinned }: MappedGrant, nameOf: DomainName): string[] {
  const copier = pinned === undefined ? '' : nameOf(pinned.domid);
  return [
    ...mappings.map((mapping) => mappingText(mapping, nameOf)),
    ...(copies.reading > 0 ? [`${copier} copies from it`] : []),
    ...(copies.writing > 0 ? [`${copier} copies to it`] : []),
  ];
}

function mappingText(mapping: DescribedMapping, nameOf: DomainName): string {
  const { mapper, handle, host, device, readonly, place, state } = mapping;
  const where = place === undefined ? state : placeText(place);
  const known = { mapper: nameOf(mapper), handle, host, device, readonly };
  return userWords({ ...known, ...(host && { place: where }) });
}

/** Lines for the mappings that stand for no grant any more. */
export function looseLines(tables: readonly DescribedTable[], nameOf: DomainName): string[] {
  return tables.flatMap(({ looseMappings }) =>
    looseMappings.map(({ mapper, handle, granter, state, frame, place }) => {
      const which = `handle ${handle} of ${nameOf(mapper)}, a page of ${nameOf(granter)}`;
      if (state === 'orphaned') return `${which}: ${nameOf(granter)} is gone`;
      if (frame === undefined) return `${which}: taken back, faults, waits for its unmap`;
      const at = place === undefined ? '' : ` ${placeText(place)}`;
      return `${which}: taken back, a private copy${at}, waits for its unmap`;
    }),
  );
}

/** A row of cells for each table that there is, a heading first: how full it is. */
export function resourceRows(tables: readonly DescribedTable[], nameOf: DomainName): string[][] {
  const rows = tables.map(({ domid, version, sharedFrames, maxFrames, entries, handles }) => [
    nameOf(domid),
    `${version}`,
    `${sharedFrames.length} of ${maxFrames}`,
    `${count(entries.used)} of ${count(entries.limit)}`,
    `${count(handles.used)} of ${count(handles.limit)}`,
    handles.vcpus.map(({ free }) => count(free)).join(' '),
  ]);
  return [['table', 'version', 'frames', 'entries', 'handles', 'free by vcpu'], ...rows];
}

/** The tables as lines: grants, loose mappings and, if wanted, how full the tables are. */
export function tableLines(
  tables: readonly DescribedTable[],
  nameOf: DomainName,
  { resources = false } = {},
): string[] {
  const rows = grantRows(tables, nameOf);
  return [
    ...(rows.length === 0 ? ['nothing is granted'] : table(rows, ALIGN)),
    ...looseLines(tables, nameOf),
    ...(resources ? table(resourceRows(tables, nameOf)) : []),
  ];
}

/** A moment as lines: what happened, what came of it, and the tables. */
export const momentLines = (
  { title, remarks, tables }: Moment,
  nameOf: DomainName,
  options?: { readonly resources?: boolean },
): string[] => [
  `* ${title}`,
  ...[...remarks, ...tableLines(tables, nameOf, options)].map((line) => `  ${line}`),
];
