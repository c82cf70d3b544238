/** A replay must notice whatever is not as recorded, say what it is, and say it once. */
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { RecordingError } from '../reader.ts';
import { readEvtchnRecording } from './recording.ts';
import { replayEvtchnTrace } from './replay.ts';

type Json = Record<string, unknown>;

const domain = (id: number, others: Json = {}): Json => ({
  id,
  priv: id === 0,
  hwdom: id === 0,
  type: 'pv',
  bits: 64,
  nvcpus: 2,
  max_port: 1023,
  frames: 4,
  mfn_base: (id + 1) * 0x10000,
  ro_gfns: [],
  target: null,
  ...others,
});

const header = (...domains: Json[]): Json => ({
  t: 'hdr',
  name: 'by hand',
  desc: '',
  xen: '',
  features: [],
  domains,
});

const recordingOf = (head: Json, ...steps: Json[]): string =>
  [head, ...steps, { t: 'end', steps: steps.length + 1 }]
    .map((line) => JSON.stringify(line))
    .join('\n');

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function differencesOf(recording: string) {
  const [trace] = readEvtchnRecording(recording);
  return replayEvtchnTrace(trace!, { sha256 }).differences;
}

const found = (recording: string) =>
  differencesOf(recording).map(({ line, what, expected, got }) => [line, what, expected, got]);

const two = header(domain(1), domain(2));
const SELF = 0x7ff0;
/** Domain 1 has a port for domain 2, which binds to it: its own port is pending. */
const alloc = {
  t: 'hc',
  dom: 1,
  op: 'alloc_unbound',
  args: { dom: SELF, remote_dom: 2 },
  rc: 0,
  out: { port: 1 },
};
const upcall = { dom: 2, off: 0, hex: '01' };
const selector = { dom: 2, off: 8, hex: '01' };
const pending = { dom: 2, off: 2048, hex: '02' };
const effects = { si: [upcall, selector, pending], up: [[2, 0]] };
const bind = {
  t: 'hc',
  dom: 2,
  op: 'bind_interdomain',
  args: { remote_dom: 1, remote_port: 1 },
  rc: 0,
  out: { local_port: 1 },
  eff: effects,
};
const status = {
  t: 'hc',
  dom: 2,
  op: 'status',
  args: { dom: SELF, port: 1 },
  rc: 0,
  out: { status: 2, vcpu: 0, u_dom: 1, u_port: 1 },
};
const bindingAs = (others: Json) => recordingOf(two, alloc, { ...bind, ...others }, status);

test('a true recording has no differences', () => {
  expect(found(bindingAs({}))).toEqual([]);
});

describe('what a bind_interdomain should not have done, and what it should', () => {
  test.each<[string, Json, string[][]]>([
    ['another result', { rc: -22 }, [['result', '-EINVAL (-22)', '0']]],
    ['another port', { out: { local_port: 2 } }, [['out', 'local_port 2', 'local_port 1']]],
    [
      'a field that should have been left alone',
      { out: {} },
      [['out', 'local_port untouched', 'local_port 1']],
    ],
    [
      'no pending bit',
      { eff: { ...effects, si: [upcall, selector] } },
      [['domain 2 evtchn_pending of ports 0 to 63', 'none', '1']],
    ],
    [
      'another pending bit',
      { eff: { ...effects, si: [upcall, selector, { ...pending, hex: '0a' }] } },
      [['domain 2 evtchn_pending of ports 0 to 63', '1 3', '1']],
    ],
    [
      'a mask',
      { eff: { ...effects, si: [upcall, selector, pending, { dom: 1, off: 2568, hex: '01' }] } },
      [['domain 1 evtchn_mask of ports 64 to 127', '64', 'none']],
    ],
    [
      'another selector',
      { eff: { ...effects, si: [upcall, { ...selector, hex: '03' }, pending] } },
      [['domain 2 vCPU 0: evtchn_pending_sel', '0x3', '0x1']],
    ],
    [
      'bytes without a name',
      { eff: { ...effects, si: [upcall, selector, pending, { dom: 1, off: 4000, hex: 'ab' }] } },
      [['domain 1 shared info bytes 4000 to 4000 (1 differ)', 'ab', '00']],
    ],
    ['no upcall', { eff: { si: effects.si } }, [['upcalls', 'none', 'domain 2 vCPU 0']]],
    [
      'an upcall elsewhere',
      { eff: { ...effects, up: [[2, 1]] } },
      [['upcalls', 'domain 2 vCPU 1', 'domain 2 vCPU 0']],
    ],
    [
      'a virtual CPU that runs again',
      { eff: { ...effects, wake: [[2, 0]] } },
      [['virtual CPUs that run again', 'domain 2 vCPU 0', 'none']],
    ],
    [
      "a call of Xen's handler",
      { eff: { ...effects, xen: [[1, 0, 1]] } },
      [["calls of Xen's handlers", 'domain 1 vCPU 0 port 1', 'none']],
    ],
    [
      'other RAM',
      { eff: { ...effects, ram: [{ mfn: 0x20001, off: 16, hex: 'abcd' }] } },
      [['frame 0x20001 bytes 16 to 17 (2 differ)', 'abcd', '0000']],
    ],
    [
      'a frame that is in use',
      { eff: { ...effects, pin: [{ mfn: 0x20001, n: 1 }] } },
      [['frame 0x20001: writable references', '1', '0']],
    ],
  ])('%s is reported, and only once', (_, others, differences) => {
    expect(found(bindingAs(others))).toEqual(differences.map((one) => [3, ...one]));
  });

  test('the arguments are shown, and the comment of the recording', () => {
    const [difference] = differencesOf(recordingOf(two, { ...alloc, rc: -1, c: 'cannot be' }));
    expect(difference).toMatchObject({
      trace: 'by hand',
      step: 1,
      action: 'domain 1 alloc_unbound',
      argument: 'args  dom DOMID_SELF, remote_dom 2',
      comment: 'cannot be',
    });
  });

  test('a union by the member that is recorded', () => {
    const other = { ...status, out: { status: 4, vcpu: 0, u_virq: 7 } };
    expect(found(recordingOf(two, alloc, bind, other))).toEqual([
      [4, 'out', 'status 4, u_virq 7, u_port untouched', 'status 2, u_virq 0xa5a50001, u_port 1'],
    ]);
  });
});

describe('FIFO delivery in words', () => {
  const fifo = header(domain(1), domain(2, { type: 'hvm' }));
  const init = {
    t: 'hc',
    dom: 2,
    op: 'init_control',
    args: { control_gfn: '0x1', offset: 64, vcpu: 1 },
    rc: 0,
    out: { link_bits: 17 },
    eff: { pin: [{ mfn: 0x30001, n: 1 }] },
  };
  const expand = {
    t: 'hc',
    dom: 2,
    op: 'expand_array',
    args: { array_gfn: '0x2' },
    rc: 0,
    eff: { pin: [{ mfn: 0x30002, n: 1 }] },
  };
  const info = {
    t: 'vcpu_info',
    dom: 2,
    vcpu: 0,
    target: 0,
    frame: '0x3',
    offset: 128,
    rc: 0,
    eff: {
      ram: [{ mfn: 0x30003, off: 128, hex: '01000000000000' + '00ffffffffffffffff' }],
      pin: [{ mfn: 0x30003, n: 1 }],
      up: [[2, 0]],
    },
  };
  const ram = (mfn: number, off: number, hex: string) => ({ eff: { ram: [{ mfn, off, hex }] } });

  test.each<[string, Json, string[]]>([
    [
      'an event word',
      ram(0x30002, 20, '030000a0'),
      ['domain 2 event word of port 5', 'PENDING|LINKED link 3', '0 link 0'],
    ],
    [
      'reserved bits of an event word',
      ram(0x30002, 4, '00000650'),
      ['domain 2 event word of port 1', 'MASKED|BUSY link 0 reserved 0x3', '0 link 0'],
    ],
    [
      'which queues have something',
      ram(0x30001, 64, '81000000'),
      ['domain 2 vCPU 1 control block: ready', 'priority 0, 7', 'none'],
    ],
    [
      'the head of a queue',
      ram(0x30001, 100, '2a000000'),
      ['domain 2 vCPU 1 control block: head[7]', '42', '0'],
    ],
    [
      'vcpu_info elsewhere',
      ram(0x30003, 129, '01'),
      ['domain 2 vCPU 0: evtchn_upcall_mask', '0x1', '0x0'],
    ],
  ])('%s', (_, others, difference) => {
    const recording = recordingOf(fifo, init, expand, info, { ...status, rc: 0, ...others });
    const closed = recording.replace(/"out":\{"status":2[^}]*\}/, '"out":{"status":0,"vcpu":0}');
    expect(found(closed)).toEqual([[5, ...difference]]);
  });
});

describe('other things that are compared', () => {
  const zeros = (pages: number) => sha256(new Uint8Array(pages * 4096));
  test.each<[string, Json, unknown[][]]>([
    ['bytes', { sp: 'si', dom: 2, off: 2048, hex: '02' }, []],
    [
      'bytes that are otherwise',
      { sp: 'si', dom: 2, off: 2048, hex: '06' },
      [[4, 'domain 2 evtchn_pending of ports 0 to 63', '1 2', '1']],
    ],
    ['memory', { sp: 'all', dom: 1, si_sha256: zeros(1), ram_sha256: zeros(4) }, []],
    [
      'memory that is otherwise',
      { sp: 'all', dom: 1, si_sha256: zeros(2), ram_sha256: zeros(2) },
      [
        [4, 'SHA-256 of domain 1 shared info', zeros(2), zeros(1)],
        [4, 'SHA-256 of domain 1 memory', zeros(2), zeros(4)],
      ],
    ],
  ])('chk: %s', (_, check, differences) => {
    expect(found(recordingOf(two, alloc, bind, { t: 'chk', ...check }))).toEqual(differences);
  });

  test('whether a virtual CPU waits', () => {
    const poll = { t: 'poll', dom: 1, vcpu: 1, ports: [1], rc: 0, blocked: true };
    expect(found(recordingOf(two, alloc, poll))).toEqual([]);
    expect(found(recordingOf(two, alloc, { ...poll, blocked: false }))).toEqual([
      [3, 'blocked', 'false', 'true'],
    ]);
    expect(found(recordingOf(two, alloc, { ...poll, rc: -22 }))).toEqual([
      [3, 'result', '-EINVAL (-22)', '0'],
    ]);
  });
});

describe('a recording that makes no sense', () => {
  const one = header(domain(0));
  const endless = JSON.stringify(one);
  test.each<[string, string, string]>([
    ['nothing', '', 'line 1: the recording is empty'],
    ['something else', '{"format":1}', 'line 1: not a recording of event channels'],
    ...(
      [
        ['frames', 0, 'a whole number from 1 to 65536 expected, not 0'],
        ['nvcpus', 129, 'a whole number from 1 to 128'],
        ['bits', 16, '64 or 32 expected, not 16'],
        ['max_port', -1, 'a whole number from 0 to 4294967295'],
        ['target', 'x', 'a whole number from 0 to 32751'],
      ] as const
    ).map(([field, value, sentence]): [string, string, string] => [
      `a header with ${field} ${value}`,
      JSON.stringify(header(domain(0, { [field]: value }))),
      `line 1.domains[0].${field}: ${sentence}`,
    ]),
    [
      'a read-only frame that there is not',
      JSON.stringify(header(domain(0, { ro_gfns: [4] }))),
      'line 1: domain 0 has no gfn 4',
    ],
    ['no end', endless, 'line 1: the trace has no end'],
    ['an unknown line', recordingOf(one, { t: 'zap' }), 'line 2.t: w, chk, hc,'],
    ['an unknown operation', recordingOf(one, { ...alloc, op: 'steal' }), 'line 2.op: alloc_unb'],
    [
      'an argument of another operation',
      recordingOf(one, { ...alloc, op: 'send' }),
      'line 2.args: unknown field dom',
    ],
    [
      'no number for what is unknown',
      recordingOf(one, { ...alloc, op: 'unknown', args: {} }),
      'line 2: an unknown operation needs a number, cmd',
    ],
    ['an unknown effect', recordingOf(one, { ...alloc, eff: { x: [] } }), 'unknown field x'],
    [
      'an upcall of nobody',
      recordingOf(one, { ...alloc, eff: { up: [[1]] } }),
      'line 2.eff.up[0]: 2 numbers expected, not 1',
    ],
    [
      'lines that are missing',
      `${endless}\n{"t":"end","steps":2}`,
      'line 2: the trace has 1 steps, not 2',
    ],
  ])('%s', (_, recording, message) => {
    expect(() => readEvtchnRecording(recording)).toThrow(RecordingError);
    expect(() => readEvtchnRecording(recording)).toThrow(message);
  });

  test.each<[string, string, string]>([
    [
      'an unknown domain',
      recordingOf(one, { t: 'unblock', dom: 5, vcpu: 0 }),
      'line 2: the trace has no domain 5',
    ],
    [
      'an unknown frame',
      recordingOf(one, { t: 'w', sp: 'ram', mfn: 9, off: 0, hex: '00' }),
      'line 2: the trace has no frame 0x9',
    ],
    [
      'a write beyond the page',
      recordingOf(one, { t: 'w', sp: 'si', dom: 0, off: 4095, hex: '0000' }),
      'line 2: domain 0 shared info has no byte 4096',
    ],
    [
      'an effect beyond the page',
      recordingOf(one, {
        t: 'pause',
        dom: 0,
        n: 1,
        eff: { si: [{ dom: 0, off: 4096, hex: '00' }] },
      }),
      'line 2: domain 0 shared info: no bytes 4096 to 4097',
    ],
    [
      'a field that the operation does not write',
      recordingOf(two, { ...alloc, out: { link_bits: 17 } }),
      'line 2: out: alloc_unbound has no link_bits',
    ],
    ['two domains in one place', recordingOf(header(domain(0), domain(0))), 'mfn_base 65536'],
    [
      'the device model of nobody',
      recordingOf(header(domain(0, { target: 9 }))),
      'line 1: there is no domain 9',
    ],
  ])('%s', (_, recording, message) => {
    expect(() => differencesOf(recording)).toThrow(RecordingError);
    expect(() => differencesOf(recording)).toThrow(message);
  });
});
