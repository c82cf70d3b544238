/** machine/uniprocessor.ts does what the atomic steps of native-code.ts do. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Bank, nativeMemory } from './bank.ts';
import { createMachine } from './create-machine.ts';
import { pageInfo, PGC_count_mask, PGT_count_mask, PGT_writable_page } from './layout.ts';
import { Machine } from './machine.ts';
import type { Native } from './native-code.ts';
import { Uniprocessor } from './uniprocessor.ts';

const LOCK = 128;
/** The words that steps are made on. */
const USED = Array.from({ length: 256 }, (_, n) => n);
/** Two struct page_info, and some words. */
const INFOS = [256, 256 + pageInfo.size];
const WORDS = [512, 516];
const { count_info: COUNT, type_info: TYPE, owner: OWNER } = pageInfo.offset;

const info = fc.constantFrom(...INFOS);
const word = fc.constantFrom(...WORDS);
const half = word.chain((at) => fc.constantFrom(at, at + 2));
const bits = fc.nat(0xffff);
/** Few values, so that comparisons succeed at times. */
const value = fc.constantFrom(0, 1, -1, 0x7fff_ffff, -0x8000_0000, 0x1234_5678);
const owner = fc.constantFrom(0, 7, 0x7ff4);
const type = fc.constantFrom(PGT_writable_page, 0x1000_0000);

interface Step {
  readonly name: keyof Native;
  readonly args: readonly number[];
}
const call = (name: keyof Native, ...args: fc.Arbitrary<number>[]): fc.Arbitrary<Step> =>
  fc.tuple(...args).map((chosen) => ({ name, args: chosen }));

/** Counts and types of the frames, at their edges too. */
const frame = fc.record({
  count: fc.constantFrom(0, 1, 2, PGC_count_mask - 1, PGC_count_mask, 0x4000_0001),
  type: fc.constantFrom(
    0,
    PGT_writable_page,
    PGT_writable_page | 1,
    PGT_writable_page | PGT_count_mask,
    0x1000_0001,
  ),
  owner,
});

const atomicStep = fc.oneof(
  call('cas', word, value, value),
  call('or', word, value),
  call('and', word, value),
  call('and16', half, bits),
  call('or16', half, bits),
  call('getPage', info, owner),
  call('putPage', info),
  call('getPageAndType', info, owner, type),
  call('putPageAndType', info),
  call('copy', fc.integer({ min: 600, max: 700 }), fc.integer({ min: 500, max: 700 }), fc.nat(64)),
  call('zero', fc.integer({ min: 600, max: 700 }), fc.nat(64)),
);

/** A bank with these frames, and the steps on it: atomic or not. */
function bankWith(frames: { count: number; type: number; owner: number }[], plain: boolean) {
  const bank = new Bank(0, nativeMemory(1, false), false);
  frames.forEach((fields, i) => {
    bank.i32[(INFOS[i]! + COUNT) >>> 2] = fields.count;
    bank.i32[(INFOS[i]! + TYPE) >>> 2] = fields.type;
    bank.u16[(INFOS[i]! + OWNER) >>> 1] = fields.owner;
  });
  return { bank, native: plain ? new Uniprocessor(bank) : bank.native! };
}

const perform = (native: Native, { name, args }: Step): unknown =>
  (native[name] as (...args: readonly number[]) => unknown).call(native, ...args);

it('any steps give the same results and the same memory as the atomic ones', () => {
  fc.assert(
    fc.property(
      fc.tuple(frame, frame),
      fc.array(atomicStep, { maxLength: 40 }),
      (frames, steps) => {
        const plain = bankWith(frames, true);
        const atomic = bankWith(frames, false);
        for (const step of steps) {
          expect(perform(plain.native, step)).toBe(perform(atomic.native, step));
          const differs = USED.find((at) => plain.bank.u32[at] !== atomic.bank.u32[at]);
          if (differs !== undefined) expect.fail(`word ${differs} differs after ${step.name}`);
        }
      },
    ),
    { numRuns: 300 },
  );
});

it('locks are of no use to one thread: they change nothing', () => {
  const { bank, native } = bankWith([], true);
  const locks = [
    'spinLock',
    'readLock',
    'writeLock',
    'spinUnlock',
    'readUnlock',
    'writeUnlock',
  ] as const;
  for (const name of locks) perform(native, { name, args: [LOCK] });
  expect(USED.filter((at) => bank.u32[at] !== 0)).toEqual([]);
});

describe('a machine', () => {
  it('has plain steps while it has one handle, and atomic ones from its first share() on', () => {
    const machine = createMachine({ memoryPages: 256, seed: 1 });
    expect(machine.native).toBeInstanceOf(Uniprocessor);
    const second = new Machine(machine.share());
    expect(machine.native).toBe(machine.heap.native);
    expect(second.native).toBe(second.heap.native);
  });

  it('that is attached to shared memory later has atomic ones too', () => {
    const machine = createMachine({ memoryPages: 256, seed: 1 });
    const share = machine.share();
    expect(new Machine(share).native).not.toBeInstanceOf(Uniprocessor);
    expect(new Machine(share).native).not.toBeInstanceOf(Uniprocessor);
  });
});
