/**
 * What a trace can be turned into, piece by piece and pure: records in, text out.
 * Source: "Trace Event Format" of the Chromium project, which Perfetto opens.
 */
import type { TraceRecord } from './trace.ts';
import { traceKind } from './trace-kinds.ts';

/** What to call a domain. */
export type DomainName = (domid: number) => string;

const byNumber: DomainName = (domid) => `domain ${domid}`;

/** One line for people: time, domain, kind, arguments. */
export function timelineLine(record: TraceRecord, nameOf: DomainName = byNumber): string {
  const time = (record.timeNs / 1000).toFixed(3).padStart(12);
  const args = Object.entries(record.args).map(([name, value]) => `${name}=${value}`);
  const columns = [`${time} µs`, nameOf(record.domid).padEnd(10), record.name.padEnd(22)];
  return [...columns, ...args].join(' ').trimEnd();
}

/** Records counted by domain and kind. */
export class RecordCounts {
  readonly domains = new Map<number, Map<string, number>>();

  add(records: readonly TraceRecord[]): void {
    for (const { domid, name } of records) {
      let counts = this.domains.get(domid);
      if (counts === undefined) this.domains.set(domid, (counts = new Map()));
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
  }

  /** The counts of a domain by kind, in order of first appearance. */
  of(domid: number): Record<string, number> {
    return Object.fromEntries(this.domains.get(domid) ?? []);
  }
}

/** How many records of a domain lie between two points of its counter track. */
const COUNTER_EVERY = 64;

/** Threads of a domain: the layers that records come from, by kind number. */
const layers = [
  { name: 'hypervisor and kernel', below: 64 },
  { name: 'blkif', below: 96 },
  { name: 'netif', below: 128 },
  { name: 'workload', below: Infinity },
];

/**
 * Writes Chrome trace JSON as a stream: `start`, then `add` as often as there are records, then `end`; the pieces put
 * together are one JSON document. Each domain is a process (`pid` is its id plus one, for 0 means something else there),
 * each layer a thread. Kinds with a span are asynchronous events, all others instants; a counter track sums them up.
 */
export class ChromeTrace {
  readonly #counts = new RecordCounts();
  readonly #layers = new Map<number, Set<number>>();
  readonly #sinceCounter = new Map<number, number>();
  #isFirst = true;

  /** What the document starts with. */
  start(): string {
    return '{"displayTimeUnit":"ns","traceEvents":[';
  }

  /** The records as further events of the document. */
  add(records: readonly TraceRecord[]): string {
    let text = '';
    for (const record of records) {
      this.#counts.add([record]);
      text += this.#event(eventOf(record));
      this.#see(record.domid, layerOf(record.kind));
      const since = (this.#sinceCounter.get(record.domid) ?? 0) + 1;
      this.#sinceCounter.set(record.domid, since % COUNTER_EVERY);
      if (since === COUNTER_EVERY) text += this.#counter(record);
    }
    return text;
  }

  /** The names of domains and layers, and what the document ends with. */
  end(nameOf: DomainName = byNumber): string {
    let text = '';
    for (const [domid, seen] of this.#layers) {
      const pid = domid + 1;
      const name = nameOf(domid);
      const process = name === byNumber(domid) ? name : `${name} (${byNumber(domid)})`;
      text += this.#event({ ph: 'M', pid, name: 'process_name', args: { name: process } });
      for (const tid of seen) {
        const args = { name: layers[tid - 1]!.name };
        text += this.#event({ ph: 'M', pid, tid, name: 'thread_name', args });
      }
    }
    return `${text}\n]}\n`;
  }

  #see(domid: number, tid: number): void {
    const seen = this.#layers.get(domid);
    if (seen === undefined) this.#layers.set(domid, new Set([tid]));
    else seen.add(tid);
  }

  #counter({ domid, timeNs }: TraceRecord): string {
    const args = this.#counts.of(domid);
    return this.#event({ ph: 'C', pid: domid + 1, ts: timeNs / 1000, name: 'counts', args });
  }

  #event(event: object): string {
    const comma = this.#isFirst ? '\n' : ',\n';
    this.#isFirst = false;
    return comma + JSON.stringify(event);
  }
}

/** The number of the thread, from 1. */
const layerOf = (kind: number): number => layers.findIndex(({ below }) => kind < below) + 1;

function eventOf({ kind, name, domid, timeNs, args }: TraceRecord): object {
  const { span } = traceKind(kind);
  const event = { pid: domid + 1, tid: layerOf(kind), ts: timeNs / 1000 };
  if (span === undefined) return { ph: 'i', s: 't', ...event, name, args };
  const [id = 0] = Object.values(args);
  const ph = span.edge === 'begin' ? 'b' : 'e';
  const id2 = { local: `0x${id.toString(16)}` };
  return { ph, cat: span.name, id2, ...event, name: span.name, args };
}
