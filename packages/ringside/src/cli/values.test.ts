import { InvalidArgumentError } from 'commander';
import { describe, expect, test } from 'vitest';
import { parseCount, parseSeconds, parseSeed, parseSize } from './values.node.ts';

test.each([
  ['512', 512],
  ['512b', 512],
  ['4k', 4096],
  ['4K', 4096],
  ['4kB', 4096],
  ['4KiB', 4096],
  ['1.5M', 1_572_864],
  ['64mb', 64 << 20],
  ['2GiB', 2 ** 31],
  ['1T', 2 ** 40],
])('%s are %d bytes, whatever the option', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

describe('what is not a value is refused with what is allowed', () => {
  test.each<[parse: (text: string) => number, texts: string[], allowed: string]>([
    [
      parseSize,
      ['', '0', '-1', '4x', '4 k', 'k', '512ib', '0.3k', '1e3', '0x200', '9999999T'],
      'Allowed: bytes above 0, as 512, 4k, 64M or 1G.',
    ],
    [
      parseCount,
      ['', '0', '-1', '1.5', '1k', '1000000000'],
      'Allowed: a whole number from 1 to 999999999.',
    ],
    [parseSeconds, ['', '0', '-1', '1m', 'soon'], 'Allowed: seconds above 0, as 10 or 0.5.'],
    [parseSeed, ['', '-1', '1.5', '4294967296'], 'Allowed: a whole number from 0 to 4294967295.'],
  ])('%o of %j', (parse, texts, allowed) => {
    for (const text of texts) {
      expect(() => parse(text), text).toThrow(InvalidArgumentError);
      expect(() => parse(text), text).toThrow(allowed);
    }
  });
});
