/** Bytes and the strings in them. One character stands for one byte (0 to 255), so nothing is lost either way. */

const NUL = 0;

/** Each byte as a character. */
export function textOf(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** Each character as a byte; what is above 255 loses its upper bits. */
export function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Strings as the protocol lists them: a NUL after each. */
export const nulTerminated = (texts: readonly string[]): Uint8Array =>
  bytesOf(texts.map((text) => `${text}\0`).join(''));

/** The strings of a payload that are closed by a NUL; what follows the last NUL is ignored. */
export function stringsIn(payload: Uint8Array): string[] {
  const strings: string[] = [];
  for (let start = 0; ;) {
    const end = payload.indexOf(NUL, start);
    if (end < 0) return strings;
    strings.push(textOf(payload.subarray(start, end)));
    start = end + 1;
  }
}

/** The payload's one string, if exactly one NUL stands in it, at the end. */
export function onlyString(payload: Uint8Array): string | undefined {
  const end = payload.indexOf(NUL);
  return end >= 0 && end === payload.length - 1 ? textOf(payload.subarray(0, end)) : undefined;
}

/** The string before the first NUL, and the bytes after it. */
export function stringAndRest(payload: Uint8Array): [string, Uint8Array] | undefined {
  const end = payload.indexOf(NUL);
  if (end < 0) return undefined;
  return [textOf(payload.subarray(0, end)), payload.subarray(end + 1)];
}

const [LONG_MIN, LONG_MAX] = [-(2n ** 63n), 2n ** 63n - 1n];

/** What C makes of a number in an int: strtol stops at the ends of a long, the int has its lower 32 bits. */
export function asCInt(value: bigint): number {
  const long = value < LONG_MIN ? LONG_MIN : value > LONG_MAX ? LONG_MAX : value;
  return Number(BigInt.asIntN(32, long));
}

/** C's atoi: the integer that `text` begins with, else 0. */
export function leadingInteger(text: string): number {
  const [, sign, digits] = /^[ \t\n\v\f\r]*([+-]?)(\d+)/.exec(text) ?? [];
  return digits === undefined ? 0 : asCInt(BigInt(digits) * (sign === '-' ? -1n : 1n));
}

/** A domain id, 0 to 65535, in decimal (empty is 0, as in the C daemon); undefined if it is not one. */
export function parseDomid(text: string): number | undefined {
  const digits = /^[ \t\n\v\f\r]*\+?(\d*)$/.exec(text)?.[1];
  const domid = digits === undefined ? NaN : Number(digits);
  return domid <= 0xffff ? domid : undefined;
}
