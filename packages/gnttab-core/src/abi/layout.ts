/** C's layout rules: where each field of a table lies. */
import type { Abi, Aggregate, ArrayType, FieldType } from './types.ts';

/** One field of a struct, or one member of a union. */
export interface Member {
  readonly name: string;
  readonly type: FieldType;
  /** From the start of the struct, in bytes. */
  readonly offset: number;
  readonly size: number;
  readonly align: number;
}

/** Sizes and alignments in bytes. */
export interface Layout {
  readonly size: number;
  readonly align: number;
  readonly members: readonly Member[];
}

/** One line of a flattened struct: nested fields by their C designator (`u.ref`, `seg[0].gref`). */
export interface Field {
  readonly path: string;
  readonly offset: number;
  readonly size: number;
  readonly align: number;
  readonly kind: 'uint' | 'int' | 'pointer' | 'struct' | 'union' | 'array';
  /** Arrays only: number of elements, and bytes from one to the next. */
  readonly count?: number;
  readonly stride?: number;
}

const roundUp = (value: number, align: number) => Math.ceil(value / align) * align;

export function isAggregate(type: FieldType): type is Aggregate {
  return type.kind === 'struct' || type.kind === 'union';
}

export function isArray(type: FieldType): type is ArrayType {
  return type.kind === 'array';
}

/** Elements of an array under an ABI. */
export function countOf(type: ArrayType, abi: Abi): number {
  return typeof type.count === 'number' ? type.count : type.count[abi];
}

/** `sizeof` and `_Alignof` of a type under an ABI. An array's size is exactly its elements' sizes. */
export function extentOf(type: FieldType, abi: Abi): { size: number; align: number } {
  if (isArray(type)) {
    const element = extentOf(type.element, abi);
    return { size: element.size * countOf(type, abi), align: element.align };
  }
  return isAggregate(type) ? layoutOf(type, abi) : type.memory[abi];
}

const known: Readonly<Record<Abi, WeakMap<Aggregate, Layout>>> = {
  x86_64: new WeakMap(),
  i386: new WeakMap(),
};

/** Lays a table out: each field at the next offset that suits it, the whole padded to its widest alignment. */
export function layoutOf(aggregate: Aggregate, abi: Abi): Layout {
  let layout = known[abi].get(aggregate);
  if (layout === undefined) {
    layout = layOut(aggregate, abi);
    known[abi].set(aggregate, layout);
  }
  return layout;
}

function layOut(aggregate: Aggregate, abi: Abi): Layout {
  let end = 0;
  let align = 1;
  const members = Object.entries(aggregate.table).map(([name, type]) => {
    const extent = extentOf(type, abi);
    const offset = aggregate.kind === 'union' ? 0 : roundUp(end, extent.align);
    end = Math.max(end, offset + extent.size);
    align = Math.max(align, extent.align);
    return { name, type, offset, size: extent.size, align: extent.align };
  });
  return { size: roundUp(end, align), align, members };
}

/** Every field, nested ones after what contains them; of an array of structs element 0 stands for all. */
export function flatten(aggregate: Aggregate, abi: Abi, prefix = '', base = 0): Field[] {
  return layoutOf(aggregate, abi).members.flatMap(({ name, type, offset, size, align }) => {
    const path = prefix + name;
    const field = { path, offset: base + offset, size, align, kind: type.kind };
    if (!isArray(type)) return [field, ...inside(type, abi, field)];
    const { element } = type;
    const stride = extentOf(element, abi).size;
    const array = { ...field, count: countOf(type, abi), stride };
    if (!isAggregate(element)) return [array];
    const first = { ...field, path: `${path}[0]`, size: stride, kind: element.kind };
    return [array, first, ...inside(element, abi, first)];
  });
}

const inside = (type: FieldType, abi: Abi, { path, offset }: Field): Field[] =>
  isAggregate(type) ? flatten(type, abi, `${path}.`, offset) : [];
