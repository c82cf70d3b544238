/** A replay must notice whatever is not as recorded, say what it is, and say it once. */
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { RecordingError } from '../reader.ts';
import { readGnttabRecording } from './recording.ts';
import { replayGnttabTrace } from './replay.ts';

type Json = Record<string, unknown>;

const domain = (id: number, others: Json = {}): Json => ({
  id,
  priv: id === 0,
  type: 'pv',
  frames: 8,
  max_pages: 16,
  max_grant_frames: 4,
  max_maptrack_frames: 1,
  max_version: 2,
  nvcpu: 1,
  addr_bits: 0,
  l1_gfns: [7],
  mfn_base: (id + 1) * 0x10000,
  ...others,
});
const translated = (id: number): Json => domain(id, { type: 'hvm', l1_gfns: [] });

const header = (...domains: Json[]): Json => ({
  t: 'hdr',
  format: 1,
  name: 'by hand',
  desc: '',
  xen: '',
  arch: 'x86_64',
  features: [],
  opts: { transitive: 1, transfer: 1 },
  va_base: '0x40000000',
  domains,
});

const recordingOf = (head: Json, ...steps: Json[]): string => {
  const hypercalls = steps.filter(({ t }) => t === 'hc').length;
  const end = { t: 'end', steps: steps.length + 1, hypercalls };
  return [head, ...steps, end].map((line) => JSON.stringify(line)).join('\n');
};

function differencesOf(recording: string) {
  const [trace] = readGnttabRecording(recording);
  const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  return replayGnttabTrace(trace!, { sha256 }).differences;
}

const found = (recording: string) =>
  differencesOf(recording).map(({ line, what, expected, got }) => [line, what, expected, got]);

/** Domain 1 grants its first frame, and domain 0 maps it. */
const grant = { t: 'w', sp: 'gt', dom: 1, off: 64, hex: '0100000000000200' };
const pte = {
  dom: 0,
  va: '0x40000000',
  present: true,
  mfn: 0x20000,
  rw: true,
  app: false,
  avail: 0,
};
const inUse = { dom: 1, off: 64, hex: '19' };
const mapping = { host_addr: '0x40000000', flags: 2, ref: 8, dom: 1 };
const mapped = { status: 0, handle: 'h1', dev_bus_addr: '0x20000000' };
const map = {
  t: 'hc',
  dom: 0,
  op: 'map_grant_ref',
  args: [mapping],
  rc: 0,
  out: [mapped],
  eff: { pte: [pte], gt: [inUse] },
};
const unmap = {
  t: 'hc',
  dom: 0,
  op: 'unmap_grant_ref',
  args: [{ host_addr: '0x40000000', dev_bus_addr: '0x0', handle: 'h1' }],
  rc: 0,
  out: [{ status: 0 }],
  eff: {
    pte: [{ dom: 0, va: '0x40000000', present: false }],
    gt: [{ dom: 1, off: 64, hex: '01' }],
  },
};
const two = header(domain(0), domain(1));
const mappingAs = (others: Json) => recordingOf(two, grant, { ...map, ...others }, unmap);

const used = 'GTF_permit_access|GTF_reading|GTF_writing domid 0 frame 0x20000';
const unused = 'GTF_permit_access domid 0 frame 0x20000';
const pteOf = 'domain 0 PTE of va 0x40000000';
const entry8 = 'domain 1 grant entry 8: flags at byte 64';
const mappedPte = 'mfn 0x20000 present rw user accessed dirty nx guest kernel avail 0';

test('a true recording has no differences', () => {
  expect(found(mappingAs({}))).toEqual([]);
});

describe('what a map_grant_ref should not have done, and what it should', () => {
  test.each<[string, Json, string[][]]>([
    ['another result', { rc: -14 }, [['result', '-EFAULT (-14)', '0']]],
    [
      'another status',
      { out: [{ ...mapped, status: -9 }] },
      [['out[0]', 'status GNTST_bad_page (-9, bad page)', 'status GNTST_okay (0, okay)']],
    ],
    [
      'another address',
      { out: [{ ...mapped, dev_bus_addr: '0x20001000' }] },
      [['out[0]', 'dev_bus_addr 0x20001000', 'dev_bus_addr 0x20000000']],
    ],
    [
      'a field that should have been left alone',
      { out: [{ status: 0, handle: 'h1' }] },
      [['out[0]', 'dev_bus_addr untouched', 'dev_bus_addr 0x20000000']],
    ],
    ['no effect on the entry', { eff: { pte: [pte] } }, [[entry8, unused, used]]],
    ['no effect on the page table', { eff: { gt: [inUse] } }, [[pteOf, 'empty', mappedPte]]],
    [
      'one effect more',
      { eff: { pte: [pte], gt: [inUse, { dom: 1, off: 72, hex: '02' }] } },
      [
        [
          'domain 1 grant entry 9: flags at byte 72',
          'GTF_accept_transfer domid 0 frame 0x0',
          'empty',
        ],
      ],
    ],
    [
      'other flags',
      { eff: { pte: [pte], gt: [{ ...inUse, hex: '09' }] } },
      [[entry8, 'GTF_permit_access|GTF_reading domid 0 frame 0x20000', used]],
    ],
    [
      'a read-only mapping',
      { eff: { pte: [{ ...pte, rw: false }], gt: [inUse] } },
      [[pteOf, mappedPte.replace(' rw', ''), mappedPte]],
    ],
    [
      'another frame',
      { eff: { pte: [{ ...pte, mfn: 0x20001 }], gt: [inUse] } },
      [[pteOf, mappedPte.replace('20000', '20001'), mappedPte]],
    ],
    [
      'another owner',
      { eff: { pte: [pte], gt: [inUse], own: [{ mfn: 0x20003, owner: -1 }] } },
      [['owner of frame 0x20003', '-1', '1']],
    ],
    [
      'another number of pages',
      { eff: { pte: [pte], gt: [inUse], tot: [{ dom: 1, v: 7 }] } },
      [['domain 1: pages owned', '7', '8']],
    ],
    [
      'a bigger table',
      { eff: { pte: [pte], gt: [inUse], ngt: [{ dom: 1, v: 2 }] } },
      [['domain 1: grant frames', '2', '1']],
    ],
    [
      'other RAM',
      { eff: { pte: [pte], gt: [inUse], ram: [{ mfn: 0x10001, off: 16, hex: 'abcd' }] } },
      [['frame 0x10001 bytes 16 to 17 (2 differ)', 'abcd', '0000']],
    ],
    [
      'a domain that is gone',
      { eff: { pte: [pte], gt: [inUse], present: [{ dom: 1, v: 0 }] } },
      [['domain 1: is there', '0', '1']],
    ],
    [
      'a domain that crashed',
      { eff: { pte: [pte], gt: [inUse], crash: [0] } },
      [['domain 0: crashed', '1', '0']],
    ],
  ])('%s is reported, and only once', (_, others, differences) => {
    expect(found(mappingAs(others))).toEqual(differences.map((one) => [3, ...one]));
  });

  test('a handle that was not given', () => {
    const refused = { ...map, args: [{ ...mapping, ref: 9 }], eff: {} };
    expect(found(recordingOf(two, grant, refused))).toEqual([
      [
        3,
        'out[0]',
        'status GNTST_okay (0, okay), handle h1, dev_bus_addr 0x20000000',
        'status GNTST_general_error (-1, undefined error), handle untouched, dev_bus_addr untouched',
      ],
    ]);
  });

  test('every field that differs is named, with its byte, in the form that the entry has', () => {
    const other = { ...inUse, hex: '0900010000000300' };
    expect(found(mappingAs({ eff: { pte: [pte], gt: [other] } }))).toEqual([
      [
        3,
        'domain 1 grant entry 8: flags at byte 64, domid at byte 66, frame at byte 68',
        'GTF_permit_access|GTF_reading domid 1 frame 0x30000',
        used,
      ],
    ]);
  });

  test('the arguments of the element that differs are shown, and of no other', () => {
    const call = {
      ...map,
      args: [mapping, { ...mapping, host_addr: '0x40001000', ref: 9, flags: 6, dom: 0x7ff0 }],
      out: [mapped, { status: 0 }],
    };
    const [difference] = differencesOf(recordingOf(two, grant, call));
    expect(difference).toMatchObject({
      what: 'out[1]',
      argument:
        'args[1]  host_addr 0x40001000, flags GNTMAP_host_map|GNTMAP_readonly, ref 9, dom DOMID_SELF',
    });
    const [alone] = differencesOf(mappingAs({ rc: -22 }));
    expect(alone!.argument).toBe(
      'args[0]  host_addr 0x40000000, flags GNTMAP_host_map, ref 8, dom 1',
    );
    const [result] = differencesOf(recordingOf(two, grant, { ...call, rc: -22 }));
    expect(result).toMatchObject({ what: 'result' });
    expect(result).not.toHaveProperty('argument');
  });

  test('a comment of the recording goes with the difference', () => {
    const [difference] = differencesOf(mappingAs({ rc: -22, c: 'cannot be' }));
    expect(difference).toMatchObject({
      trace: 'by hand',
      step: 2,
      action: 'domain 0 map_grant_ref',
      comment: 'cannot be',
    });
  });
});

describe('entries of version 2, and what the "undefined error" of a map means', () => {
  const version2 = {
    t: 'hc',
    dom: 1,
    op: 'set_version',
    args: [{ version: 2 }],
    rc: 0,
    out: [{ version: 2 }],
    eff: { ver: [{ dom: 1, v: 2 }], nst: [{ dom: 1, v: 1 }] },
  };
  /** Reference 8 of version 2: flags, domid, offset and length or domid, frame or reference. */
  const entry = (hex: string): Json => ({ ...grant, off: 128, hex: hex.replaceAll(' ', '') });
  const readonlyMap = { ...mapping, flags: 6 };

  test.each<[string, Json, Json, string]>([
    [
      'part of a page',
      entry('0101 0000 1000 0800 0000020000000000'),
      mapping,
      'GTF_permit_access|GTF_sub_page domid 0 page_off 16 length 8 frame 0x20000; a part of a page can be copied, not mapped',
    ],
    [
      'a transitive grant',
      entry('0300 0000 0000 0000 0500000000000000'),
      mapping,
      'GTF_transitive domid 0 trans_domid 0 gref 5; a transitive grant can be copied, not mapped',
    ],
    [
      'a transfer',
      entry('0200 0000 00000000 0000000000000000'),
      readonlyMap,
      'GTF_accept_transfer domid 0 frame 0x0; it grants no access',
    ],
    ['nothing', entry('00000000'), mapping, 'empty; it grants no access'],
    [
      'a grant to somebody else',
      entry('0100 0700 00000000 0000020000000000'),
      mapping,
      'GTF_permit_access domid 7 frame 0x20000; it is not for domain 0',
    ],
    [
      'a grant for reading',
      entry('0500 0000 00000000 0000020000000000'),
      mapping,
      'GTF_permit_access|GTF_readonly domid 0 frame 0x20000; it can be mapped read-only',
    ],
  ])('%s', (_, granted, asked, words) => {
    const refused = { ...map, args: [asked], eff: {} };
    const differences = differencesOf(recordingOf(two, version2, granted, refused));
    expect(differences.map(({ what, hint }) => [what, hint])).toEqual([
      ['out[0]', `GNTST_general_error: reference 8 of domain 1 is ${words}`],
    ]);
  });

  test('bytes that have no name are shown as bytes, and where they are', () => {
    const granted = entry('0300 0000 0000 0000 0500000000000000');
    const check = { ...granted, t: 'chk', hex: '030000000000010005000000ff000000' };
    const words = 'GTF_transitive domid 0 trans_domid 0 gref 5';
    expect(found(recordingOf(two, version2, granted, check))).toEqual([
      [
        4,
        'domain 1 grant entry 8: pad0 at byte 134, unused at byte 140',
        `${words} (030000000000010005000000ff000000)`,
        `${words} (03000000000000000500000000000000)`,
      ],
    ]);
  });

  test('another status needs no hint', () => {
    const [difference] = differencesOf(mappingAs({ out: [{ ...mapped, status: -9 }] }));
    expect(difference).not.toHaveProperty('hint');
  });
});

describe('other things that are compared', () => {
  const fill = { t: 'fill', mfn: 0x10000, seed: 3 };
  const copy = {
    t: 'hc',
    dom: 0,
    op: 'copy',
    args: [
      {
        source: { gmfn: '0x10000', domid: 0x7ff0, offset: 0 },
        dest: { gmfn: '0x10001', domid: 0x7ff0, offset: 0 },
        len: 4096,
        flags: 0,
      },
    ],
    rc: 0,
    out: [{ status: 0 }],
  };
  const ram = (digest: string) => ({ ram: [{ mfn: 0x10001, off: 0, len: 4096, sha256: digest }] });
  const pattern = Uint8Array.from({ length: 4096 }, (_, i) => 3 * 131 + i * 7 + (i >> 8) * 13);
  const digest = createHash('sha256').update(pattern).digest('hex');
  const zeros = createHash('sha256').update(new Uint8Array(4096)).digest('hex');

  test('bytes of which only the digest is recorded', () => {
    expect(found(recordingOf(two, fill, { ...copy, eff: ram(digest) }))).toEqual([]);
    expect(found(recordingOf(two, fill, { ...copy, eff: ram(zeros) }))).toEqual([
      [3, 'SHA-256 of frame 0x10001, 4096 bytes from 0', zeros, digest],
    ]);
  });

  test('a list of frames', () => {
    const setup = (frame_list: string[]) => ({
      t: 'hc',
      dom: 1,
      op: 'setup_table',
      args: [{ dom: 0x7ff0, nr_frames: 1 }],
      rc: 0,
      out: [{ status: 0, frame_list }],
    });
    expect(found(recordingOf(two, setup(['gt:1:0'])))).toEqual([]);
    const [[, what, expected, got] = []] = found(recordingOf(two, setup(['0x3'])));
    expect([what, expected]).toEqual(['frame_list', '0x3']);
    expect(got).toMatch(/^0x[0-9a-f]+$/);
    expect(found(recordingOf(two, setup([])))).toEqual([[2, 'frame_list', 'untouched', got]]);
  });

  test('the physical map of a translated guest', () => {
    const world = header(domain(0), translated(1));
    const physmap = (effect: Json) => ({
      t: 'physmap',
      dom: 1,
      idx: '0x0',
      gfn: 100,
      rc: 0,
      eff: { p2m: [{ dom: 1, gfn: 100, type: 'ram_rw', ...effect }] },
    });
    expect(found(recordingOf(world, physmap({ mfn: 'gt:1:0' })))).toEqual([]);
    const [[, what, expected] = []] = found(recordingOf(world, physmap({ mfn: 7 })));
    expect([what, expected]).toEqual(['domain 1 gfn 100', 'ram_rw mfn 0x7']);
  });

  test.each<[string, Json, unknown[][]]>([
    ['an entry', { sp: 'gt', dom: 1, off: 64, hex: '0100' }, []],
    [
      'an entry that is otherwise',
      { sp: 'gt', dom: 1, off: 64, hex: '0500' },
      [[3, entry8, 'GTF_permit_access|GTF_readonly domid 0 frame 0x20000', unused]],
    ],
    [
      'entries on both sides of a byte in the middle of one',
      { sp: 'gt', dom: 1, off: 70, hex: '0300' + '0200' },
      [
        [3, 'domain 1 grant entry 8: frame at byte 68', unused.replace('20000', '30000'), unused],
        [
          3,
          'domain 1 grant entry 9: flags at byte 72',
          'GTF_accept_transfer domid 0 frame 0x0',
          'empty',
        ],
      ],
    ],
    ['a frame', { sp: 'ram', mfn: 0x10001, owner: 0, sha256: zeros }, []],
    [
      'a frame that is otherwise',
      { sp: 'ram', mfn: 0x10001, owner: 1, sha256: digest },
      [
        [3, 'owner of frame 0x10001', '1', '0'],
        [3, 'SHA-256 of frame 0x10001', digest, zeros],
      ],
    ],
    [
      'a table',
      { sp: 'gtall', dom: 0, version: 1, nr_frames: 1, nr_status: 0, gt_sha256: zeros },
      [],
    ],
    [
      'a table that is otherwise',
      { sp: 'gtall', dom: 0, version: 2, nr_frames: 2, nr_status: 0, gt_sha256: digest },
      [
        [3, 'domain 0: table version', '2', '1'],
        [3, 'domain 0: grant frames', '2', '1'],
        [
          3,
          'domain 0: SHA-256 of the table',
          digest,
          createHash('sha256').update(new Uint8Array(8192)).digest('hex'),
        ],
      ],
    ],
  ])('chk: %s', (_, check, differences) => {
    expect(found(recordingOf(two, grant, { t: 'chk', ...check }))).toEqual(differences);
  });
});

describe('a recording that makes no sense', () => {
  const one = header(domain(0));
  const endless = JSON.stringify(one);
  test.each<[string, string, string]>([
    ['nothing', '', 'line 1: the recording is empty'],
    ['text', 'no JSON', 'line 1: not JSON lines: one object a line'],
    ['JSON on many lines', '{\n}', 'line 1: not JSON lines: one object a line'],
    ['a number', '7', 'line 1: an object expected, not 7'],
    ['something else', '{"format":1}', 'line 1: not a recording of grant tables'],
    [
      'a list as long as a novel',
      JSON.stringify(Array.from({ length: 1e5 }, () => 7)),
      `line 1: an object expected, not [${'7,'.repeat(29)}7…`,
    ],
    ['another format', JSON.stringify({ ...one, format: 2 }), 'line 1.format: 1 expected, not 2'],
    [
      'another architecture',
      JSON.stringify({ ...one, arch: 'arm64' }),
      'line 1.arch: x86_64 expected, not "arm64"',
    ],
    ...(
      [
        ['frames', 1e9, 'a whole number from 1 to 65536 expected, not 1000000000'],
        ['frames', 1e300, 'a whole number from 1 to 65536 expected, not 1e+300'],
        ['frames', 0, 'a whole number from 1 to 65536 expected, not 0'],
        ['frames', 16.5, 'a whole number from 1 to 65536 expected, not 16.5'],
        ['frames', '16', 'a whole number from 1 to 65536 expected, not "16"'],
        ['max_grant_frames', 1e9, 'a whole number from 1 to 1024'],
        ['max_maptrack_frames', 1e9, 'a whole number from 0 to 1024'],
        ['max_pages', 1e15, 'a whole number from 1 to 8388607'],
        ['nvcpu', 0, 'a whole number from 1 to 128'],
        ['id', 0x7ff0, 'a whole number from 0 to 32751'],
        ['addr_bits', 65, 'a whole number from 0 to 64'],
        ['mfn_base', 2 ** 32 + 65_536, 'a whole number from 65536 to 8388607'],
        ['mfn_base', 0, 'a whole number from 65536 to 8388607'],
      ] as const
    ).map(([field, value, sentence]): [string, string, string] => [
      `a header with ${field} ${value}`,
      JSON.stringify(header(domain(0, { [field]: value }))),
      `line 1.domains[0].${field}: ${sentence}`,
    ]),
    [
      'more frames than the host has room for',
      JSON.stringify(header(...[0, 1, 2].map((id) => domain(id, { frames: 65_536 })))),
      'line 1: 196608 frames in all domains; room is for 131072',
    ],
    ['no end', endless, 'line 1: the trace has no end'],
    ['a header too many', `${endless}\n${endless}`, 'line 2: the trace before has no end'],
    ['an unknown line', recordingOf(one, { t: 'zap' }), 'line 2.t: w, fill, hc,'],
    ['an unknown field', recordingOf(one, { t: 'note', text: '', x: 1 }), 'unknown field x'],
    ['a field that is missing', recordingOf(one, { t: 'oom' }), 'line 2: no field pages'],
    [
      'a field of another kind',
      recordingOf(one, { t: 'oom', pages: '1' }),
      'line 2.pages: a whole',
    ],
    ['an unknown operation', recordingOf(one, { ...map, op: 'steal' }), 'line 2.op: map_grant_ref'],
    [
      'an argument of another operation',
      recordingOf(one, { ...map, op: 'transfer' }),
      'line 2.args[0]: unknown field host_addr',
    ],
    ['an unknown effect', recordingOf(one, { ...map, eff: { x: [] } }), 'unknown field x'],
    [
      'lines that are missing',
      `${endless}\n{"t":"end","steps":2,"hypercalls":1}`,
      'line 2: the trace has 1 steps and 0 hypercalls, not 2 and 1',
    ],
  ])('%s', (_, recording, message) => {
    expect(() => readGnttabRecording(recording)).toThrow(RecordingError);
    expect(() => readGnttabRecording(recording)).toThrow(message);
  });

  test.each<[string, string, string]>([
    [
      'an unknown domain',
      recordingOf(one, { t: 'kill', dom: 5, rc: 0 }),
      'line 2: the trace has no domain 5',
    ],
    [
      'an unknown frame',
      recordingOf(one, { t: 'fill', mfn: 9, seed: 1 }),
      'line 2: the trace has no frame 0x9',
    ],
    [
      'bytes beyond the table',
      recordingOf(one, { ...grant, dom: 0, off: 4096 }),
      'line 2: domain 0 gt has no byte 4096',
    ],
    [
      'a domain that no machine takes',
      recordingOf(header(domain(0, { frames: 8, max_pages: 7 }))),
      'line 1: a domain of 8 pages cannot have at most 7',
    ],
    [
      'more frames of a table than the domain may have',
      recordingOf(two, grant, { ...map, eff: { ngt: [{ dom: 1, v: 1e9 }] } }),
      'line 3: domain 1 ngt 1000000000; allowed are 0 to 4',
    ],
    ['two domains in one place', recordingOf(header(domain(0), domain(0))), 'mfn_base 65536'],
  ])('%s', (_, recording, message) => {
    expect(() => differencesOf(recording)).toThrow(RecordingError);
    expect(() => differencesOf(recording)).toThrow(message);
  });
});
