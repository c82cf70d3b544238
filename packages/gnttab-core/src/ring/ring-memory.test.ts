/** How rings treat the memory they lie in: each word read once, slots across pages, pages that go away. */
import { describe, expect, it } from 'vitest';
import { flatAddressSpace, PageFault } from '../machine/address-space.ts';
import type { AddressSpace } from '../machine/address-space.ts';
import { Bank } from '../machine/bank.ts';
import { BackRing } from './back-ring.ts';
import { FrontRing } from './front-ring.ts';
import { ids, memory, testLayout } from './testing.ts';

describe('the bytes of a slot', () => {
  /** Memory that counts how often each word of its second page is read and written. */
  function countingMemory() {
    const bytes = new ArrayBuffer(2 * 4096);
    const reads = new Map<number, number>();
    const counted = new Proxy(new Int32Array(bytes), {
      get(words, key) {
        const value: unknown = Reflect.get(words, key, words);
        if (typeof value === 'number' && typeof key === 'string' && /^\d+$/.test(key)) {
          reads.set(Number(key), (reads.get(Number(key)) ?? 0) + 1);
        }
        return typeof value === 'function' ? (value.bind(words) as unknown) : value;
      },
    });
    const [plain, watched] = [
      new Bank(0, { buffer: bytes }, true),
      new Bank(0, { buffer: bytes }, true),
    ];
    watched.i32 = counted;
    const space: AddressSpace = {
      translate: (va) => va,
      bankOf: (address) => (address < 4096 ? plain : watched),
    };
    return { space, reads };
  }

  // RG-01: a value that changes between two reads can do no harm if there is no second read.
  it('are read exactly once, each', () => {
    const { space, reads } = countingMemory();
    const pages = 2;
    const front = FrontRing.create(space, 0, testLayout, { pages });
    const back = BackRing.attach(space, 0, testLayout, { pages });
    for (let id = 0; id < front.size; id++) front.put({ id });
    front.pushRequests();
    reads.clear();
    // Few at a time, so that no run is copied by a built-in that the proxy cannot see into.
    for (let i = 0; i < front.size; i += 8) expect(back.drainRequests(8).count).toBe(8);
    const lastWord = (64 + front.size * testLayout.slotBytes) / 4;
    const expected = new Map<number, number>();
    for (let word = 1024; word < lastWord; word++) expected.set(word, 1);
    expect(new Map([...reads].sort(([a], [b]) => a - b))).toEqual(expected);
  });

  it('beyond the message are left alone; what the layout does not write is zero', () => {
    const buffer = new ArrayBuffer(4096);
    const space = flatAddressSpace(buffer);
    const front = FrontRing.create(space, 0, testLayout);
    const back = BackRing.attach(space, 0, testLayout);
    const bytes = new Uint8Array(buffer);
    bytes.fill(0xee, 64);
    front.put({ id: 0x01020304 });
    const words = () => [...new Uint32Array(buffer, 64, 4)];
    expect(words()).toEqual([0x01020304, 0, 0x01020304, 0xeeeeeeee]);
    front.pushRequests();
    new Uint32Array(buffer, 64, 2)[1] = 0xeeeeeeee; // the peer fills the gap: it must not come back
    back.drainRequests();
    back.put({ id: 5 });
    expect(words()).toEqual([5, 0, 0x01020304, 0xeeeeeeee]);
  });

  it('may straddle two pages that are apart in memory', () => {
    const flat = memory(8);
    const apart: AddressSpace = {
      translate: (va, access) => flat.translate(va < 4096 ? va + 5 * 4096 : va, access),
      bankOf: (address) => flat.bankOf(address),
    };
    const front = FrontRing.create(apart, 0, testLayout, { pages: 2 });
    const back = BackRing.attach(apart, 0, testLayout, { pages: 2 });
    for (let round = 0; round < 3; round++) {
      for (let id = 0; id < 512; id++) front.put({ id: id + round });
      front.pushRequests();
      const requests = ids(back.drainRequests().items);
      expect(requests).toEqual(Array.from({ length: 512 }, (_, id) => id + round));
      for (const id of requests) back.put({ id });
      back.pushResponses();
      expect(ids(front.drainResponses().items)).toEqual(requests);
    }
  });
});

describe('a page that goes away', () => {
  /** Two pages, of which any can lose its mapping or its write permission. */
  function revocable() {
    const flat = memory(2);
    const rights = ['write', 'write'];
    const space: AddressSpace = {
      translate(va, access) {
        const right = rights[Math.floor(va / 4096)];
        if (right === 'none') throw new PageFault(va, access, 'not-present');
        if (right === 'read' && access === 'write') throw new PageFault(va, access, 'read-only');
        return flat.translate(va, access);
      },
      bankOf: (address) => flat.bankOf(address),
    };
    const front = FrontRing.create(space, 0, testLayout, { pages: 2 });
    const back = BackRing.attach(space, 0, testLayout, { pages: 2 });
    return { front, back, rights };
  }

  it('faults on every access to the shared indices', () => {
    const { front, back, rights } = revocable();
    front.put({ id: 1 });
    front.pushRequests();
    rights[0] = 'none';
    expect(() => back.drainRequests()).toThrow(PageFault);
    expect(() => back.finalCheckForRequests()).toThrow(PageFault);
    expect(() => front.put({ id: 2 })).toThrow(PageFault);
    expect(() => front.pushRequests()).toThrow(PageFault);
    expect(() => front.drainResponses()).toThrow(PageFault);
  });

  it('faults in the middle of a drain without consuming anything', () => {
    const { front, back, rights } = revocable();
    for (let id = 0; id < 400; id++) front.put({ id });
    front.pushRequests();
    rights[1] = 'none';
    expect(() => back.drainRequests()).toThrow(PageFault);
    expect(back.reqCons).toBe(0);
    rights[1] = 'write';
    expect(back.drainRequests().count).toBe(400);
  });

  it('that is mapped read-only can be drained but not armed', () => {
    const { front, back, rights } = revocable();
    front.put({ id: 1 });
    front.pushRequests();
    rights[0] = 'read';
    expect(ids(back.drainRequests().items)).toEqual([1]);
    expect(() => back.finalCheckForRequests()).toThrow('write at 0x4: page is read-only');
  });
});

describe('a ring that cannot be', () => {
  it.each([
    [1, testLayout, { pages: 1 }, 'a ring starts at a page boundary'],
    [0, testLayout, { sizeBytes: 75 }, 'not one slot of 12 bytes fits'],
    [0, { ...testLayout, slotBytes: 10 }, {}, 'allowed are multiples of 4'],
  ])('at %i', (va, layout, space, message) => {
    expect(() => FrontRing.create(memory(1), va, layout, space)).toThrow(message);
  });
});
