/**
 * Typed in-place accessors. A cursor class is made once per struct and ABI; its properties are closures over constant
 * offsets on the prototype, which the engine inlines: they cost what hand-written DataView calls cost.
 */
import { countOf, extentOf, isAggregate, isArray, layoutOf } from './layout.ts';
import type { Member } from './layout.ts';
import { u32 } from './types.ts';
import type { Abi, Aggregate, ArrayType, Scalar, ScalarMemory, Table } from './types.ts';

/** Where a cursor points. Move it with `at`; the same object is meant to be reused. */
export interface CursorPosition {
  view: DataView;
  offsetBytes: number;
  /** Points the cursor at the struct `offsetBytes` into the view, and returns it. */
  at(view: DataView, offsetBytes: number): this;
}

/** An array of integers in place. `get` and `set` throw RangeError beyond `length`. */
export interface ScalarArray<V> {
  readonly length: number;
  get(index: number): V;
  set(index: number, value: V): void;
}

type ScalarKeys<T extends Table> = {
  [K in keyof T]: T[K] extends Scalar ? K : never;
}[keyof T];

type WideKeys<T extends Table> = {
  [K in keyof T]: T[K] extends Scalar<bigint> ? K : never;
}[keyof T] &
  string;

type CursorNested<F> =
  F extends ArrayType<infer E>
    ? E extends Scalar<infer V>
      ? ScalarArray<V>
      : E extends Aggregate<infer T>
        ? (index: number) => Cursor<T>
        : never
    : F extends Aggregate<infer T>
      ? Cursor<T>
      : never;

/**
 * One property per field: a number up to 32 bits; a bigint for `u64`, `i64`, `ulong` and `pointer`, with the halves
 * NAME_lo and NAME_hi as unsigned numbers for hot code (NAME_hi reads 0 and ignores writes where the type is 4 bytes);
 * a nested struct is its cursor; an array of structs a function from index to cursor. Nested cursors and arrays are
 * reused: `c.seg(0)` and `c.seg(1)` are one object, so use one before asking for the next.
 */
export type Cursor<T extends Table> = CursorPosition & {
  [K in ScalarKeys<T>]: T[K] extends Scalar<infer V> ? V : never;
} & {
  readonly [K in Exclude<keyof T, ScalarKeys<T>>]: CursorNested<T[K]>;
} & {
  [K in `${WideKeys<T>}_lo` | `${WideKeys<T>}_hi`]: number;
};

const nowhere: DataView = new DataView(new ArrayBuffer(0));

class Position implements CursorPosition {
  view = nowhere;
  offsetBytes = 0;
  at(view: DataView, offsetBytes: number): this {
    this.view = view;
    this.offsetBytes = offsetBytes;
    return this;
  }
}

type Make = () => Position;
/** Nested cursors hang on the instance, each under a symbol of its own. */
interface Nested {
  readonly key: symbol;
  readonly make: Make;
}
type Parent = Position & Record<symbol, Position>;
type Properties = Record<string, PropertyDescriptor & ThisType<Parent>>;

const makers: Readonly<Record<Abi, WeakMap<Aggregate, Make>>> = {
  x86_64: new WeakMap(),
  i386: new WeakMap(),
};

/** The constructor of a struct's cursors under an ABI. */
export function cursorMaker<T extends Table>(aggregate: Aggregate<T>, abi: Abi): () => Cursor<T> {
  return makerOf(aggregate, abi) as () => Position & Cursor<T>;
}

function makerOf(aggregate: Aggregate, abi: Abi): Make {
  let make = makers[abi].get(aggregate);
  if (make === undefined) {
    make = defineCursor(aggregate, abi);
    makers[abi].set(aggregate, make);
  }
  return make;
}

function defineCursor(aggregate: Aggregate, abi: Abi): Make {
  const nested: Nested[] = [];
  class StructCursor extends Position {
    constructor() {
      super();
      for (const { key, make } of nested) (this as unknown as Parent)[key] = make();
    }
  }
  for (const member of layoutOf(aggregate, abi).members) {
    for (const [name, property] of Object.entries(propertiesOf(member, abi, nested))) {
      if (name in StructCursor.prototype || name === 'view' || name === 'offsetBytes')
        throw new TypeError(`${aggregate.name}: a cursor cannot have a field named ${name}: taken`);
      Object.defineProperty(StructCursor.prototype, name, { ...property, enumerable: true });
    }
  }
  return () => new StructCursor();
}

function propertiesOf({ name, type, offset }: Member, abi: Abi, nested: Nested[]): Properties {
  const nest = (make: Make) => {
    const key = Symbol(name);
    nested.push({ key, make });
    return key;
  };
  if (isAggregate(type)) return nestedProperty(name, nest(makerOf(type, abi)), offset);
  if (!isArray(type)) return scalarProperties(name, type, offset, abi);
  const { element } = type;
  const count = countOf(type, abi);
  if (isAggregate(element)) {
    const stride = extentOf(element, abi).size;
    return elementProperty(name, nest(makerOf(element, abi)), offset, stride, count);
  }
  return nestedProperty(name, nest(scalarArrayMaker(element, name, count, abi)), offset);
}

function nestedProperty(name: string, key: symbol, offset: number): Properties {
  return {
    [name]: {
      get() {
        return this[key]!.at(this.view, this.offsetBytes + offset);
      },
    },
  };
}

function elementProperty(
  name: string,
  key: symbol,
  offset: number,
  stride: number,
  count: number,
): Properties {
  return {
    [name]: {
      value(this: Parent, index: number) {
        checkIndex(name, index, count);
        return this[key]!.at(this.view, this.offsetBytes + offset + index * stride);
      },
    },
  };
}

function scalarProperties(name: string, type: Scalar, offset: number, abi: Abi): Properties {
  const memory = type.memory[abi];
  const own = { [name]: scalarProperty(memory.read, memory.write, offset) };
  if (typeof type.zero === 'number') return own;
  const half = u32.memory[abi];
  const low = scalarProperty(half.read, half.write, offset);
  const high =
    memory.size === 8
      ? scalarProperty(half.read, half.write, offset + 4)
      : { get: () => 0, set: () => {} };
  return { ...own, [`${name}_lo`]: low, [`${name}_hi`]: high };
}

/** Closes over parameters only: no hole checks, so that the getter stays small enough to be inlined always. */
function scalarProperty<V>(
  read: ScalarMemory<V>['read'],
  write: ScalarMemory<V>['write'],
  offset: number,
): Properties[string] {
  return {
    get() {
      return read(this.view, this.offsetBytes + offset);
    },
    set(value: V) {
      write(this.view, this.offsetBytes + offset, value);
    },
  };
}

function scalarArrayMaker(element: Scalar, name: string, count: number, abi: Abi): Make {
  const { size, read, write } = element.memory[abi];
  class Elements extends Position implements ScalarArray<number | bigint> {
    get length() {
      return count;
    }
    get(index: number) {
      checkIndex(name, index, count);
      return read(this.view, this.offsetBytes + index * size);
    }
    set(index: number, value: number | bigint) {
      checkIndex(name, index, count);
      write(this.view, this.offsetBytes + index * size, value);
    }
  }
  return () => new Elements();
}

function checkIndex(name: string, index: number, count: number): void {
  if ((index | 0) !== index || index < 0 || index >= count)
    throw new RangeError(`${name}[${index}]: the array has ${count} elements`);
}
