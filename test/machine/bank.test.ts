/** Banks: native, foreign, and what lies across them. */
import {
  Bank,
  BANK_PAGES,
  bankOffset,
  createDomain,
  createMachine,
  destroyDomain,
  flatAddressSpace,
  frameAddress,
  freePages,
  GnttabCopy,
  nativeMemory,
  PAGE_SIZE,
  PageFault,
  PV_VA_BASE,
  readBytes,
  writeBytes,
} from '@ringside/gnttab-core';
import { GNTST_okay, GTF_permit_access } from '@ringside/gnttab-core/abi';
import {
  assignPage,
  copy,
  domainAddressSpace,
  mapOwnFrame,
  p2m_ram_rw,
  pteAddress,
  setP2m,
  sharedEntryOf,
} from '@ringside/gnttab-core/hypervisor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

describe('a native bank', () => {
  it.each([true, false])('has whole pages of zeros (shared: %s)', (shared) => {
    const memory = nativeMemory(17, shared);
    const bank = new Bank(0, memory, false);
    expect(bank.pages).toBe(32); // wasm counts in 16 pages
    expect(memory.buffer instanceof SharedArrayBuffer).toBe(shared);
    expect(bank.u8.every((byte) => byte === 0)).toBe(true);
  });

  it.each([0, -1, 1.5, BANK_PAGES + 1])('cannot have %d pages', (pages) => {
    expect(() => nativeMemory(pages)).toThrow(RangeError);
  });

  it.each([
    ['native, shared', () => new Bank(0, nativeMemory(16), false)],
    ['native, unshared', () => new Bank(0, nativeMemory(16, false), false)],
    ['foreign', () => new Bank(1, { buffer: new ArrayBuffer(65_536) }, true)],
  ])('copies as copyWithin does, overlaps included: %s', (_, create) => {
    const bank = create();
    const plain = new Uint8Array(256).map((_byte, i) => i);
    fc.assert(
      fc.property(fc.nat(255), fc.nat(255), fc.nat(255), (to, from, length) => {
        fc.pre(to + length <= 256 && from + length <= 256);
        bank.u8.set(plain);
        bank.copy(to, from, length);
        const expected = Uint8Array.from(plain).copyWithin(to, from, from + length);
        expect(bank.u8.slice(0, 256)).toEqual(expected);
      }),
    );
  });

  it('zeroes what it is told to, and no more', () => {
    const bank = new Bank(0, nativeMemory(16), false);
    bank.u8.fill(7);
    bank.zero(10, 5);
    expect(Array.from(bank.u8.subarray(8, 17))).toEqual([7, 7, 0, 0, 0, 0, 0, 7, 7]);
  });
});

/** A foreign memory that grows: another buffer each time, with the old contents. */
class Growing {
  buffer = new ArrayBuffer(4 * PAGE_SIZE);
  readonly told: [number, number][] = [];

  grow(): void {
    const bigger = new ArrayBuffer(this.buffer.byteLength * 2);
    new Uint8Array(bigger).set(new Uint8Array(this.buffer));
    new Uint8Array(this.buffer).fill(0xdd); // whoever kept a view of it sees rubbish
    this.buffer = bigger;
  }

  written(offsetBytes: number, lengthBytes: number): void {
    this.told.push([offsetBytes, lengthBytes]);
  }
}

describe.each(['pv', 'translated'] as const)('a %s domain with pages in a foreign bank', (type) => {
  function world() {
    const machine = createMachine({ memoryPages: 512, seed: 1 });
    const memory = new Growing();
    const index = machine.addForeignBank(memory);
    const frame = index << 16;
    const domain = createDomain(machine, { pages: 4, maxPages: 8, type });
    expect(assignPage(domain, frame)).toBe(true);
    setP2m(domain, 5, frame, p2m_ram_rw);
    const va = (type === 'pv' ? PV_VA_BASE : 0) + 5 * PAGE_SIZE;
    if (type === 'pv') mapOwnFrame(domain, pteAddress(domain, va), frame, true);
    return { machine, memory, frame, domain, va, space: domainAddressSpace(domain) };
  }

  it('reads and writes it, and its owner is told of writes', () => {
    const { memory, space, va } = world();
    writeBytes(space, va + 10, Uint8Array.of(1, 2, 3));
    expect([...new Uint8Array(memory.buffer, 10, 3)]).toEqual([1, 2, 3]);
    expect(memory.told).toEqual([[10, 3]]);
    memory.grow();
    new Uint8Array(memory.buffer)[11] = 9;
    const seen = new Uint8Array(3);
    readBytes(space, va + 10, seen);
    expect([...seen]).toEqual([1, 9, 3]);
  });

  it('copies there and back by hypercall, whatever buffer it is by then', () => {
    const { machine, memory, frame, domain, va, space } = world();
    const peer = createDomain(machine, { pages: 4 });
    const entry = sharedEntryOf(domain, 8);
    const { u16, u32 } = machine.heap;
    u16[(entry + 2) >>> 1] = peer.id;
    u32[(entry + 4) >>> 2] = type === 'pv' ? frame : 5;
    u16[entry >>> 1] = GTF_permit_access;
    const op = new GnttabCopy();
    op.source.gmfn = Math.floor(domainAddressSpace(peer).translate(PV_VA_BASE, 'read') / PAGE_SIZE);
    op.source.domid = 0x7ff0;
    op.dest.ref = 8;
    op.dest.domid = domain.id;
    op.dest.offset = 100;
    op.len = 4;
    op.flags = 2;
    const from = bankOffset(frameAddress(op.source.gmfn));
    machine.heap.u8.set([5, 6, 7, 8], from);
    memory.grow();
    copy(peer, [op], 1);
    expect(op.status).toBe(GNTST_okay);
    const seen = new Uint8Array(4);
    readBytes(space, va + 100, seen);
    expect([...seen]).toEqual([5, 6, 7, 8]);
    expect(memory.told).toEqual([[100, 4]]);
  });

  it('leaves the bank to its owner when it dies', () => {
    const { machine, memory, domain } = world();
    const other = createDomain(machine, { pages: 2 });
    const free = freePages(machine);
    destroyDomain(domain);
    const fresh = createDomain(machine, { pages: 4, type });
    destroyDomain(fresh);
    destroyDomain(other);
    expect(freePages(machine)).toBeGreaterThan(free);
    expect(memory.told).toEqual([]);
  });
});

describe('a flat address space', () => {
  it('maps a buffer at its base, and faults beside it', () => {
    const space = flatAddressSpace(new ArrayBuffer(2 * PAGE_SIZE), 0x1000);
    writeBytes(space, 0x1ffe, Uint8Array.of(1, 2, 3, 4)); // across a page boundary
    const seen = new Uint8Array(4);
    readBytes(space, 0x1ffe, seen);
    expect([...seen]).toEqual([1, 2, 3, 4]);
    for (const va of [0xfff, 0x3000]) {
      expect(() => readBytes(space, va, new Uint8Array(1))).toThrow(PageFault);
    }
  });
});

describe('faults', () => {
  it.each([
    ['pv', PV_VA_BASE],
    ['translated', 0],
  ] as const)('%s: say where, what for and why', (type, base) => {
    const machine = createMachine({ memoryPages: 512 });
    const space = domainAddressSpace(createDomain(machine, { pages: 2, type }));
    expect(space.translate(base + 5000, 'write')).toBe(
      space.translate(base + PAGE_SIZE, 'read') + 904,
    );
    const beside = [base + 2 * PAGE_SIZE, base + 0x3000_0000, 2 ** 40, base - 1, -1, -(2 ** 33)];
    for (const va of beside) {
      for (const access of ['read', 'write'] as const) {
        expect(() => space.translate(va, access)).toThrow(
          expect.objectContaining({ name: 'PageFault', va, access, reason: 'not-present' }),
        );
      }
    }
  });

  it('bytes before the fault are written, as a processor would', () => {
    const machine = createMachine({ memoryPages: 512 });
    const space = domainAddressSpace(createDomain(machine, { pages: 1 }));
    const at = PV_VA_BASE + PAGE_SIZE - 2;
    expect(() => writeBytes(space, at, Uint8Array.of(1, 2, 3))).toThrow(PageFault);
    const seen = new Uint8Array(2);
    readBytes(space, at, seen);
    expect([...seen]).toEqual([1, 2]);
  });
});
