import { expect, test } from 'vitest';
import { firstDifference, patternSource } from './pattern.ts';

function patternAt(seed: number, offsetBytes: number, lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  patternSource(seed).read(offsetBytes, [bytes]);
  return bytes;
}

test('what a byte is depends on the seed and its place alone', () => {
  const whole = patternAt(7, 0, 8192);
  expect(patternAt(7, 1024, 2048)).toEqual(whole.slice(1024, 3072));
  const [a, b] = [new Uint8Array(512), new Uint8Array(1536)];
  patternSource(7).read(2048, [a, b]);
  expect(Buffer.concat([a, b])).toEqual(Buffer.from(whole.subarray(2048, 4096)));
});

test('no two sectors are the same, near or far, and no two seeds', () => {
  const sectors = [0, 1, 2, 1000, 2 ** 32, 2 ** 32 + 1, 2 ** 33].flatMap((sector) =>
    [1, 2].map((seed) => patternAt(seed, sector * 512, 512).join()),
  );
  expect(new Set(sectors).size).toBe(sectors.length);
});

test('the first difference is found, wherever it is and however the bytes lie in memory', () => {
  for (const lengthBytes of [0, 1, 3, 4, 5, 8, 11]) {
    const expected = Uint8Array.from({ length: lengthBytes }, (_, i) => i);
    const actual = new Uint8Array(lengthBytes + 1).subarray(1);
    actual.set(expected);
    expect(firstDifference(actual, expected)).toBe(-1);
    for (let at = lengthBytes - 1; at >= 0; at--) {
      actual[at]! ^= 0x80;
      expect(firstDifference(actual, expected)).toBe(at);
    }
  }
  expect(firstDifference(Uint8Array.of(1), Uint8Array.of(1, 2))).toBe(1);
});
