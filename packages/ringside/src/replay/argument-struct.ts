/** Argument structs in guest memory, and what a hypercall wrote into them. */
import type { ArgumentMemory } from './argument-memory.ts';
import type { Report } from './difference.ts';
import { hexBytes } from './words.ts';

/** What stands in memory where an OUT field has not been written. */
export const UNTOUCHED = 0xa5;

/** A field of an argument struct. */
export interface Field {
  readonly path: string;
  readonly offset: number;
  readonly size: number;
}

/** An array in guest memory, of whose elements those from `faultAt` on are out of reach. */
export class PlacedArray {
  readonly elementBytes: number;
  /** As it is passed; UNTOUCHED at first. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly va: number;
  readonly #memory: ArgumentMemory;
  readonly #reachable: Uint8Array;

  constructor(memory: ArgumentMemory, count: number, elementBytes: number, faultAt = count) {
    this.#memory = memory;
    this.elementBytes = elementBytes;
    // What does not fit is not there. A guest may ask for more frames than any table has.
    const room = elementBytes === 0 ? 0 : Math.floor(memory.sizeBytes / elementBytes);
    this.bytes = new Uint8Array(Math.min(count, room) * elementBytes).fill(UNTOUCHED);
    this.view = new DataView(this.bytes.buffer);
    this.#reachable = this.bytes.subarray(0, Math.min(faultAt, room) * elementBytes);
    this.va = memory.placeBytes(this.#reachable.length);
  }

  write(): void {
    this.#memory.write(this.va, this.#reachable);
  }

  /** As it is now; out of reach nothing changes. */
  read(): DataView {
    const now = this.bytes.slice();
    this.#memory.read(this.va, now.subarray(0, this.#reachable.length));
    return new DataView(now.buffer);
  }
}

/** Stores the low bits of a value. */
export function putField(
  view: DataView,
  at: number,
  { offset, size }: Field,
  value: number | bigint,
): void {
  let bits = BigInt.asUintN(size * 8, BigInt(value));
  for (let i = 0; i < size; i++, bits >>= 8n) view.setUint8(at + offset + i, Number(bits & 0xffn));
}

/** An unsigned value. */
export function takeField(view: DataView, at: number, { offset, size }: Field): bigint {
  let value = 0n;
  for (let i = size; i-- > 0;) value = (value << 8n) | BigInt(view.getUint8(at + offset + i));
  return value;
}

/** Nobody has written the field. */
export const isUntouched = (value: bigint, { size }: Field): boolean =>
  value === BigInt(`0x${UNTOUCHED.toString(16).repeat(size)}`);

/** A struct that came back. */
export interface ReturnedStruct<F extends Field = Field> {
  /** The fields that may be written. */
  readonly fields: readonly F[];
  /** What they should be. */
  readonly expected: DataView;
  /** The struct as it is. */
  readonly got: DataView;
  /** A value in words. */
  readonly words: (field: F, value: bigint, isExpected: boolean) => string;
  /** A value that is never right. */
  readonly isWrong?: (field: F, value: bigint) => boolean;
}

/** Reports the fields of a struct that should be otherwise, and any other byte that has changed. */
export function compareStruct<F extends Field>(
  what: string,
  { fields, expected, got, words, isWrong }: ReturnedStruct<F>,
  report: Report,
): void {
  const rest = new Uint8Array(expected.byteLength);
  rest.set(new Uint8Array(expected.buffer, expected.byteOffset, expected.byteLength));
  const now = new Uint8Array(got.buffer, got.byteOffset, got.byteLength);
  const left = new DataView(rest.buffer);
  const wanted: string[] = [];
  const found: string[] = [];
  for (const field of fields) {
    const [a, b] = [takeField(left, 0, field), takeField(got, 0, field)];
    if (a !== b || isWrong?.(field, b) === true) {
      wanted.push(`${field.path} ${words(field, a, true)}`);
      found.push(`${field.path} ${words(field, b, false)}`);
    }
    // What is left are bytes that nobody should have touched.
    rest.set(now.subarray(field.offset, field.offset + field.size), field.offset);
  }
  if (wanted.length > 0) report(what, wanted.join(', '), found.join(', '));
  if (rest.some((byte, i) => byte !== now[i])) {
    report(`${what}, besides what comes back`, hexBytes(rest), hexBytes(now));
  }
}
