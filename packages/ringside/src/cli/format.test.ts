import { expect, test } from 'vitest';
import { bytes, count, counted, duration, fitted, size, table, timeFormat } from './format.ts';

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

test.each([
  [0, '0 files'],
  [1, '1 file'],
  [2, '2 files'],
  [1234, '1,234 files'],
])('%d are %s', (value, text) => {
  expect(counted(value, 'file')).toBe(text);
});

test('what has a plural of its own', () => {
  expect([1, 2].map((value) => counted(value, 'mismatch', 'mismatches'))).toEqual([
    '1 mismatch',
    '2 mismatches',
  ]);
});

test.each([
  [999_999, 0, '0.000 µs'],
  [999_999, 20_500, '20.500 µs'],
  [1e6, 20_500, '0.021 ms'],
  [999_999_999, 134_605, '0.135 ms'],
  [1e9, 12_345_001, '0.012346 s'],
  [3600e9, 3599e9, '3599.000000 s'],
])('of a trace that ends at %d ns, %d ns are %s', (endNs, ns, text) => {
  expect(timeFormat(endNs).time(ns)).toBe(text);
});

test('a time that is printed is not before the time that it stands for', () => {
  for (const [endNs, unitNs] of [
    [1e3, 1e3],
    [1e6, 1e6],
    [1e9, 1e9],
  ] as const) {
    const { time } = timeFormat(endNs);
    for (let ns = 1; ns < endNs; ns = ns * 3 + 1) {
      const printedNs = Math.round(Number.parseFloat(time(ns)) * unitNs);
      expect(printedNs).toBeGreaterThanOrEqual(ns);
      expect(printedNs).toBeLessThanOrEqual(ns + 1000);
    }
  }
});

test('a span of one time is that time', () => {
  const { span } = timeFormat(2e6);
  expect([span(134_605, 140_001), span(134_605, 134_999)]).toEqual([
    '0.135 to 0.141 ms',
    '0.135 ms',
  ]);
});

test('lines fit a terminal, narrow or low: what is cut and what is left out shows', () => {
  const lines = ['a line of twenty-four ch', 'short', 'third'];
  expect(fitted(lines, { columns: 24, rows: 3 })).toEqual(lines);
  expect(fitted(lines, { columns: 10, rows: 3 })).toEqual(['a line of…', 'short', 'third']);
  expect(fitted(lines, { columns: 24, rows: 2 })).toEqual([lines[0], '… 2 more lines']);
  expect(fitted(lines, { columns: 1, rows: 1 })).toEqual(['…']);
});
