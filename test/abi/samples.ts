/** Between the field values of encodings.jsonl and ours, guided by the declared types. */
import { isAggregate, isArray } from '@ringside/gnttab-core/abi';
import type { Aggregate, FieldType, ScalarArray } from '@ringside/gnttab-core/abi';
import type { SampleValue } from './vectors.ts';

type Fields = Readonly<Record<string, SampleValue>>;

const hexBytes = (hex: string): number[] => [...Buffer.from(hex, 'hex')];

const membersOf = ({ table }: Aggregate, fields: Fields) =>
  Object.entries(fields).map(([name, value]) => {
    const type = table[name];
    if (type === undefined) throw new Error(`the sample has a field ${name}, the table has not`);
    return { name, type, value };
  });

/** Ours: bigint where a type is 8 bytes wide in some ABI, arrays of bytes as numbers. */
export function fromSample(type: FieldType, value: SampleValue): unknown {
  if (isArray(type)) {
    const elements = typeof value === 'string' ? hexBytes(value) : (value as SampleValue[]);
    return elements.map((element) => fromSample(type.element, element));
  }
  if (isAggregate(type)) {
    const members = membersOf(type, value as Fields);
    return Object.fromEntries(
      members.map(({ name, type, value }) => [name, fromSample(type, value)]),
    );
  }
  return typeof type.zero === 'bigint' ? BigInt(value as string | number) : value;
}

/** A union decodes to all of its members; this leaves those that the sample names. */
export function asFarAs(like: unknown, decoded: unknown): unknown {
  if (Array.isArray(like)) {
    const elements = decoded as unknown[];
    return elements.map((element, index) => asFarAs(like[index], element));
  }
  if (typeof like !== 'object' || like === null) return decoded;
  return Object.fromEntries(
    Object.entries(like).map(([name, value]) => [
      name,
      asFarAs(value, (decoded as Record<string, unknown>)[name]),
    ]),
  );
}

type AnyCursor = Record<string, unknown>;
type ElementCursor = (index: number) => AnyCursor;
type AnyArray = ScalarArray<unknown>;

/** Stores a value field by field through a cursor. */
export function storeThrough(cursor: AnyCursor, type: Aggregate, value: object): void {
  for (const [name, field] of Object.entries(value) as [string, unknown][]) {
    const member = type.table[name];
    if (member && isArray(member)) {
      const { element } = member;
      (field as unknown[]).forEach((item, index) => {
        if (isAggregate(element))
          storeThrough((cursor[name] as ElementCursor)(index), element, item as object);
        else (cursor[name] as AnyArray).set(index, item);
      });
    } else if (member && isAggregate(member))
      storeThrough(cursor[name] as AnyCursor, member, field as object);
    else cursor[name] = field;
  }
}

/** Loads the fields that `like` has through a cursor. */
export function loadThrough(cursor: AnyCursor, type: Aggregate, like: object): unknown {
  const load = (name: string, value: unknown): unknown => {
    const member = type.table[name];
    if (member && isArray(member)) {
      const { element } = member;
      return (value as unknown[]).map((item, index) =>
        isAggregate(element)
          ? loadThrough((cursor[name] as ElementCursor)(index), element, item as object)
          : (cursor[name] as AnyArray).get(index),
      );
    }
    if (member && isAggregate(member))
      return loadThrough(cursor[name] as AnyCursor, member, value as object);
    return cursor[name];
  };
  return Object.fromEntries(Object.entries(like).map(([name, value]) => [name, load(name, value)]));
}
