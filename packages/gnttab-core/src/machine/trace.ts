/**
 * The trace: fixed-size records in a ring in machine memory. A disabled trace point costs one
 * branch. Whoever wants all records drains them through `onRecords` before the ring laps itself.
 */
import { array, struct, u16, u32 } from '../abi/struct.ts';
import type { Bank } from './bank.ts';
import type { Clock } from './clock.ts';
import { traceKind } from './trace-kinds.ts';

export const traceRecord = struct(
  'trace_record',
  { time_lo: u32, time_hi: u32, kind: u16, domid: u16, args: array(u32, 5) },
  { size: 32 },
);
export const traceHeader = struct(
  'trace_header',
  { /** Records written since the start. */ head: u32, enabled: u32, pad: array(u32, 6) },
  { size: 32 },
);

/** A decoded record. */
export interface TraceRecord {
  readonly sequence: number;
  readonly timeNs: number;
  readonly kind: number;
  readonly name: string;
  readonly domid: number;
  readonly args: Readonly<Record<string, number>>;
}

const { head: HEAD, enabled: ENABLED } = traceHeader.offset;
const {
  time_lo: TIME_LO,
  time_hi: TIME_HI,
  kind: KIND,
  domid: DOMID,
  args: ARGS,
} = traceRecord.offset;

export class Trace {
  /** Called with everything not yet seen whenever the ring is half full, and by `flush`. */
  onRecords: ((records: TraceRecord[]) => void) | undefined;
  readonly #heap: Bank;
  readonly #header: number;
  readonly #ring: number;
  readonly #capacity: number;
  readonly #clock: Clock;
  #drained = 0;
  #on = false;

  /** @param offsetBytes of the header in bank 0; `capacity` records follow it, a power of two. */
  constructor(heap: Bank, offsetBytes: number, capacity: number, clock: Clock) {
    this.#heap = heap;
    this.#header = offsetBytes;
    this.#ring = offsetBytes + traceHeader.size;
    this.#capacity = capacity;
    this.#clock = clock;
    this.#on = capacity > 0 && heap.u32[(offsetBytes + ENABLED) >>> 2] !== 0;
  }

  get enabled(): boolean {
    return this.#on;
  }

  /** Switches recording on or off. A machine created without room for a trace stays off. */
  set enabled(on: boolean) {
    if (this.#capacity === 0) return;
    this.#on = on;
    this.#heap.u32[(this.#header + ENABLED) >>> 2] = on ? 1 : 0;
  }

  /** Records what `domid` did. */
  emit(kind: number, domid: number, a = 0, b = 0, c = 0, d = 0, e = 0): void {
    if (this.#on) this.#record(kind, domid, a, b, c, d, e);
  }

  #record(
    kind: number,
    domid: number,
    a: number,
    b: number,
    c: number,
    d: number,
    e: number,
  ): void {
    const { u16, u32, i32 } = this.#heap;
    const sequence = Atomics.add(i32, (this.#header + HEAD) >>> 2, 1) >>> 0;
    const at = this.#ring + (sequence & (this.#capacity - 1)) * traceRecord.size;
    const now = this.#clock.nowNs();
    u32[(at + TIME_LO) >>> 2] = now;
    u32[(at + TIME_HI) >>> 2] = now / 2 ** 32;
    u16[(at + KIND) >>> 1] = kind;
    u16[(at + DOMID) >>> 1] = domid;
    const args = (at + ARGS) >>> 2;
    u32[args] = a;
    u32[args + 1] = b;
    u32[args + 2] = c;
    u32[args + 3] = d;
    u32[args + 4] = e;
    if (((sequence + 1) & (this.#capacity / 2 - 1)) === 0) this.flush();
  }

  /** Hands the records since the last time to `onRecords`. */
  flush(): void {
    if (this.onRecords === undefined || this.#capacity === 0) return;
    const records = this.records(this.#drained);
    this.#drained = this.written;
    if (records.length > 0) this.onRecords(records);
  }

  /** Records written since the start (modulo 2^32). */
  get written(): number {
    return this.#heap.u32[(this.#header + HEAD) >>> 2]!;
  }

  /** Decodes what the ring still holds, from record number `from` on. */
  records(from = 0): TraceRecord[] {
    if (this.#capacity === 0) return [];
    const { written } = this;
    const records: TraceRecord[] = [];
    for (let n = Math.max(from, written - this.#capacity); n < written; n++)
      records.push(this.#decode(n));
    return records;
  }

  #decode(sequence: number): TraceRecord {
    const { u16, u32 } = this.#heap;
    const at = this.#ring + (sequence & (this.#capacity - 1)) * traceRecord.size;
    const number = u16[(at + KIND) >>> 1]!;
    const { name, args } = traceKind(number);
    const words = (at + ARGS) >>> 2;
    return {
      sequence,
      timeNs: u32[(at + TIME_LO) >>> 2]! + u32[(at + TIME_HI) >>> 2]! * 2 ** 32,
      kind: number,
      name,
      domid: u16[(at + DOMID) >>> 1]!,
      args: Object.fromEntries(args.map((arg, i) => [arg, u32[words + i]!])),
    };
  }
}
