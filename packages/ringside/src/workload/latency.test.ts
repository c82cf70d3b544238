import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LatencyHistogram } from './latency.ts';

test('an empty histogram is all zeros', () => {
  expect(new LatencyHistogram().summary()).toEqual({
    min: 0,
    mean: 0,
    p50: 0,
    p90: 0,
    p99: 0,
    'p99.9': 0,
    max: 0,
  });
});

test('small values are exact', () => {
  const histogram = new LatencyHistogram();
  for (let ns = 1; ns <= 50; ns++) histogram.record(ns);
  expect(histogram.summary()).toMatchObject({ min: 1, p50: 25, p90: 45, p99: 50, max: 50 });
});

test('a percentile is never below the true one, and at most 1.6 % above', () => {
  const latency = fc.oneof(fc.nat(1000), fc.nat(2 ** 31 - 1), fc.integer({ min: 0, max: 2 ** 41 }));
  fc.assert(
    fc.property(
      fc.array(latency, { minLength: 1, maxLength: 200 }),
      fc.constantFrom(1, 50, 90, 99, 99.9, 100),
      (values, percent) => {
        const histogram = new LatencyHistogram();
        for (const ns of values) histogram.record(ns);
        const sorted = values.toSorted((a, b) => a - b);
        const exact = sorted[Math.max(1, Math.ceil((values.length * percent) / 100)) - 1]!;
        const found = histogram.percentile(percent);
        expect(found).toBeGreaterThanOrEqual(exact);
        expect(found).toBeLessThanOrEqual(exact * 1.016 + 1);
      },
    ),
    { seed: 1 },
  );
});

test('a value beyond all buckets is the maximum', () => {
  const histogram = new LatencyHistogram();
  histogram.record(2 ** 50);
  expect(histogram.percentile(50)).toBe(2 ** 50);
});
