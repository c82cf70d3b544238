/** Grant table operations as numbers, to be made through either door: see two-doors.ts. */
import type { Side } from './world.ts';

/** What stands in OUT fields before a call. */
export const UNTOUCHED = 0xa5a5_a5a5;

/** One grant table operation of a domain, as numbers. */
export type Operation =
  | { op: 'map'; elements: { hostAddr: number; flags: number; ref: number; dom: number }[] }
  | { op: 'unmap'; elements: { hostAddr: number; devBusAddr: number; handle: number }[] }
  | { op: 'replace'; elements: { hostAddr: number; newAddr: number; handle: number }[] }
  | { op: 'copy'; elements: { source: Side; dest: Side; len: number }[] }
  | { op: 'transfer'; elements: { mfn: number; domid: number; ref: number }[] }
  | { op: 'swap'; elements: { refA: number; refB: number }[] }
  | { op: 'flush'; elements: { devBusAddr: number; offset: number; length: number; op: number }[] }
  | { op: 'setup' | 'status'; nrFrames: number; dom: number }
  | { op: 'size' | 'version'; dom: number }
  | { op: 'set'; version: number };

/** What a call comes to: its result, and what comes back of each element, or of a list of frames. */
export interface Outcome {
  readonly result: number;
  readonly elements?: readonly object[];
  readonly frames?: readonly number[];
}
