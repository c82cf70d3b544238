/** One ring index in memory that another domain writes too. */
import type { Bank } from '../machine/bank.ts';
import { ringIndex } from './ring-index.ts';
import type { RingIndex } from './ring-index.ts';

/** The index that lies `offsetBytes` into the bank. */
export const loadIndex = (bank: Bank, offsetBytes: number): RingIndex =>
  ringIndex(Atomics.load(bank.i32, offsetBytes >>> 2));

export function storeIndex(bank: Bank, offsetBytes: number, index: RingIndex): void {
  Atomics.store(bank.i32, offsetBytes >>> 2, index);
  bank.memory.written?.(offsetBytes, 4);
}
