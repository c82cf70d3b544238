import { seededRandom } from '@ringside/gnttab-core';
import { expect, test } from 'vitest';
import { permutation } from './permutation.ts';

test.each([1, 2, 3, 5, 64, 1000, 4097])('%i things come each exactly once', (count) => {
  const at = permutation(count, seededRandom(5));
  const all = Array.from({ length: count }, (_, i) => at(i));
  expect(all.toSorted((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i));
});

test('the order is a function of the seed, and not the natural one', () => {
  const order = (seed: number) =>
    Array.from({ length: 100 }, (_, i) => permutation(100, seededRandom(seed))(i));
  expect(order(1)).toEqual(order(1));
  expect(order(1)).not.toEqual(order(2));
  expect(order(1)).not.toEqual(order(1).toSorted((a, b) => a - b));
});

test('large ranges need no table', () => {
  const at = permutation(2 ** 40 + 7, seededRandom(5));
  const some = Array.from({ length: 1000 }, (_, i) => at(i));
  expect(new Set(some).size).toBe(1000);
  expect(Math.max(...some)).toBeGreaterThan(2 ** 39);
});
