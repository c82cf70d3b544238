import { expect, test } from 'vitest';
import { bytes, count, duration, size, table } from './format.ts';

test.each([
  [0, '0'],
  [999, '999'],
  [1000, '1,000'],
  [1234567, '1,234,567'],
])('%d is counted as %s', (value, text) => {
  expect(count(value)).toBe(text);
});

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.00 KiB'],
  [4096 * 3, '12.0 KiB'],
  [64 << 20, '64.0 MiB'],
  [900 << 20, '900 MiB'],
  [2 ** 40, '1.00 TiB'],
])('%d bytes are %s', (value, text) => {
  expect(bytes(value)).toBe(text);
});

test.each([
  [0, '0 ns'],
  [999, '999 ns'],
  [1000, '1.00 µs'],
  [12_345, '12.3 µs'],
  [999_999, '1.00 ms'],
  [61e9, '61.0 s'],
])('%d ns are %s', (value, text) => {
  expect(duration(value)).toBe(text);
});

test.each([
  [4096, '4k'],
  [1 << 20, '1M'],
  [512, '512'],
])('a block of %d bytes is %s', (value, text) => {
  expect(size(value)).toBe(text);
});

test('columns are aligned, and lines have no blanks at their end', () => {
  const rows = [
    ['name', 'n', 'what'],
    ['a', '1000', ''],
  ];
  expect(table(rows, ['left', 'right', 'left'])).toEqual(['name     n  what', 'a     1000']);
});
