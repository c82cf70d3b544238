/**
 * Recordings are JSON lines. A line is described by a table of readers, one for each field, which check and convert; a
 * field that is missing, of another kind or not in the table is an error, so that nothing of a recording goes unnoticed.
 */

/** The recording cannot be understood. The message says where: line and field. */
export class RecordingError extends Error {
  override readonly name = 'RecordingError';
}

/** Checks a JSON value and gives what it stands for. Throws RecordingError, which names `where`. */
export type Reader<T> = (value: unknown, where: string) => T;

/** What a reader gives. */
export type Read<R> = R extends Reader<infer T> ? T : never;

type Readers = Readonly<Record<string, Reader<unknown>>>;
type Required<R extends Readers> = { readonly [K in keyof R]: Read<R[K]> };
type Optional<O extends Readers> = { readonly [K in keyof O]?: Read<O[K]> };

/** Characters of a wrong value that its error shows. */
const SHOWN_CHARACTERS = 60;

function refuse(value: unknown, where: string, allowed: string): never {
  const words = JSON.stringify(value) ?? 'nothing';
  const shown = words.length > SHOWN_CHARACTERS ? `${words.slice(0, SHOWN_CHARACTERS)}…` : words;
  throw new RecordingError(`${where}: ${allowed} expected, not ${shown}`);
}

export const integer: Reader<number> = (value, where) =>
  Number.isSafeInteger(value) ? (value as number) : refuse(value, where, 'a whole number');

/** A whole number of a range, whose ends are in it. */
export const integerFrom =
  (lowest: number, highest: number): Reader<number> =>
  (value, where) =>
    Number.isInteger(value) && Number(value) >= lowest && Number(value) <= highest
      ? (value as number)
      : refuse(value, where, `a whole number from ${lowest} to ${highest}`);

export const boolean: Reader<boolean> = (value, where) =>
  typeof value === 'boolean' ? value : refuse(value, where, 'true or false');

export const text: Reader<string> = (value, where) =>
  typeof value === 'string' ? value : refuse(value, where, 'a text');

/** A 64-bit number, `"0x1f"`. */
export const hex: Reader<bigint> = (value, where) =>
  typeof value === 'string' && /^0x[0-9a-f]{1,16}$/.test(value)
    ? BigInt(value)
    : refuse(value, where, 'a hexadecimal number');

/** Bytes, two hexadecimal digits each. */
export const bytes: Reader<Uint8Array> = (value, where) => {
  if (typeof value !== 'string' || !/^([0-9a-f]{2})*$/.test(value)) {
    return refuse(value, where, 'hexadecimal bytes');
  }
  return Uint8Array.from({ length: value.length / 2 }, (_, i) =>
    Number.parseInt(value.slice(2 * i, 2 * i + 2), 16),
  );
};

/** A SHA-256, 64 hexadecimal digits. */
export const sha256: Reader<string> = (value, where) =>
  typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
    ? value
    : refuse(value, where, 'a SHA-256');

/** One of some words or numbers. */
export const oneOf =
  <const T extends string | number>(...allowed: readonly T[]): Reader<T> =>
  (value, where) =>
    allowed.find((one) => one === value) ?? refuse(value, where, allowed.join(' or '));

export const orNull =
  <T>(reader: Reader<T>): Reader<T | null> =>
  (value, where) =>
    value === null ? null : reader(value, where);

/** What the first of two readers makes of it, or else the second. */
export const either =
  <A, B>(first: Reader<A>, second: Reader<B>): Reader<A | B> =>
  (value, where) => {
    try {
      return first(value, where);
    } catch (error) {
      if (!(error instanceof RecordingError)) throw error;
      return second(value, where);
    }
  };

/** One reader for objects that have a field, another for those that have not. */
export const byPresence =
  <A, B>(name: string, present: Reader<A>, absent: Reader<B>): Reader<A | B> =>
  (value, where) =>
    (Object.hasOwn(fieldsOf(value, where), name) ? present : absent)(value, where);

export const listOf =
  <T>(element: Reader<T>): Reader<readonly T[]> =>
  (value, where) =>
    Array.isArray(value)
      ? value.map((one, i) => element(one, `${where}[${i}]`))
      : refuse(value, where, 'a list');

/** An object with these fields, of which the second table's may be missing, and no others. */
export const object =
  <const R extends Readers, const O extends Readers = Record<never, never>>(
    required: R,
    optional?: O,
  ): Reader<Required<R> & Optional<O>> =>
  (value, where) => {
    const fields = fieldsOf(value, where);
    const result: Record<string, unknown> = {};
    for (const [name, field] of Object.entries(fields)) {
      const read = (Object.hasOwn(required, name) ? required : optional)?.[name];
      if (read === undefined) throw new RecordingError(`${where}: unknown field ${name}`);
      result[name] = read(field, `${where}.${name}`);
    }
    for (const name of Object.keys(required)) {
      if (!Object.hasOwn(fields, name)) throw new RecordingError(`${where}: no field ${name}`);
    }
    return result as Required<R> & Optional<O>;
  };

/** An object whose kind is told by one of its fields. */
export const byField =
  <T>(name: string, kinds: Readonly<Record<string, Reader<T>>>): Reader<T> =>
  (value, where) => {
    const kind = fieldsOf(value, where)[name];
    if (typeof kind === 'string' && Object.hasOwn(kinds, kind)) return kinds[kind]!(value, where);
    return refuse(kind, `${where}.${name}`, Object.keys(kinds).join(', '));
  };

/** The fields of an object, unread. */
export function fieldsOf(value: unknown, where: string): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : refuse(value, where, 'an object');
}

/** A line of a recording, numbered from 1. */
export interface Line {
  readonly number: number;
  readonly value: unknown;
}

/** The lines of a recording; empty ones are skipped. Throws RecordingError. */
export function* jsonLines(recording: string): Generator<Line> {
  let number = 0;
  for (const line of recording.split('\n')) {
    number += 1;
    if (line.trim() === '') continue;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      throw new RecordingError(`line ${number}: not JSON lines: one object a line`);
    }
    yield { number, value };
  }
}
