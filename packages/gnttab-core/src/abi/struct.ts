/**
 * Struct tables: a struct of the public headers, or of the hypervisor's own, is declared once as a table of fields with
 * C types. Offsets, alignment and size follow from C's rules, and typed in-place accessors come out.
 */
import { cursorMaker } from './cursor.ts';
import type { Cursor } from './cursor.ts';
import { countOf, extentOf, flatten, isAggregate, isArray, layoutOf } from './layout.ts';
import type { Field } from './layout.ts';
import type { Abi, Aggregate, ArrayType, FieldType, Scalar, Table } from './types.ts';

export { isAggregate, isArray } from './layout.ts';
export { array, i16, i32, i64, i8, pointer, u16, u32, u64, u8, ulong } from './types.ts';
export type { Abi, Aggregate, ArrayType, FieldType, Scalar, Table } from './types.ts';
export type { Cursor, CursorPosition, ScalarArray } from './cursor.ts';
export type { Field } from './layout.ts';

/** A struct as a private JavaScript value. Of a union every member is present: the same bytes read in each way. */
export type Plain<T extends Table> = { -readonly [K in keyof T]: PlainField<T[K]> };
type PlainField<F> =
  F extends ArrayType<infer E>
    ? PlainField<E>[]
    : F extends Scalar<infer V>
      ? V
      : F extends Aggregate<infer T>
        ? Plain<T>
        : never;

/** What a struct is made from, as in a C initialiser: what is not named is zero; of a union name one member. */
export type Initializer<T extends Table> = { readonly [K in keyof T]?: InitializerField<T[K]> };
type InitializerField<F> =
  F extends ArrayType<infer E>
    ? readonly InitializerField<E>[]
    : F extends Scalar<infer V>
      ? V
      : F extends Aggregate<infer T>
        ? Initializer<T>
        : never;

/** A struct or union laid out under one ABI. All offsets, sizes and alignments are bytes. */
export interface Struct<T extends Table> extends Aggregate<T> {
  readonly abi: Abi;
  readonly size: number;
  readonly align: number;
  /** Offsets of the top-level fields, for atomics: `i32[(base + S.offset.lock) >>> 2]`. */
  readonly offset: { readonly [K in keyof T]: number };
  /** Every field, flattened: `seg`, `seg[0].gref`, … */
  readonly fields: readonly Field[];
  /** A new accessor, to be kept and moved with `at`. */
  cursor(): Cursor<T>;
  /** A private copy of the struct that lies `offsetBytes` into the view. */
  decode(view: DataView, offsetBytes: number): Plain<T>;
  /** Overwrites all `size` bytes; padding and what the value does not name become zero. */
  encode(view: DataView, offsetBytes: number, value: Initializer<T>): void;
}

/** Options of a declaration: the ABI (x86_64 unless said) and the size that the result must have. */
export interface StructOptions {
  readonly abi?: Abi;
  readonly size?: number;
}

/** `struct NAME { … }`. As a field of another struct it takes that struct's ABI. Throws TypeError if `size` is not met. */
export function struct<const T extends Table>(
  name: string,
  table: T,
  options: StructOptions = {},
): Struct<T> {
  return define({ kind: 'struct', name, table }, options);
}

/** `union NAME { … }`: every member at offset 0. Otherwise as `struct`. */
export function union<const T extends Table>(
  name: string,
  table: T,
  options: StructOptions = {},
): Struct<T> {
  return define({ kind: 'union', name, table }, options);
}

/** One declaration under both ABIs: `gnttabCopy[domain.abi]`; it can also be a field of another table. */
export interface StructByAbi<T extends Table> extends Aggregate<T> {
  readonly x86_64: Struct<T>;
  readonly i386: Struct<T>;
}

/** The size under both ABIs, or under each. */
export type SizeByAbi = number | Readonly<Record<Abi, number>>;

/** `struct NAME` of a public header under both ABIs. Throws TypeError if a size is not met. */
export function structs<const T extends Table>(
  name: string,
  table: T,
  size: SizeByAbi,
): StructByAbi<T> {
  return defineByAbi({ kind: 'struct', name, table }, size);
}

/** As `structs`, for a union. */
export function unions<const T extends Table>(
  name: string,
  table: T,
  size: SizeByAbi,
): StructByAbi<T> {
  return defineByAbi({ kind: 'union', name, table }, size);
}

function defineByAbi<T extends Table>(aggregate: Aggregate<T>, size: SizeByAbi): StructByAbi<T> {
  const by = typeof size === 'number' ? { x86_64: size, i386: size } : size;
  return {
    ...aggregate,
    x86_64: define(aggregate, { abi: 'x86_64', size: by.x86_64 }),
    i386: define(aggregate, { abi: 'i386', size: by.i386 }),
  };
}

function define<T extends Table>(aggregate: Aggregate<T>, options: StructOptions): Struct<T> {
  const abi = options.abi ?? 'x86_64';
  const { size, align, members } = layoutOf(aggregate, abi);
  if (options.size !== undefined && options.size !== size)
    throw new TypeError(
      `${aggregate.kind} ${aggregate.name} (${abi}): the table makes ${size} bytes, not ${options.size}`,
    );
  const offset = Object.fromEntries(members.map((member) => [member.name, member.offset]));
  return {
    ...aggregate,
    abi,
    size,
    align,
    offset: offset as Struct<T>['offset'],
    fields: flatten(aggregate, abi),
    cursor: cursorMaker(aggregate, abi),
    decode: (view, offsetBytes) => read(aggregate, abi, view, offsetBytes) as Plain<T>,
    encode(view, offsetBytes, value) {
      new Uint8Array(view.buffer, view.byteOffset + offsetBytes, size).fill(0);
      write(aggregate, abi, view, offsetBytes, value);
    },
  };
}

function read(type: FieldType, abi: Abi, view: DataView, offsetBytes: number): unknown {
  if (isArray(type)) {
    const stride = extentOf(type.element, abi).size;
    return Array.from({ length: countOf(type, abi) }, (_, index) =>
      read(type.element, abi, view, offsetBytes + index * stride),
    );
  }
  if (!isAggregate(type)) return type.memory[abi].read(view, offsetBytes);
  const members = layoutOf(type, abi).members;
  return Object.fromEntries(
    members.map(({ name, type, offset }) => [name, read(type, abi, view, offsetBytes + offset)]),
  );
}

function write(
  type: FieldType,
  abi: Abi,
  view: DataView,
  offsetBytes: number,
  value: unknown,
): void {
  if (isArray(type)) {
    const stride = extentOf(type.element, abi).size;
    const elements = value as readonly unknown[];
    const count = countOf(type, abi);
    if (elements.length > count)
      throw new RangeError(`${elements.length} elements for an array of ${count}`);
    elements.forEach((element, index) =>
      write(type.element, abi, view, offsetBytes + index * stride, element),
    );
  } else if (isAggregate(type)) {
    const values = value as Readonly<Record<string, unknown>>;
    for (const { name, type: member, offset } of layoutOf(type, abi).members) {
      const field = values[name];
      if (field !== undefined) write(member, abi, view, offsetBytes + offset, field);
    }
  } else type.memory[abi].write(view, offsetBytes, value as never);
}
