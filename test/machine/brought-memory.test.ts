/** A foreign bank that its guest can write without asking (BankMemory.trusted): what such memory is never used for. */
import { BANK_SHIFT, ownerOf, PAGE_SIZE, referenceCount } from '@ringside/gnttab-core';
import { GNTST_okay, GTF_accept_transfer } from '@ringside/gnttab-core/abi';
import { linkL1 } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { windowOf, World } from '../grant/world.ts';

const REF = 8;
/** Where the page tables of a domain that brings its own memory begin. */
const VA = 0x4000_0000;

/** A domain whose sixteen pages are a buffer of its own, or of the machine's. */
function brought(trusted: boolean) {
  const world = new World();
  const receiver = world.domain({ maxPages: 32 });
  const buffer = new ArrayBuffer(16 * PAGE_SIZE);
  const bank = world.machine.addForeignBank({ buffer, trusted });
  const owner = world.domain({ pages: 16, bank });
  const frame = (n: number) => (bank << BANK_SHIFT) | n;
  const bytes = (n: number) => new Uint8Array(buffer, n * PAGE_SIZE, PAGE_SIZE);
  return { world, receiver, owner, frame, bytes };
}

describe('a page table', () => {
  it.each([
    [true, 'the machine’s alone'],
    [false, 'the guest’s'],
  ])('lies only in memory that nobody writes past us (%s: %s)', (trusted) => {
    const { owner, frame } = brought(trusted);
    const before = referenceCount(owner.machine, frame(3));
    expect(linkL1(owner.domain, VA, frame(3))).toBe(trusted);
    expect(referenceCount(owner.machine, frame(3))).toBe(before + (trusted ? 1 : 0));
  });

  it('begins empty: entries that nobody has checked are not believed', () => {
    const { owner, frame, bytes, receiver } = brought(true);
    const entry = (BigInt(receiver.mfn(2)) << 12n) | 0x67n;
    new DataView(bytes(3).buffer, 3 * PAGE_SIZE).setBigUint64(511 * 8, entry, true);
    expect(linkL1(owner.domain, VA, frame(3))).toBe(false);
    bytes(3).fill(0);
    expect(linkL1(owner.domain, VA, frame(3))).toBe(true);
  });
});

describe('a frame that is given away', () => {
  it.each([
    [true, 'itself'],
    [false, 'as a copy, so the giver does not read on'],
  ])('goes %s: %s', (trusted) => {
    const { world, receiver, owner, frame, bytes } = brought(trusted);
    bytes(4).fill(0x77);
    receiver.entry(REF, { flags: GTF_accept_transfer, domid: owner.id, frame: 0 });
    const status = owner.transfer({ mfn: frame(4), domid: receiver.id, ref: REF });
    expect(status).toBe(GNTST_okay);
    const got = receiver.seen(REF).frame;
    expect(ownerOf(world.machine, got)).toBe(receiver.id);
    expect(got === frame(4)).toBe(trusted);
    expect(receiver.hypercalls.updateVaMapping(windowOf(receiver.domain), got, true)).toBe(0);
    const va = windowOf(receiver.domain) + PAGE_SIZE - 1;
    expect(receiver.peek(va)).toBe(0x77);
    receiver.poke(va, 0x55);
    expect(bytes(4)[PAGE_SIZE - 1] === 0x55).toBe(trusted);
  });
});
