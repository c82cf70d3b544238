import { ChromeTrace, createMachine, type TraceRecord } from '@ringside/gnttab-core';
import type { DescribedTable } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, test } from 'vitest';
import { timeFormat } from '../cli/format.ts';
import { runDiskLab, runNetLab } from './devices.ts';
import { historyRows, refusedRows, revokedLines } from './history-report.ts';
import { GrantHistory, type GrantRecord } from './history.ts';
import { type Lab, namesOf } from './moment.ts';
import { runSharingLab } from './sharing.ts';
import { readGrantTrace } from './trace.ts';

/** Who maps what, as the machine has it. */
const mappedIn = (tables: readonly DescribedTable[]): string[] =>
  tables
    .flatMap(({ grants }) => grants.flatMap(({ mappings }) => mappings))
    .map(({ mapper, handle, granter, ref, readonly }) =>
      [mapper, handle, granter, ref, readonly].join(' '),
    )
    .sort();

const mappedBy = (history: GrantHistory): string[] =>
  history.grants
    .flatMap((grant) => history.mappingsOf(grant))
    .map(({ mapper, handle, granter, ref, readonly }) =>
      [mapper, handle, granter, ref, readonly].join(' '),
    )
    .sort();

const grantedIn = (tables: readonly DescribedTable[]): string[] =>
  tables
    .flatMap(({ domid, grants }) =>
      grants.map((grant) => [domid, grant.ref, grant.domid].join(' ')),
    )
    .sort();

describe('what a trace tells is what the machine knows', () => {
  test.each<[name: string, run: (lab: Lab) => Promise<unknown>]>([
    ['sharing', runSharingLab],
    ['disk', runDiskLab],
    ['net', runNetLab],
  ])('at every moment of %s', async (_, run) => {
    const machine = createMachine({ seed: 5 });
    const history = new GrantHistory();
    machine.trace.onRecords = (records) => records.forEach((record) => history.add(record));
    machine.trace.enabled = true;
    let moments = 0;
    await run({
      machine,
      names: new Map(),
      onMoment: ({ tables }) => {
        machine.trace.flush();
        moments += 1;
        expect(mappedBy(history)).toEqual(mappedIn(tables));
        const granted = history.grants.map(({ granter, ref, to }) => [granter, ref, to].join(' '));
        expect(granted.sort()).toEqual(grantedIn(tables));
        const loose = tables.flatMap(({ looseMappings }) => looseMappings);
        expect(history.revoked.map(({ handle }) => handle)).toEqual(
          loose.map(({ handle }) => handle),
        );
      },
    });
    expect(moments).toBeGreaterThanOrEqual(4);
  });

  test('and is the same when it is read back from a file', async () => {
    const machine = createMachine({ seed: 5 });
    const sink = new ChromeTrace();
    const names = new Map<number, string>();
    let text = sink.start();
    const seen: TraceRecord[] = [];
    machine.trace.onRecords = (records) => {
      seen.push(...records);
      text += sink.add(records);
    };
    machine.trace.enabled = true;
    await runSharingLab({ machine, names, onMoment: () => {} });
    machine.trace.flush();
    const trace = readGrantTrace(text + sink.end(namesOf(names)));
    expect(trace.records).toEqual(
      seen.map(({ timeNs, domid, name, args }) => ({ timeNs, domid, name, args })),
    );
    expect([0, 1, 2, 3].map(trace.nameOf)).toEqual(['Domain-0', 'driver', 'guest1', 'domain 3']);
  });
});

/** Domain 1 grants, domain 2 maps. */
const GRANTER = 1;
const MAPPER = 2;
const nameOf = (domid: number) => ['Domain-0', 'guest', 'driver'][domid]!;
const format = { nameOf, times: timeFormat(10_000) };

type Event = readonly [domid: number, name: string, args: GrantRecord['args']];

function historyOf(...records: readonly Event[]) {
  const history = new GrantHistory();
  records.forEach(([domid, name, args], i) =>
    history.add({ timeNs: (i + 1) * 1000, domid, name, args }),
  );
  return history;
}
const grant = (ref = 8, readonly = 0) =>
  [GRANTER, 'grant_access', { ref, dom: MAPPER, frame: 1, readonly }] as const;
const map = (handle: number, flags = 2, ref = 8, status = 0) =>
  [MAPPER, 'map_grant_ref', { dom: GRANTER, ref, handle, status, flags }] as const;
const unmap = (handle: number, status = 0) =>
  [MAPPER, 'unmap_grant_ref', { dom: GRANTER, ref: 8, handle, status }] as const;
const end = (busy: number, ref = 8) => [GRANTER, 'grant_end', { ref, busy }] as const;

/** The rows without their heading. */
const standing = (history: GrantHistory) => historyRows(history, format).slice(1);

describe('what stands', () => {
  test.each<[what: string, records: readonly Event[], rows: string[][]]>([
    ['a grant', [grant()], [['guest', '8', 'GTF_permit_access', 'driver', '1.000 µs', 'nobody']]],
    [
      'neighbours that nobody maps share a row',
      [grant(8, 1), grant(9, 1), grant(10, 1), grant(12, 1)],
      [
        [
          'guest',
          '8-10',
          'GTF_permit_access GTF_readonly',
          'driver',
          '1.000 to 3.000 µs',
          'nobody',
        ],
        ['guest', '12', 'GTF_permit_access GTF_readonly', 'driver', '4.000 µs', 'nobody'],
      ],
    ],
    [
      'a mapping each',
      [grant(), map(0, 2 | 4), map(1, 1), map(2, 3)],
      [
        ['guest', '8', 'GTF_permit_access', 'driver', '1.000 µs', 'driver read-only (handle 0)'],
        ['', '', '', '', '', 'driver writable for devices (handle 1)'],
        ['', '', '', '', '', 'driver writable for CPUs and for devices (handle 2)'],
      ],
    ],
    [
      'what failed has done nothing',
      [grant(), map(0, 2, 8, 0xffff_ffff), map(1), unmap(1, 0xffff_ffff)],
      [['guest', '8', 'GTF_permit_access', 'driver', '1.000 µs', 'driver writable (handle 1)']],
    ],
    [
      'one half of a mapping, after one unmap',
      [grant(), map(0, 3), unmap(0)],
      [
        [
          'guest',
          '8',
          'GTF_permit_access',
          'driver',
          '1.000 µs',
          'driver writable for CPUs or for devices (handle 0)',
        ],
      ],
    ],
    ['nothing, after both', [grant(), map(0, 3), unmap(0), unmap(0), end(0)], []],
    ['nothing, if one unmap took both halves', [grant(), map(0, 3), unmap(0), end(0)], []],
    [
      'a mapping of what the trace has not seen granted',
      [map(0)],
      [['guest', '8', 'not in the trace', 'driver', '', 'driver writable (handle 0)']],
    ],
    [
      'an accepted frame, and one that has come',
      [
        [GRANTER, 'grant_transfer', { ref: 8, dom: MAPPER, frame: 1 }],
        [GRANTER, 'grant_transfer', { ref: 9, dom: MAPPER, frame: 1 }],
        [MAPPER, 'transfer', { dom: GRANTER, ref: 9, mfn: 7, status: 0 }],
      ],
      [
        ['guest', '8', 'GTF_accept_transfer, posted', 'driver', '1.000 µs', 'nobody'],
        ['guest', '9', 'GTF_accept_transfer, completed', 'driver', '2.000 µs', 'nobody'],
      ],
    ],
    [
      'two exchanged references, and one moved',
      [
        grant(8),
        grant(9, 1),
        [GRANTER, 'swap_grant_ref', { ref_a: 8, ref_b: 9, status: 0 }],
        [GRANTER, 'swap_grant_ref', { ref_a: 9, ref_b: 20, status: 0 }],
      ],
      [
        ['guest', '8', 'GTF_permit_access GTF_readonly', 'driver', '2.000 µs', 'nobody'],
        ['guest', '20', 'GTF_permit_access', 'driver', '1.000 µs', 'nobody'],
      ],
    ],
    [
      'the reserved references, after a change of version',
      [grant(7), grant(8), [GRANTER, 'set_version', { version: 2, result: 0 }]],
      [['guest', '7', 'GTF_permit_access', 'driver', '1.000 µs', 'nobody']],
    ],
    [
      'all, if the version was in force already',
      [grant(8), [GRANTER, 'set_version', { version: 1, result: 0 }]],
      [['guest', '8', 'GTF_permit_access', 'driver', '1.000 µs', 'nobody']],
    ],
    [
      'what is mapped of a destroyed domain',
      [grant(8), grant(9), map(0), [GRANTER, 'domain_destroy', { domid: GRANTER }]],
      [['guest', '8', 'GTF_permit_access', 'driver', '1.000 µs', 'driver writable (handle 0)']],
    ],
    [
      'no mapping of a destroyed domain',
      [grant(8), map(0), [MAPPER, 'domain_destroy', { domid: MAPPER }]],
      [['guest', '8', 'GTF_permit_access', 'driver', '1.000 µs', 'nobody']],
    ],
    [
      'the limit on a grant',
      [grant(8), map(0), [0, 'grant_limit', { ref: 8, dom: GRANTER, timeout_us: 500 }]],
      [
        [
          'guest',
          '8',
          'GTF_permit_access, until 503.000 µs',
          'driver',
          '1.000 µs',
          'driver writable (handle 0)',
        ],
      ],
    ],
  ])('%s', (_, records, rows) => {
    expect(standing(historyOf(...records))).toEqual(rows);
  });

  test('what was taken back waits for its unmap', () => {
    const taken: readonly Event[] = [
      grant(),
      map(0),
      map(1),
      [GRANTER, 'grant_revoke', { ref: 8, dom: MAPPER, mappings: 2, copied: 1 }],
    ];
    const history = historyOf(...taken, unmap(0));
    expect(standing(history)).toEqual([]);
    expect(revokedLines(history, nameOf)).toEqual([
      'handle 1 of driver, reference 8 of guest: taken back, a private copy, waits for its unmap',
    ]);
    expect(historyOf(...taken, unmap(0), unmap(1)).revoked).toEqual([]);
  });
});

describe('refused ends', () => {
  test('each row of refusals has who mapped the page the last time', () => {
    const history = historyOf(
      grant(),
      map(0),
      map(1, 6),
      end(1),
      unmap(0),
      end(1),
      unmap(1),
      end(0),
      grant(),
      end(1),
    );
    expect(refusedRows(history.refused, format).slice(1)).toEqual([
      ['4.000 µs', '6.000 µs', '2', 'guest', '8', 'driver read-only (handle 1)'],
      [
        '10.000 µs',
        '',
        '1',
        'guest',
        '8',
        'nobody: a copy was under way, or the flags are its own',
      ],
    ]);
  });

  test('there are none', () => {
    expect(refusedRows(historyOf(grant(), end(0)).refused, format)).toEqual([]);
  });
});

test.each([
  ['{"traceEvents":[', 'not a trace: this is not JSON, or it is not complete'],
  ['[]', 'not a trace: it has no "traceEvents"'],
  ['{"traceEvents":7}', 'not a trace: it has no "traceEvents"'],
  ['{"traceEvents":[7]}', 'event 0: not an object'],
  ['{"traceEvents":[{"ph":"i"}]}', 'event 0: no "pid", or strange "args"'],
  ['{"traceEvents":[{"ph":"i","pid":1}]}', 'event 0: no "name" or "ts"'],
  [
    '{"traceEvents":[{"ph":"i","pid":1,"ts":1,"name":"x"}]}',
    'not a trace of Ringside: no domain is created in it',
  ],
])('%s is refused', (text, sentence) => {
  expect(() => readGrantTrace(text)).toThrow(sentence);
});
