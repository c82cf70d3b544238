/** A guest may put anything into registers and memory: it gets an answer, and nobody else notices. */
import { createMachine, EndlessContinuation, PAGE_SIZE, PageFault } from '@ringside/gnttab-core';
import {
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_mmu_update,
  __HYPERVISOR_multicall,
  __HYPERVISOR_update_va_mapping,
  __HYPERVISOR_xen_version,
  DOMID_SELF,
  GTF_permit_access,
} from '@ringside/gnttab-core/abi';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkFrames, checkPageList, checkPhysmap, taken } from '../grant/invariants.ts';
import { BinaryGuest, type Kind, kinds } from './binary-guest.ts';

const RUNS = 400;
/** Pages of arguments. */
const ARGUMENTS = [8, 9];

/** 32-bit words as a hostile guest chooses them: mostly numbers that mean something somewhere. */
function wordsOf(guest: BinaryGuest, victim: BinaryGuest): fc.Arbitrary<number> {
  const pages = [0, 1, 7, 8, 9, 15, 16].flatMap((gfn) => [guest.page(gfn), guest.gmfn(gfn) >>> 0]);
  const telling = [
    ...pages,
    guest.window(0),
    victim.gmfn(3),
    guest.page(16) - 4,
    DOMID_SELF,
    guest.id,
    victim.id,
    (victim.id << 16) | GTF_permit_access,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0xffff_8000,
  ];
  return fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...telling) },
    { weight: 4, arbitrary: fc.nat(17) },
    { weight: 1, arbitrary: fc.nat(0xffff_ffff) },
  );
}

const numbers = [
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_mmu_update,
  __HYPERVISOR_multicall,
  __HYPERVISOR_update_va_mapping,
  __HYPERVISOR_xen_version,
];

function scene(kind: Kind) {
  const machine = createMachine({ memoryPages: 512, seed: 1 });
  taken(machine);
  const victim = new BinaryGuest(machine, kind);
  const bystander = new BinaryGuest(machine, kind);
  const guest = new BinaryGuest(machine, kind);
  victim.entry(8, GTF_permit_access, guest.id, victim.gmfn(3));
  bystander.write(bystander.page(0), new Uint8Array(16 * PAGE_SIZE).fill(0x5a));
  return { guest, victim, bystander };
}

describe.each(kinds)('%s, %s', (...kind) => {
  it('every hypercall has an answer, and the bystander its memory', () => {
    const first = scene(kind);
    const word = wordsOf(first.guest, first.victim);
    const addresses = ARGUMENTS.map((gfn) => first.guest.page(gfn));
    const call = fc.record({
      number: fc.constantFrom(...numbers),
      cmd: fc.oneof({ weight: 3, arbitrary: fc.nat(30) }, fc.constantFrom(...addresses), word),
      // Mostly the address of arguments, and a count.
      registers: fc.tuple(
        fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...addresses) }, word),
        fc.oneof({ weight: 3, arbitrary: fc.nat(4) }, word),
        fc.oneof(word, fc.bigInt()),
        word,
      ),
      // High halves of 64-bit fields are mostly zero.
      memory: fc.array(fc.oneof(word, fc.constant(0)), { minLength: 64, maxLength: 64 }),
    });
    const calls = fc.array(call, { minLength: 1, maxLength: 30 });

    fc.assert(
      fc.property(calls, fc.boolean(), (sequence, preempted) => {
        const { guest, bystander } = scene(kind);
        guest.machine.preemptCheck = () => preempted;
        for (const { number, cmd, registers, memory } of sequence) {
          for (const gfn of ARGUMENTS) put(guest, guest.page(gfn), Uint32Array.from(memory));
          if (guest.domain.crashed) break;
          const result = answer(guest, number, cmd, registers);
          expect(Number.isInteger(result)).toBe(true);
          expect(result).toBeGreaterThan(-200);
          checkPageList(guest);
          checkPhysmap(guest.domain);
        }
        expect(bystander.domain.totPages).toBe(16);
        const page = bystander.read(bystander.page(0), 16 * PAGE_SIZE);
        expect(page.every((byte) => byte === 0x5a)).toBe(true);
        checkPageList(bystander);
        checkPhysmap(bystander.domain);
        guest.destroy();
        checkFrames(guest.machine);
      }),
      { numRuns: RUNS / kinds.length },
    );
  });
});

/** The guest may have unmapped its arguments, or given them away; it goes on without. */
function put(guest: BinaryGuest, va: number, words: Uint32Array<ArrayBuffer>): void {
  try {
    guest.write(va, new Uint8Array(words.buffer));
  } catch (fault) {
    if (!(fault instanceof PageFault)) throw fault;
  }
}

function answer(
  guest: BinaryGuest,
  number: number,
  cmd: number,
  registers: readonly (number | bigint)[],
): number {
  try {
    return guest.hypercall(number, cmd, ...registers);
  } catch (error) {
    if (error instanceof EndlessContinuation) return 0;
    throw error;
  }
}
