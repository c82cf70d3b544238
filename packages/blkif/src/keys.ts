/**
 * Every XenStore key of the block protocol that Ringside honours, typed, with what it means.
 * Source: io/blkif.h, "Feature and Parameter Negotiation". Keys that every device has (state, backend, frontend, online …)
 * belong to xenbus.
 */

/** One key: its text in the store, and the value that it stands for. */
export interface Key<T> {
  /** What it means and in which unit. */
  readonly doc: string;
  /** Which text is allowed, for error messages. */
  readonly allowed: string;
  /** The value in effect when the key is missing; undefined when it must be there. */
  readonly absent: T | undefined;
  /** The value of a text, undefined when the text is not allowed. */
  parse(text: string): T | undefined;
  format(value: T): string;
}

/** A key of the other end is missing, or is not what it may be. */
export class KeyError extends Error {
  override readonly name = 'KeyError';
}

/**
 * The value of a key that somebody else wrote.
 * @throws KeyError naming the key, what was found, and what is allowed.
 */
export function parseKey<T>(name: string, key: Key<T>, text: string | undefined): T {
  const value = text === undefined ? key.absent : key.parse(text);
  if (value !== undefined) return value;
  const found = text === undefined ? 'missing' : JSON.stringify(text.slice(0, 40));
  throw new KeyError(`${name} is ${found}; allowed: ${key.allowed}`);
}

/** A decimal number from `min` to `max`; nothing but digits, as xenbus numbers are printed. */
const decimal = (doc: string, min: number, max: number, absent?: number): Key<number> => ({
  doc,
  allowed: `a decimal number from ${min} to ${max}`,
  absent,
  parse: (text) => {
    const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : NaN;
    return value >= min && value <= max ? value : undefined;
  },
  format: String,
});

/** 0 or 1. Any other number counts as 1, as in the kernels' drivers. */
const flag = (doc: string): Key<boolean> => ({
  doc,
  allowed: '0 or 1',
  absent: false,
  parse: (text) => (/^[0-9]{1,10}$/.test(text) ? Number(text) !== 0 : undefined),
  format: (value) => (value ? '1' : '0'),
});

const oneOf = <T extends string>(
  doc: string,
  values: readonly T[],
  absent?: NoInfer<T>,
): Key<T> => ({
  doc,
  allowed: values.map((value) => JSON.stringify(value)).join(' or '),
  absent,
  parse: (text) => values.find((value) => value === text),
  format: (value) => value,
});

const text = (doc: string, absent?: string): Key<string> => ({
  doc,
  allowed: 'a text',
  absent,
  parse: (value) => value,
  format: (value) => value,
});

const powerOfTwo = (key: Key<number>): Key<number> => ({
  ...key,
  allowed: `a power of two, ${key.allowed}`,
  parse: (value) => {
    const number = key.parse(value);
    return number !== undefined && Number.isInteger(Math.log2(number)) ? number : undefined;
  },
});

const U32_MAX = 0xffff_ffff;

/** io/protocols.h; the native layout of the machine. */
export const XEN_IO_PROTO_ABI_X86_64 = 'x86_64-abi';

/** Keys in the backend's directory, which the toolstack writes and only the backend reads. */
export const deviceKeys = {
  params: text('What to serve, in words that the backend understands: a path, an address.'),
  mode: oneOf('Whether the frontend may write ("w") or only read ("r").', ['r', 'w'], 'w'),
  type: text('The kind of the backing object: "file", "phy", "tap" …', 'file'),
  'device-type': oneOf('What the guest shall see.', ['disk', 'cdrom', 'floppy'], 'disk'),
};

/** Keys in the backend's directory, which the backend writes and the frontend reads. */
export const backendKeys = {
  sectors: decimal(
    'Size of the disk in units of 512 bytes, whatever sector-size says.',
    1,
    2 ** 44 - 1,
  ),
  'sector-size': powerOfTwo(
    decimal('Logical block in bytes: requests must be multiples of it.', 512, 4096, 512),
  ),
  'physical-sector-size': powerOfTwo(
    decimal('Physical block in bytes. Missing: as sector-size.', 512, 2 ** 31, 512),
  ),
  info: decimal('Bits VDISK_CDROM, VDISK_REMOVABLE, VDISK_READONLY.', 0, U32_MAX, 0),
  'feature-flush-cache': flag('The backend takes BLKIF_OP_FLUSH_DISKCACHE.'),
  'feature-barrier': flag('The backend takes BLKIF_OP_WRITE_BARRIER.'),
};

/** Keys in the frontend's directory, which the frontend writes and the backend reads. */
export const frontendKeys = {
  'ring-ref': decimal('Grant reference of the one page of the ring.', 0, U32_MAX),
  'event-channel': decimal('Port of the event channel, unbound, for the backend.', 0, U32_MAX),
  protocol: oneOf(
    'Layout of the ring entries; missing: the backend’s own.',
    [XEN_IO_PROTO_ABI_X86_64],
    XEN_IO_PROTO_ABI_X86_64,
  ),
};
