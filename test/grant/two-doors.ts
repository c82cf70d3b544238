/**
 * Two machines alike, one with the typed door and one with the binary door. Each call is made on both: what comes back must
 * be the same, and in the end the memory of the machines.
 */
import { createMachine, type GnttabMapGrantRef } from '@ringside/gnttab-core';
import { GNTST_okay } from '@ringside/gnttab-core/abi';
import { domainStruct } from '@ringside/gnttab-core/hypervisor';
import { expect } from 'vitest';
import { BinaryGuest, type Kind } from '../hypercall/binary-guest.ts';
import { binaryCall } from './binary-calls.ts';
import type { Operation } from './door-operations.ts';
import { typedCall } from './typed-calls.ts';

/** Guest pages from here on hold the arguments of binary calls; the others must be alike. */
const FIRST_ARGUMENT_PAGE = 8;
const PAGES = 16;

export class TwoDoors {
  readonly typed: BinaryGuest[];
  readonly binary: BinaryGuest[];
  /** What has been granted, and what has been mapped, so that later calls name it. */
  readonly granted: { owner: number; ref: number; to: number }[] = [];
  readonly mapped: { by: number; handle: number; hostAddr: number; devBusAddr: number }[] = [];
  readonly #argumentFrames: number[];

  constructor(kinds: readonly Kind[]) {
    const build = () => {
      const machine = createMachine({
        memoryPages: 400,
        seed: 1,
        traceRecords: 0,
        // A copy that restarts for ever is where the doors differ: transitive.test.ts.
        gnttab: { transitive: false },
      });
      return kinds.map((kind) => new BinaryGuest(machine, kind));
    };
    this.typed = build();
    this.binary = build();
    this.#argumentFrames = this.typed.flatMap(argumentFrames);
    // Every chance to yield is taken, and nobody notices.
    this.binary[0]!.machine.preemptCheck = () => true;
  }

  /** Does the same to both: writes to guest memory, deaths. */
  both(n: number, action: (guest: BinaryGuest) => void): void {
    action(this.typed[n]!);
    action(this.binary[n]!);
  }

  /** A copy of either machine's memory, without the arguments and the counters of hypercalls. */
  memories(): [Uint32Array, Uint32Array] {
    return [memory(this.typed, this.#argumentFrames), memory(this.binary, this.#argumentFrames)];
  }
}

/** Has domain `n` make a call through either door. */
export function call(doors: TwoDoors, n: number, operation: Operation): void {
  const [typed, binary] = [doors.typed[n]!, doors.binary[n]!];
  expect(binary.domain.crashed).toBe(typed.domain.crashed);
  if (typed.domain.crashed || !typed.domain.alive) return;
  const outcome = typedCall(typed.domain, operation);
  expect(binaryCall(binary, operation)).toEqual(outcome);
  if (operation.op !== 'map') return;
  for (const [i, { hostAddr }] of operation.elements.entries()) {
    const { status, handle, devBusAddr } = outcome.elements![i] as GnttabMapGrantRef;
    if (status === GNTST_okay) doors.mapped.push({ by: n, handle, hostAddr, devBusAddr });
  }
}

/** The machines are the same. */
export function compare(doors: TwoDoors): void {
  const [typed, binary] = doors.memories();
  const differs = typed.findIndex((word, i) => word !== binary[i]);
  if (differs >= 0) expect.fail(`memory differs at 0x${(differs * 4).toString(16)}`);
}

/** A copy of the machine's memory without what may differ. */
function memory(guests: readonly BinaryGuest[], argumentFrames: readonly number[]): Uint32Array {
  const words = guests[0]!.machine.heap.u32.slice();
  for (const { domain } of guests) {
    const counters = domain.base + domainStruct.offset.counters;
    words.fill(0, counters >>> 2, (domain.base + domainStruct.size) >>> 2);
  }
  for (const frame of argumentFrames) words.fill(0, frame << 10, (frame + 1) << 10);
  return words;
}

const argumentFrames = (guest: BinaryGuest): number[] =>
  Array.from({ length: PAGES - FIRST_ARGUMENT_PAGE }, (_, i) => guest.mfn(FIRST_ARGUMENT_PAGE + i));
