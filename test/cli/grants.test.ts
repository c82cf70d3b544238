/** `ringside grants`: the lab's scenarios, and the grants in a trace. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { folderWith, ringside } from './ringside.ts';

interface Printed {
  readonly domains: Readonly<Record<string, string>>;
  readonly moments: readonly {
    readonly title: string;
    readonly remarks: readonly string[];
    readonly tables: readonly {
      readonly domid: number;
      readonly grants: readonly { readonly ref: number; readonly mappings: readonly object[] }[];
    }[];
  }[];
}

describe.concurrent('ringside grants', () => {
  test('plays the sharing of a page, and says after each step who maps it', async (context) => {
    const ended = await ringside(folderWith(context), 'grants');
    expect(ended).toMatchObject({ exitCode: 0, stderr: '' });
    const [first, second] = ended.stdout.split('\n\n');
    expect(first).toMatch(
      /^\* guest1 grants a page to driver: reference 8\n {2}granter +ref +grant[^\n]+\n {2}guest1 +8 +GTF_permit_access +driver +0x[0-9a-f]+ +nobody$/,
    );
    expect(second).toMatch(
      /\n {2}guest1 .* reading +hstr 1 +driver read-only at 0x[0-9a-f]+ \(handle 0\)$/,
    );
    expect(ended.stdout).toMatch(
      /\n {2}reference 8 of guest1 cannot end: driver maps it writable at 0x[0-9a-f]+ \(handle \d+\)\n/,
    );
    expect(ended.stdout).toContain('driver faults: read at 0x');
    expect(ended.stdout).toContain('driver reads "mine!"');
  });

  test.for<[string, string[]]>([
    [
      'disk',
      [
        'the disk is connected',
        'half of the disk is read: driver serves a request',
        'the disk is read, and idle',
        'the disk is closed',
      ],
    ],
    [
      'net',
      [
        'both vifs are connected',
        'half of the frames have arrived',
        'all frames have arrived',
        'both vifs are closed',
      ],
    ],
  ])('--scenario %s prints one object with --json', async ([scenario, titles], context) => {
    const folder = folderWith(context);
    const words = ['grants', '--scenario', scenario, '--seed', '7', '--json'];
    const [once, again] = await Promise.all([
      ringside(folder, ...words),
      ringside(folder, ...words),
    ]);
    expect(once).toMatchObject({ exitCode: 0, stderr: '' });
    expect(again.stdout).toBe(once.stdout);
    const printed = JSON.parse(once.stdout) as Printed;
    expect(printed).toMatchObject({ command: 'grants', ok: true, seed: 7, scenario, failures: [] });
    expect(printed.domains).toMatchObject({ 0: 'Domain-0', 1: 'driver', 2: 'guest1' });
    expect(printed.moments.map(({ title }) => title)).toEqual(titles);
    const mapped = printed.moments.map(({ tables }) =>
      tables.some(({ grants }) => grants.some(({ mappings }) => mappings.length > 0)),
    );
    expect(mapped).toEqual([true, true, true, false]);
  });

  test('says how full the tables are', async (context) => {
    const ended = await ringside(folderWith(context), 'grants', '--scenario', 'disk');
    expect(ended.stdout).toMatch(
      /\n {2}driver +1 +1 of 64 +0 of 32,768 +1 of 65,536 +255\n {2}guest1 +1 +1 of 64 +1 of 32,768 +0 of 65,536 +0\n/,
    );
  });
});

/** Domain 1 grants reference 8, domain 2 maps it; an end is refused; reference 9 is granted late. */
const events = [
  { ph: 'i', pid: 2, ts: 1, name: 'domain_create', args: { domid: 1, pages: 4 } },
  {
    ph: 'i',
    pid: 2,
    ts: 10,
    name: 'grant_access',
    args: { ref: 8, dom: 2, frame: 3, readonly: 0 },
  },
  {
    ph: 'i',
    pid: 3,
    ts: 20.5,
    name: 'map_grant_ref',
    args: { dom: 1, ref: 8, handle: 4, status: 0, flags: 2 },
  },
  { ph: 'i', pid: 2, ts: 30, name: 'grant_end', args: { ref: 8, busy: 1 } },
  {
    ph: 'i',
    pid: 2,
    ts: 40,
    name: 'grant_access',
    args: { ref: 9, dom: 2, frame: 5, readonly: 1 },
  },
  { ph: 'M', pid: 2, name: 'process_name', args: { name: 'guest1 (domain 1)' } },
  { ph: 'M', pid: 3, name: 'process_name', args: { name: 'driver (domain 2)' } },
];
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const traceFile = encode(JSON.stringify({ traceEvents: events }));
const files = {
  'trace.json': traceFile,
  'cut.json': traceFile.slice(0, -20),
  'list.json': encode('[]'),
  'other.json': encode('{"traceEvents":[]}'),
  'text.json': encode('hello\n'),
};

const covers = 'the trace covers 1.000 to 40.000 µs\n';

describe.concurrent('ringside grants --trace', () => {
  test('says what stands at the end, and which ends were refused', async (context) => {
    const ended = await ringside(folderWith(context, files), 'grants', '--trace', 'trace.json');
    expect(ended).toEqual({
      exitCode: 0,
      stderr: '',
      stdout: `\
granter  ref  grant                           to          since  who maps it
guest1     8  GTF_permit_access               driver  10.000 µs  driver writable (handle 4)
guest1     9  GTF_permit_access GTF_readonly  driver  40.000 µs  nobody

  refused  until  times  granter  ref  who mapped it then
30.000 µs             1  guest1     8  driver writable (handle 4)
the trace covers 1.000 to 40.000 µs
at 40.000 µs 2 grants stand; 1 end was refused
`,
    });
  });

  test.for<[string, string]>([
    ['15', `nobody\n\n${covers}at 15.000 µs 1 grant stands; 0 ends were refused\n`],
    ['20500ns', `(handle 4)\n\n${covers}at 20.500 µs 1 grant stands; 0 ends were refused\n`],
    ['0.03ms', `${covers}at 30.000 µs 1 grant stands; 1 end was refused\n`],
    ['0s', `nothing is granted\n\n${covers}at 0.000 µs 0 grants stand; 0 ends were refused\n`],
  ])('--at %s', async ([at, end], context) => {
    const words = ['grants', '--trace', 'trace.json', '--at', at];
    const ended = await ringside(folderWith(context, files), ...words);
    expect(ended).toMatchObject({ exitCode: 0, stderr: '' });
    expect(ended.stdout.endsWith(end)).toBe(true);
  });

  test('prints one object with --json', async (context) => {
    const words = ['grants', '--trace', 'trace.json', '--json'];
    const ended = await ringside(folderWith(context, files), ...words);
    const mapping = { mapper: 2, handle: 4, granter: 1, ref: 8, readonly: false };
    const printed: unknown = JSON.parse(ended.stdout);
    // Whether its times are of a virtual clock, a trace does not say.
    expect(printed).not.toHaveProperty('clock');
    expect(printed).toMatchObject({
      command: 'grants',
      ok: true,
      trace: 'trace.json',
      fromNs: 1000,
      toNs: 40_000,
      timeNs: 40_000,
      domains: { 1: 'guest1', 2: 'driver' },
      grants: [
        { granter: 1, ref: 8, to: 2, kind: 'access', sinceNs: 10_000, mappings: [mapping] },
        { granter: 1, ref: 9, kind: 'read-only', mappings: [] },
      ],
      refused: [{ granter: 1, ref: 8, firstNs: 30_000, times: 1, mappings: [mapping] }],
    });
  });

  test('a gzipped trace is read as well', async (context) => {
    const folder = folderWith(context, { ...files, 'trace.json.gz': gzipSync(traceFile) });
    const [plain, gzipped] = await Promise.all(
      ['trace.json', 'trace.json.gz'].map((name) => ringside(folder, 'grants', '--trace', name)),
    );
    expect(gzipped).toEqual(plain);
  });

  test('reads what another command has traced', async (context) => {
    const folder = folderWith(context);
    const work = 'disk --scratch --size 1M --workload read --seed 1 --trace trace.json';
    expect(await ringside(folder, ...work.split(' '))).toMatchObject({ exitCode: 0 });
    const { traceEvents } = JSON.parse(
      fs.readFileSync(path.join(folder, 'trace.json'), 'utf8'),
    ) as { traceEvents: { name: string; ts: number }[] };
    const mapped = traceEvents.find(({ name }) => name === 'map_grant_ref')!;
    const at = ['--at', `${mapped.ts}us`];
    const middle = await ringside(folder, 'grants', '--trace', 'trace.json', ...at);
    expect(middle).toMatchObject({ exitCode: 0, stderr: '' });
    expect(middle.stdout).toMatch(
      /\nguest +8 +GTF_permit_access +driver +\S+ µs +driver writable \(handle 0\)\n/,
    );
    const end = await ringside(folder, 'grants', '--trace', 'trace.json');
    expect(end.stdout).toMatch(
      /^nothing is granted\n\nthe trace covers 0\.000 to (\S+ µs)\nat \1 0 grants stand; 0 ends/,
    );
  });
});

const rows: readonly [string, number, string][] = [
  ['--scenario dsk', 2, 'Allowed choices are sharing, disk, net.'],
  ['--scenario disk --trace trace.json', 2, '--scenario and --trace exclude each other'],
  ['--at 3us', 2, '--at is of --trace'],
  ['--trace trace.json --at soon', 2, 'Allowed: a time, as 1250us, 1.25ms or 0.5s.'],
  ['--trace trace.json --seed 1', 2, '--seed is of --scenario'],
  ['--trace trace.json --watch', 2, '--watch is of --scenario'],
  ['--watch', 2, '--watch is of --scenario disk and net'],
  ['--scenario disk --watch 2', 2, '--watch needs a terminal'],
  ['--scenario net --watch --json', 2, '--watch and --json exclude each other'],
  ['--trace nothing.json', 1, 'nothing.json: no such file or directory'],
  ['--trace .', 1, '.: is a directory'],
  ['--trace text.json', 1, 'text.json: not a trace: this is not JSON, or it is not complete'],
  ['--trace cut.json', 1, 'cut.json: not a trace: this is not JSON'],
  ['--trace list.json', 1, 'list.json: not a trace: it has no "traceEvents"'],
  ['--trace other.json', 1, 'other.json: not a trace of Ringside'],
];

describe.concurrent('one line, and an exit code', () => {
  test.for(rows)('ringside grants %s', async ([words, exitCode, sentence], context) => {
    const ended = await ringside(folderWith(context, files), 'grants', ...words.split(' '));
    expect(ended).toMatchObject({ exitCode, stdout: '' });
    expect(ended.stderr).toMatch(/^ringside: [^\n]+\n$/);
    expect(ended.stderr).toContain(sentence);
  });
});
