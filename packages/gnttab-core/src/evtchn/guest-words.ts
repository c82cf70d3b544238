/**
 * Words that a guest writes too: the shared info page, vcpu_info, event words, control blocks. Each change is atomic. Nearly
 * all of them are in bank 0; whoever owns a foreign bank hears of what is written there.
 */
import type { Bank } from '../machine/bank.ts';
import type { Machine } from '../machine/machine.ts';
import { BANK_PAGES, bankOffset, type MachineAddress, PAGE_SIZE } from '../machine/page.ts';

/** Machine addresses below this are in bank 0. */
const HEAP_END = BANK_PAGES * PAGE_SIZE;

/** A step on a word of a foreign bank. Returns what the step does. */
function inForeignBank(
  machine: Machine,
  address: MachineAddress,
  step: (bank: Bank, word: number) => number,
): number {
  const bank = machine.bankOf(address);
  const offset = bankOffset(address);
  const previous = step(bank, offset >>> 2);
  bank.memory.written?.(offset, 4);
  return previous;
}

/** Sets a bit of the bitmap at a machine address (4-aligned, in one bank); true if it was set already. */
export function testAndSetBit(machine: Machine, bitmap: MachineAddress, bit: number): boolean {
  const at = bitmap + (bit >>> 5) * 4;
  const mask = 1 << (bit & 31);
  const previous =
    at < HEAP_END
      ? machine.native.or(at, mask)
      : inForeignBank(machine, at, ({ i32 }, word) => Atomics.or(i32, word, mask));
  return (previous & mask) !== 0;
}

/** Clears a bit; true if it was set. */
export function testAndClearBit(machine: Machine, bitmap: MachineAddress, bit: number): boolean {
  const at = bitmap + (bit >>> 5) * 4;
  const mask = 1 << (bit & 31);
  const previous =
    at < HEAP_END
      ? machine.native.and(at, ~mask)
      : inForeignBank(machine, at, ({ i32 }, word) => Atomics.and(i32, word, ~mask));
  return (previous & mask) !== 0;
}

/** A bit is set. */
export const testBit = (machine: Machine, bitmap: MachineAddress, bit: number): boolean =>
  (loadWord(machine, bitmap + (bit >>> 5) * 4) & (1 << (bit & 31))) !== 0;

/** The 32-bit word at a machine address. */
export const loadWord = (machine: Machine, at: MachineAddress): number =>
  at < HEAP_END
    ? machine.native.load(at)
    : Atomics.load(machine.bankOf(at).i32, bankOffset(at) >>> 2);

/** Writes a 32-bit word. */
export function storeWord(machine: Machine, at: MachineAddress, value: number): void {
  if (at < HEAP_END) Atomics.store(machine.i32, at >>> 2, value);
  else inForeignBank(machine, at, ({ i32 }, word) => Atomics.store(i32, word, value));
}

/** Compare and exchange; returns what was there. */
export const casWord = (
  machine: Machine,
  at: MachineAddress,
  expected: number,
  replacement: number,
): number =>
  at < HEAP_END
    ? machine.native.cas(at, expected, replacement)
    : inForeignBank(machine, at, ({ i32 }, word) =>
        Atomics.compareExchange(i32, word, expected, replacement),
      );
