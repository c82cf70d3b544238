/** The frames of a replayed machine, and the bytes in them. */
import {
  type Bank,
  BANK_PAGES,
  BANK_SHIFT,
  INVALID_MFN,
  type Machine,
  PAGE_SIZE,
} from '@ringside/gnttab-core';
import { RecordingError } from './reader.ts';

/** A frame's bank, and where it begins there. Throws RecordingError if there is none. */
export function placeOf(machine: Machine, frame: number): { bank: Bank; offsetBytes: number } {
  if (frame === INVALID_MFN || machine.pageInfo(frame) === 0) {
    throw new RecordingError(`there is no frame ${frame}`);
  }
  return { bank: machine.bank(frame), offsetBytes: (frame % BANK_PAGES) * PAGE_SIZE };
}

/** Overwrites bytes of a frame, as its guest could. */
export function writeFrame(
  machine: Machine,
  frame: number,
  offsetBytes: number,
  bytes: Uint8Array,
): void {
  const { bank, offsetBytes: start } = placeOf(machine, frame);
  bank.u8.set(bytes, start + offsetBytes);
}

/** A copy of bytes of a frame. */
export function readFrame(
  machine: Machine,
  frame: number,
  offsetBytes = 0,
  lengthBytes = PAGE_SIZE,
): Uint8Array {
  const { bank, offsetBytes: start } = placeOf(machine, frame);
  return bank.u8.slice(start + offsetBytes, start + offsetBytes + lengthBytes);
}

/** What a recording says of a domain's memory. */
export interface BankHeader {
  readonly id: number;
  readonly frames: number;
  /** Its first frame, which begins a bank. */
  readonly mfn_base: number;
}

/**
 * Adds the bank of a domain's frames, which only the machine has. Domains come in the order of their frames. Throws
 * RecordingError for a frame number where no bank can begin.
 */
export function addDomainBank(machine: Machine, { id, frames, mfn_base }: BankHeader): number {
  const bank = mfn_base >>> BANK_SHIFT;
  if (mfn_base % BANK_PAGES !== 0 || bank < machine.banks.length) {
    throw new RecordingError(`domain ${id}: mfn_base ${mfn_base} is not free`);
  }
  while (machine.banks.length < bank) machine.addForeignBank({ buffer: new ArrayBuffer(0) });
  return machine.addForeignBank({ buffer: new ArrayBuffer(frames * PAGE_SIZE), trusted: true });
}
