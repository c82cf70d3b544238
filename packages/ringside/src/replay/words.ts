/** Numbers, bytes and results in words. */
import { errnoNames } from '@ringside/gnttab-core/abi';

export const hexNumber = (value: number | bigint): string => `0x${value.toString(16)}`;

export const hexBytes = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** The names of the bits that are set; what has no name as a number. */
export function bitNames(value: number, names: Readonly<Record<string, number>>): string[] {
  const set = Object.entries(names).filter(([, bit]) => (value & bit) !== 0);
  const rest = set.reduce((left, [, bit]) => left & ~bit, value) >>> 0;
  return [...set.map(([name]) => name), ...(rest === 0 ? [] : [hexNumber(rest)])];
}

/** `-EINVAL (-22)`. */
export function resultName(result: number | string): string {
  if (typeof result === 'string' || result >= 0) return String(result);
  const name = errnoNames.get(-result);
  return name === undefined ? String(result) : `-${name} (${result})`;
}
