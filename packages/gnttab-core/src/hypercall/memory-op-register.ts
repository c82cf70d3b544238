/** memory_op's first register (memory.h), and what its operations have in common. */
import type { Domain } from '../machine/machine.ts';
import { Continuation } from './registers.ts';

/** The operation is in the low bits; above them, the extent that a continued call goes on with. */
export const MEMOP_EXTENT_SHIFT = 6;
export const MEMOP_CMD_MASK = (1 << MEMOP_EXTENT_SHIFT) - 1;
/** More extents than this cannot be counted in the register. */
export const MAX_EXTENTS = 0xffff_ffff >>> MEMOP_EXTENT_SHIFT;

/** Runs an operation on the struct at `arg`, from extent `start` on. Throws PageFault. */
export type MemoryOp = (arg: number, start: number) => number | Continuation;

/** The operation goes on with extent `start`. */
export const continueAt = (operation: number, start: number, arg: number): Continuation =>
  new Continuation(((start << MEMOP_EXTENT_SHIFT) | operation) >>> 0, arg);

/** max_order(): the largest extents that a domain may ask for are 2 MiB, a control domain's 1 GiB. */
export const maxOrder = (domain: Domain): number => (domain.privileged ? 18 : 9);
