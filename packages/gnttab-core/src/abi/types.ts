/** The C types that struct tables are made of. */

/** An ABI of the public headers: how wide `unsigned long` and pointers are, and how 64-bit integers align. */
export type Abi = 'x86_64' | 'i386';

/** How a scalar lies in memory under one ABI. All multi-byte values are little-endian. */
export interface ScalarMemory<V> {
  readonly size: number;
  readonly align: number;
  read(this: void, view: DataView, offsetBytes: number): V;
  /** Stores the low bits of the value, as a C assignment does. */
  write(this: void, view: DataView, offsetBytes: number, value: V): void;
}

/** An integer type of C. `V` is `bigint` where it is 8 bytes wide in some ABI, else `number`. */
export interface Scalar<V extends number | bigint = number | bigint> {
  readonly kind: 'uint' | 'int' | 'pointer';
  readonly zero: V;
  readonly memory: Readonly<Record<Abi, ScalarMemory<V>>>;
}

/** A struct or union by its table; the layout follows from the ABI of whatever contains it. */
export interface Aggregate<T extends Table = Table> {
  readonly kind: 'struct' | 'union';
  readonly name: string;
  readonly table: T;
}

/** What an array can be made of. */
export type ElementType = Scalar | Aggregate;

/** An array of constant length, which may differ between ABIs (`shared_info.evtchn_pending`). */
export interface ArrayType<E extends ElementType = ElementType> {
  readonly kind: 'array';
  readonly element: E;
  readonly count: number | Readonly<Record<Abi, number>>;
}

/** What a field of a struct can be. */
export type FieldType = ElementType | ArrayType;

/** The fields of a struct (or the members of a union) in the order of the header. */
export interface Table {
  readonly [field: string]: FieldType;
}

function scalar<V extends number | bigint>(
  kind: Scalar['kind'],
  zero: V,
  x86_64: ScalarMemory<V>,
  i386 = x86_64,
): Scalar<V> {
  return { kind, zero, memory: { x86_64, i386 } };
}

const uint64: ScalarMemory<bigint> = {
  size: 8,
  align: 8,
  read: (view, offsetBytes) => view.getBigUint64(offsetBytes, true),
  write: (view, offsetBytes, value) => view.setBigUint64(offsetBytes, value, true),
};
const int64: ScalarMemory<bigint> = {
  size: 8,
  align: 8,
  read: (view, offsetBytes) => view.getBigInt64(offsetBytes, true),
  write: (view, offsetBytes, value) => view.setBigInt64(offsetBytes, value, true),
};
const ulong32: ScalarMemory<bigint> = {
  size: 4,
  align: 4,
  read: (view, offsetBytes) => BigInt(view.getUint32(offsetBytes, true)),
  write: (view, offsetBytes, value) =>
    view.setUint32(offsetBytes, Number(value & 0xffff_ffffn), true),
};

/** `uint8_t`, `char`. */
export const u8 = scalar('uint', 0, {
  size: 1,
  align: 1,
  read: (view, offsetBytes) => view.getUint8(offsetBytes),
  write: (view, offsetBytes, value) => view.setUint8(offsetBytes, value),
});
/** `uint16_t`, `domid_t`. */
export const u16 = scalar('uint', 0, {
  size: 2,
  align: 2,
  read: (view, offsetBytes) => view.getUint16(offsetBytes, true),
  write: (view, offsetBytes, value) => view.setUint16(offsetBytes, value, true),
});
/** `uint32_t`, `unsigned int`, `grant_ref_t`, `evtchn_port_t`. */
export const u32 = scalar('uint', 0, {
  size: 4,
  align: 4,
  read: (view, offsetBytes) => view.getUint32(offsetBytes, true),
  write: (view, offsetBytes, value) => view.setUint32(offsetBytes, value, true),
});
/** `int8_t`. */
export const i8 = scalar('int', 0, {
  size: 1,
  align: 1,
  read: (view, offsetBytes) => view.getInt8(offsetBytes),
  write: (view, offsetBytes, value) => view.setInt8(offsetBytes, value),
});
/** `int16_t`. */
export const i16 = scalar('int', 0, {
  size: 2,
  align: 2,
  read: (view, offsetBytes) => view.getInt16(offsetBytes, true),
  write: (view, offsetBytes, value) => view.setInt16(offsetBytes, value, true),
});
/** `int32_t`, `int`. */
export const i32 = scalar('int', 0, {
  size: 4,
  align: 4,
  read: (view, offsetBytes) => view.getInt32(offsetBytes, true),
  write: (view, offsetBytes, value) => view.setInt32(offsetBytes, value, true),
});
/** `uint64_t`: aligned to 8 on x86-64, to 4 inside an i386 struct. */
export const u64 = scalar('uint', 0n, uint64, { ...uint64, align: 4 });
/** `int64_t`: aligned as `u64`. */
export const i64 = scalar('int', 0n, int64, { ...int64, align: 4 });
/** `unsigned long`, `xen_ulong_t`, `xen_pfn_t`: 8 bytes on x86-64, 4 on i386. */
export const ulong = scalar('uint', 0n, uint64, ulong32);
/** A pointer or `XEN_GUEST_HANDLE`: as wide as `ulong`. */
export const pointer = scalar('pointer', 0n, uint64, ulong32);

/** `element NAME[count]`; a count by ABI where the header's differs. */
export function array<E extends ElementType>(
  element: E,
  count: number | Readonly<Record<Abi, number>>,
): ArrayType<E> {
  return { kind: 'array', element, count };
}
