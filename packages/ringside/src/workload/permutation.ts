/** A random order of many things without a table: a Feistel network that walks until it is inside the range. */
import type { Random } from '@ringside/gnttab-core';

const ROUNDS = 4;

/** A function from each whole number below `count` to another one below it, each exactly once; `count` is at most 2^48. */
export function permutation(count: number, random: Random): (index: number) => number {
  const halfBits = Math.max(1, Math.ceil(Math.log2(Math.max(2, count)) / 2));
  const half = 2 ** halfBits;
  const keys = Array.from({ length: ROUNDS }, () => random.u32());
  const once = (value: number): number => {
    let [left, right] = [Math.floor(value / half), value % half];
    for (const key of keys) [left, right] = [right, (left + mix(right, key)) % half];
    return left * half + right;
  };
  return (index) => {
    let value = once(index);
    while (value >= count) value = once(value);
    return value;
  };
}

function mix(value: number, key: number): number {
  const mixed = Math.imul(value ^ key, 0x9e37_79b1);
  return (Math.imul(mixed ^ (mixed >>> 15), 0x85eb_ca6b) >>> 8) & 0xff_ffff;
}
