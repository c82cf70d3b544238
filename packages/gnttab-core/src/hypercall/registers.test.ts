import { describe, expect, it } from 'vitest';
import { highHalf, type Register, uint, word } from './registers.ts';

const rows: [Register, { uint: number; high: number; i386: number; x86_64: number }][] = [
  [0, { uint: 0, high: 0, i386: 0, x86_64: 0 }],
  [0xffff_ffff, { uint: 0xffff_ffff, high: 0, i386: 0xffff_ffff, x86_64: 0xffff_ffff }],
  [-1, { uint: 0xffff_ffff, high: 0xffff_ffff, i386: 0xffff_ffff, x86_64: 2 ** 64 }],
  [-1n, { uint: 0xffff_ffff, high: 0xffff_ffff, i386: 0xffff_ffff, x86_64: 2 ** 64 }],
  [0x1_0000_1000, { uint: 0x1000, high: 1, i386: 0x1000, x86_64: 0x1_0000_1000 }],
  [0x1_0000_1000n, { uint: 0x1000, high: 1, i386: 0x1000, x86_64: 0x1_0000_1000 }],
  [-(2n ** 32n), { uint: 0, high: 0xffff_ffff, i386: 0, x86_64: 2 ** 64 - 2 ** 32 }],
  [-(2 ** 33), { uint: 0, high: 0xffff_fffe, i386: 0, x86_64: 2 ** 64 - 2 ** 33 }],
  [2n ** 64n + 8n, { uint: 8, high: 0, i386: 8, x86_64: 8 }],
];

describe.each(rows)('register %s', (register, is) => {
  it('as unsigned int, and the half above it', () => {
    expect([uint(register), highHalf(register)]).toEqual([is.uint, is.high]);
  });
  it.each(['i386', 'x86_64'] as const)('as unsigned long of %s', (abi) => {
    expect(word(register, abi)).toBe(is[abi]);
  });
});

it('a register that is not passed is 0', () => {
  expect([uint(), highHalf(), word(undefined, 'i386'), word(undefined, 'x86_64')]).toEqual([
    0, 0, 0, 0,
  ]);
});
