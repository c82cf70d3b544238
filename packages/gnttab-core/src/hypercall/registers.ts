/** What a hypercall takes in registers, and what it comes to: a result, or the registers to go on with. */
import type { Abi } from '../abi/struct.ts';

/** A register: a number for 32 bits and small values, a bigint for any 64-bit value. Signed or not makes no difference. */
export type Register = number | bigint;
export type Registers = readonly Register[];

/**
 * hypercall_create_continuation(): the hypercall has been preempted, and is to be made again with these registers. The
 * guest does not notice.
 */
export class Continuation {
  readonly registers: Registers;

  constructor(...registers: Registers) {
    this.registers = registers;
  }
}

/** Runs one leg of a hypercall: its result (>= 0 or -errno), or its continuation. Throws PageFault: -EFAULT. */
export type Hypercall = (registers: Registers) => number | Continuation;

/** The low 32 bits of a register: `unsigned int`. */
export const uint = (register: Register = 0): number =>
  typeof register === 'number' ? register >>> 0 : Number(BigInt.asUintN(32, register));

/** The high 32 bits of a 64-bit register. */
export const highHalf = (register: Register = 0): number =>
  typeof register === 'number'
    ? Math.floor(register / 2 ** 32) >>> 0
    : Number(BigInt.asUintN(32, register >> 32n));

/**
 * A register as `unsigned long` or a pointer: 32 bits under i386. Beyond 2^53 it is rounded: that is nowhere near an address
 * or number that means anything.
 */
export function word(register: Register = 0, abi: Abi): number {
  if (abi === 'i386') return uint(register);
  if (typeof register === 'bigint') return Number(BigInt.asUintN(64, register));
  return register < 0 ? register + 2 ** 64 : register;
}
