/** Bytes that follow from a seed and their place, so that whoever reads them back knows what they must be. */

/** Bytes that share one start value; a disk's sector. */
const UNIT_BYTES = 512;

/** Fills `words` with the pattern of unit `unit` from its beginning: xorshift32 from a mixed start value. */
export function fillWords(words: Uint32Array, seed: number, unit: number): void {
  const high = Math.floor(unit / 2 ** 32);
  let x = unit ^ Math.imul(high, 0xc2b2_ae35) ^ Math.imul(seed, 0x27d4_eb2f);
  x = Math.imul(x ^ (x >>> 16), 0x85eb_ca6b);
  x = x ^ (x >>> 13) || 1;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
}

/** What a disk's blocks must be: reads like a disk. */
export interface BlockSource {
  /** Fills the views, one after another, from `offsetBytes` on. */
  read(offsetBytes: number, views: readonly Uint8Array[]): void;
}

/** A disk full of pattern. Views begin at addresses that are multiples of 4; all ranges are whole sectors. */
export const patternSource = (seed: number): BlockSource => ({
  read(offsetBytes, views) {
    let unit = offsetBytes / UNIT_BYTES;
    for (const view of views) {
      for (let at = 0; at < view.length; at += UNIT_BYTES) {
        fillWords(new Uint32Array(view.buffer, view.byteOffset + at, UNIT_BYTES / 4), seed, unit++);
      }
    }
  },
});

/** The first place where two runs of bytes of one length differ, or -1. */
export function firstDifference(actual: Uint8Array, expected: Uint8Array): number {
  const a = new DataView(actual.buffer, actual.byteOffset, actual.length);
  const b = new DataView(expected.buffer, expected.byteOffset, expected.length);
  // Words first, of any alignment: four times as fast as bytes.
  let at = 0;
  for (const end = Math.min(a.byteLength, b.byteLength) - 3; at < end; at += 4) {
    if (a.getUint32(at) !== b.getUint32(at)) break;
  }
  for (; at < expected.length; at++) if (actual[at] !== expected[at]) return at;
  return -1;
}

/** A byte as people compare it: 0x0f. */
export const hexByte = (byte: number | undefined): string =>
  byte === undefined ? 'missing' : `0x${byte.toString(16).padStart(2, '0')}`;
