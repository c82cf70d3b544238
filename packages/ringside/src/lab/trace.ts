/** Reads back what `--trace` writes: Chrome trace JSON, with the machine's records in it. */
import type { DomainName } from '@ringside/gnttab-core';
import type { GrantRecord } from './history.ts';

/** A trace file is not what it should be. */
export class GrantTraceError extends Error {
  override readonly name = 'GrantTraceError';
}

/** What a trace says. */
export interface GrantTrace {
  /** In order. */
  readonly records: readonly GrantRecord[];
  readonly nameOf: DomainName;
}

/** Reads a trace. Throws GrantTraceError. */
export function readGrantTrace(text: string): GrantTrace {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new GrantTraceError('not a trace: this is not JSON, or it is not complete');
  }
  const events = isObject(document) ? document['traceEvents'] : undefined;
  if (!Array.isArray(events)) throw new GrantTraceError('not a trace: it has no "traceEvents"');
  const records: GrantRecord[] = [];
  const names = new Map<number, string>();
  events.forEach((event: unknown, index) => {
    const wrong = (what: string) => new GrantTraceError(`event ${index}: ${what}`);
    if (!isObject(event)) throw wrong('not an object');
    const { ph, pid, name, ts } = event;
    const args = event['args'] ?? {};
    if (ph !== 'i' && !(ph === 'M' && name === 'process_name')) return;
    if (typeof pid !== 'number' || !isObject(args)) throw wrong('no "pid", or strange "args"');
    // A domain is a process; 0 means something else in this format.
    const domid = pid - 1;
    if (ph === 'M') names.set(domid, nameIn(args, domid));
    else if (typeof name !== 'string' || typeof ts !== 'number') throw wrong('no "name" or "ts"');
    else records.push({ timeNs: Math.round(ts * 1000), domid, name, args: numbersIn(args) });
  });
  if (!records.some(({ name }) => name === 'domain_create')) {
    throw new GrantTraceError('not a trace of Ringside: no domain is created in it');
  }
  return { records, nameOf: (domid) => names.get(domid) ?? `domain ${domid}` };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** `guest1 (domain 2)` is guest1. */
function nameIn(args: Record<string, unknown>, domid: number): string {
  const { name } = args;
  return typeof name === 'string' ? name.replace(/ \(domain \d+\)$/, '') : `domain ${domid}`;
}

const numbersIn = (args: Record<string, unknown>): Record<string, number> =>
  Object.fromEntries(
    Object.entries(args).filter((entry): entry is [string, number] => typeof entry[1] === 'number'),
  );
