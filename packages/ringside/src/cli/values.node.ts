/** What the options' values may be. */
import { InvalidArgumentError } from 'commander';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};

/** Bytes as fio has them: `512`, `4k`, `1.5M`, `2GiB`; units are powers of 1024. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(?:([kmgt])i?)?b?$/i.exec(text);
  const size = match ? Number(match[1]) * UNITS[(match[2] ?? '').toLowerCase()]! : NaN;
  if (Number.isSafeInteger(size) && size > 0) return size;
  throw new InvalidArgumentError('Allowed: bytes above 0, as 512, 4k, 64M or 1G.');
}

/** A whole number above 0. */
export function parseCount(text: string): number {
  if (/^\d{1,9}$/.test(text) && Number(text) > 0) return Number(text);
  throw new InvalidArgumentError('Allowed: a whole number from 1 to 999999999.');
}

/** Seconds, in nanoseconds. */
export function parseSeconds(text: string): number {
  const match = /^(\d+(?:\.\d+)?)s?$/.exec(text);
  if (match && Number(match[1]) > 0) return Math.round(Number(match[1]) * 1e9);
  throw new InvalidArgumentError('Allowed: seconds above 0, as 10 or 0.5.');
}

/** What a run is a function of. */
export function parseSeed(text: string): number {
  if (/^\d{1,10}$/.test(text) && Number(text) < 2 ** 32) return Number(text);
  throw new InvalidArgumentError('Allowed: a whole number from 0 to 4294967295.');
}
