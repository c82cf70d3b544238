/** FrontRing and BackRing beyond the single macros: drains, lying peers, pages that go away. */
import { describe, expect, it } from 'vitest';
import { Bank } from '../machine/bank.ts';
import { flatAddressSpace, PageFault } from '../machine/address-space.ts';
import type { AddressSpace } from '../machine/address-space.ts';
import { BackRing } from './back-ring.ts';
import { FrontRing } from './front-ring.ts';
import { describeRingFault } from './ring-fault.ts';
import { add } from './ring-index.ts';
import { ids, memory, ringPair, testLayout } from './testing.ts';

const STARTS = [0, 5, 0x7fff_fffc, 0xffff_fff0, 0xffff_fffd, 0xffff_ffff];

describe.each(STARTS)('a ring whose indices start at %i', (at) => {
  it('carries requests one way and responses the other, in order', () => {
    const { front, back } = ringPair(8, at);
    for (let id = 1; id <= 100; id++) {
      front.put({ id });
      if (id % 3 === 0) front.put({ id: id + 1000 });
      front.pushRequests();
      const requests = ids(back.drainRequests().items);
      expect(requests).toEqual(id % 3 === 0 ? [id, id + 1000] : [id]);
      for (const request of requests) back.put({ id: request });
      back.pushResponses();
      expect(ids(front.drainResponses().items)).toEqual(requests);
    }
  });

  it('is full with every slot in use, and free again one response at a time', () => {
    const { front, back } = ringPair(4, at);
    for (let id = 0; id < 4; id++) {
      expect(front.freeRequests).toBe(4 - id);
      front.put({ id });
    }
    expect(front.isFull).toBe(true);
    expect(() => front.put({ id: 4 })).toThrow('test ring is full: all 4 requests wait');
    front.pushRequests();
    back.drainRequests();
    back.put({ id: 0 });
    back.pushResponses();
    expect(front.isFull).toBe(true);
    front.drainResponses();
    expect(front.freeRequests).toBe(1);
  });

  it('drains at most the limit, and the final check says that there is more', () => {
    const { front, back } = ringPair(8, at);
    for (let id = 0; id < 5; id++) front.put({ id });
    front.pushRequests();
    expect(ids(back.drainRequests(3).items)).toEqual([0, 1, 2]);
    expect(back.finalCheckForRequests()).toBe(true);
    expect(ids(back.drainRequests(3).items)).toEqual([3, 4]);
    expect(back.finalCheckForRequests()).toBe(false);
  });

  // RG-02: absurd req_prod; RG-04: req_prod going backwards.
  it.each([9, 16, 2 ** 31, 2 ** 32 - 1, 2 ** 32 - 3])(
    'refuses a req_prod %i ahead and touches no slot',
    (ahead) => {
      const { front, back, shared } = ringPair(8, at);
      for (let id = 0; id < 3; id++) front.put({ id });
      front.pushRequests();
      back.drainRequests();
      shared.reqProd = add(back.reqCons, ahead);
      const before = back.reqCons;
      expect(back.drainRequests()).toMatchObject({
        count: 0,
        items: [],
        fault: {
          fault: 'req_prod overflow',
          produced: add(before, ahead),
          consumed: before,
          size: 8,
          allowed: 5,
        },
      });
      expect(back.reqCons).toBe(before);
    },
  );

  it('refuses requests in slots that still wait for their response', () => {
    const { front, back, shared } = ringPair(8, at);
    for (let id = 0; id < 8; id++) front.put({ id });
    front.pushRequests();
    expect(back.drainRequests().count).toBe(8);
    shared.reqProd = add(shared.reqProd, 1);
    expect(back.drainRequests().fault).toMatchObject({ allowed: 0 });
  });

  // RG-03: rsp_prod further ahead than requests were made; backwards likewise.
  it.each([4, 8, 9, 2 ** 31, 2 ** 32 - 1])('refuses a rsp_prod %i ahead of 3 requests', (ahead) => {
    const { front, shared } = ringPair(8, at);
    for (let id = 0; id < 3; id++) front.put({ id });
    front.pushRequests();
    shared.rspProd = add(front.rspCons, ahead);
    expect(front.drainResponses()).toMatchObject({
      count: 0,
      items: [],
      fault: { fault: 'rsp_prod overflow', allowed: 3 },
    });
    expect(front.rspCons).toBe(at);
  });

  // RG-07: thresholds only decide who is notified.
  it.each([-1, 0, 1, 3, 2 ** 31])('makes progress with event thresholds %i ahead', (ahead) => {
    const { front, back, shared } = ringPair(8, at);
    for (let id = 0; id < 20; id++) {
      shared.reqEvent = add(shared.reqProd, ahead);
      shared.rspEvent = add(shared.rspProd, ahead);
      front.put({ id });
      expect(front.pushRequestsAndCheckNotify()).toBe(ahead === 1);
      expect(ids(back.drainRequests().items)).toEqual([id]);
      back.put({ id });
      expect(back.pushResponsesAndCheckNotify()).toBe(ahead === 1);
      expect(ids(front.drainResponses().items)).toEqual([id]);
    }
  });
});

describe('a backend attaching to a ring in use', () => {
  it("starts at rsp_prod with 'rsp_prod', and sees unanswered requests again", () => {
    const { front, back } = ringPair(8, 0xffff_fffe);
    for (let id = 0; id < 4; id++) front.put({ id });
    front.pushRequests();
    back.drainRequests();
    back.put({ id: 0 });
    back.pushResponses();
    const { space } = front.shared;
    const sizeBytes = 64 + 8 * testLayout.slotBytes;
    const restarted = BackRing.attach(space, 0, testLayout, { sizeBytes, at: 'rsp_prod' });
    expect(restarted.rspProdPvt).toBe(0xffff_ffff);
    expect(ids(restarted.drainRequests().items)).toEqual([1, 2, 3]);
  });

  // RG-05
  it.each([
    [500, 490],
    [490, 500],
    [8 + 1, 0],
  ])('refuses a page with req_prod %i and rsp_prod %i', (reqProd, rspProd) => {
    const { shared } = ringPair(8);
    shared.reqProd = reqProd;
    shared.rspProd = rspProd;
    const sizeBytes = 64 + 8 * testLayout.slotBytes;
    const back = BackRing.attach(shared.space, 0, testLayout, { sizeBytes, at: 'rsp_prod' });
    expect(back.drainRequests().fault?.fault).toBe('req_prod overflow');
  });
});

it('a fault says in one line what was wrong and what is allowed', () => {
  expect(
    describeRingFault({
      fault: 'req_prod overflow',
      produced: 2 ** 31,
      consumed: 0xffff_fffe,
      size: 32,
      allowed: 30,
    }),
  ).toBe(
    'req_prod overflow: the peer set req_prod to 2147483648; allowed are 4294967294 to 28 (ring of 32)',
  );
});

it('a backend cannot answer more than it consumed', () => {
  const { front, back } = ringPair(8);
  front.put({ id: 1 });
  front.pushRequests();
  expect(() => back.put({ id: 1 })).toThrow('test ring: every consumed request has its response');
});

describe('the objects of a drain', () => {
  it('are private: what the peer writes afterwards does not change them', () => {
    const { front, back } = ringPair(8);
    front.put({ id: 1 });
    front.pushRequests();
    const { items } = back.drainRequests();
    front.writeRequest(0, { id: 666 });
    expect(ids(items)).toEqual([1]);
  });

  it('are used again, and there are never more of them than were drained', () => {
    const { front, back } = ringPair(8);
    const drain = (count: number) => {
      for (let id = 0; id < count; id++) front.put({ id });
      front.pushRequests();
      const drained = back.drainRequests();
      for (let i = 0; i < count; i++) back.put({ id: 0 });
      back.pushResponses();
      front.drainResponses();
      return drained;
    };
    const first = drain(3);
    const [object] = first.items;
    for (const count of [0, 1, 8, 2, 8, 0]) {
      const again = drain(count);
      expect(again).toBe(first);
      expect(again.count).toBe(count);
      expect(ids(again.items)).toEqual(Array.from({ length: count }, (_, id) => id));
      if (count > 0) expect(again.items[0]).toBe(object);
    }
  });
});

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
