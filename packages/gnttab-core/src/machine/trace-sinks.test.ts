import { expect, test } from 'vitest';
import type { TraceRecord } from './trace.ts';
import { defineTraceKind, TRACE, traceKind } from './trace-kinds.ts';
import { ChromeTrace, RecordCounts, timelineLine } from './trace-sinks.ts';

const begin = defineTraceKind(250, 'sink_test_begin', ['id', 'sector'], {
  name: 'sink_test',
  edge: 'begin',
});
const end = defineTraceKind(251, 'sink_test_end', ['id'], { name: 'sink_test', edge: 'end' });

function record(kind: number, domid: number, timeNs: number, ...values: number[]): TraceRecord {
  const { name, args } = traceKind(kind);
  const named = Object.fromEntries(args.map((arg, i) => [arg, values[i] ?? 0]));
  return { sequence: 0, timeNs, kind, name, domid, args: named };
}

const names = (domid: number) => ['Domain-0', 'driver', 'guest'][domid] ?? `domain ${domid}`;

interface Event {
  readonly ph: string;
  readonly pid: number;
  readonly name: string;
  readonly args: Readonly<Record<string, unknown>>;
}

function parsed(...pieces: string[]): Event[] {
  return (JSON.parse(pieces.join('')) as { traceEvents: Event[] }).traceEvents;
}

test('the timeline has a line for each record: time, domain, kind, arguments', () => {
  expect(timelineLine(record(TRACE.evtchnHeld, 2, 1_234_567, 4), names)).toBe(
    '    1234.567 µs guest      notify_held_off        port=4',
  );
  expect(timelineLine(record(TRACE.evtchnHeld, 7, 0, 4))).toContain(' domain 7   notify_held_off');
});

test('records are counted by domain and kind', () => {
  const counts = new RecordCounts();
  counts.add([record(TRACE.upcall, 1, 0), record(TRACE.upcall, 2, 0)]);
  counts.add([record(TRACE.upcall, 1, 0), record(TRACE.evtchnSend, 1, 0)]);
  expect(counts.of(1)).toEqual({ upcall: 2, evtchn_send: 1 });
  expect(counts.of(3)).toEqual({});
});

test('a Chrome trace without a record is a JSON document', () => {
  const trace = new ChromeTrace();
  expect(parsed(trace.start(), trace.end())).toEqual([]);
});

test('a Chrome trace can end after any piece and is a JSON document still', () => {
  for (let pieces = 0; pieces < 4; pieces++) {
    const trace = new ChromeTrace();
    const text = [trace.start()];
    for (let n = 0; n < pieces; n++) {
      text.push(trace.add([record(begin, 1, n, n), record(TRACE.upcall, 2, n)]));
    }
    expect(parsed(...text, trace.end()).filter(({ ph }) => ph !== 'M')).toHaveLength(2 * pieces);
  }
});

test('a kind with a span is a pair of asynchronous events with one id, any other an instant', () => {
  const trace = new ChromeTrace();
  const records = [
    record(begin, 2, 1000, 31, 8),
    record(TRACE.evtchnSend, 2, 1500, 4, 1, 5),
    record(end, 2, 2500, 31),
  ];
  const where = { pid: 3, tid: 4 };
  const span = { cat: 'sink_test', name: 'sink_test', id2: { local: '0x1f' } };
  expect(parsed(trace.start(), trace.add(records), trace.end()).slice(0, 3)).toEqual([
    { ph: 'b', ...where, ...span, ts: 1, args: { id: 31, sector: 8 } },
    {
      ph: 'i',
      s: 't',
      pid: 3,
      tid: 1,
      ts: 1.5,
      name: 'evtchn_send',
      args: { port: 4, remote: 1, remote_port: 5 },
    },
    { ph: 'e', ...where, ...span, ts: 2.5, args: { id: 31 } },
  ]);
});

test('domains are processes, and the layers that records came from their threads', () => {
  const trace = new ChromeTrace();
  const text = trace.add([record(TRACE.upcall, 1, 0), record(begin, 1, 0), record(begin, 5, 0)]);
  const named = parsed(trace.start(), text, trace.end(names)).filter(({ ph }) => ph === 'M');
  expect(named.map(({ pid, name, args }) => [pid, name, args['name']])).toEqual([
    [2, 'process_name', 'driver (domain 1)'],
    [2, 'thread_name', 'hypervisor and kernel'],
    [2, 'thread_name', 'workload'],
    [6, 'process_name', 'domain 5'],
    [6, 'thread_name', 'workload'],
  ]);
});

test('every 64 records of a domain its counts are written', () => {
  const trace = new ChromeTrace();
  const many = Array.from({ length: 130 }, (_, n) => record(TRACE.upcall, 1 + (n % 2), n));
  const counters = parsed(trace.start(), trace.add(many), trace.end()).filter(
    ({ ph }) => ph === 'C',
  );
  expect(counters.map(({ pid, args }) => [pid, args])).toEqual([
    [2, { upcall: 64 }],
    [3, { upcall: 64 }],
  ]);
});
