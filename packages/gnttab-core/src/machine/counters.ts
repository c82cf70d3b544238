/**
 * Counters of what a domain asked for: always on, kept in its struct domain, read by people.
 * A domain's hypercalls run on one thread at a time, so plain additions do.
 */
/** What is counted, each from the caller's point of view. */
export const counterNames = [
  'hypercalls',
  'grants',
  'grantEnds',
  'maps',
  'unmaps',
  'copies',
  'copiedBytes',
  'transfers',
  'revocations',
  'notificationsSent',
  'notificationsSuppressed',
  'upcalls',
  'mmuUpdates',
  'reservationChanges',
] as const;

export type CounterName = (typeof counterNames)[number];
export type Counters = Record<CounterName, number>;

/** Byte offset of each counter in `domainStruct.counters`. */
export const COUNTER = Object.fromEntries(
  counterNames.map((name, index) => [name, index * 8]),
) as Readonly<Record<CounterName, number>>;

type Words = Uint32Array<ArrayBufferLike>;

/** Adds to the 64-bit counter at a byte offset. */
export function addTo(u32: Words, offsetBytes: number, amount: number): void {
  const word = offsetBytes >>> 2;
  const sum = u32[word]! + amount;
  u32[word] = sum;
  if (sum > 0xffff_ffff) u32[word + 1]! += Math.floor(sum / 2 ** 32);
}

/** The value of the counter at a byte offset. */
export function counterAt(u32: Words, offsetBytes: number): number {
  const word = offsetBytes >>> 2;
  return u32[word]! + u32[word + 1]! * 2 ** 32;
}
