/** FrontRing and BackRing beyond the single macros: drains, lying peers, a ring in use. */
import { describe, expect, it } from 'vitest';
import { BackRing } from './back-ring.ts';
import { describeRingFault } from './ring-fault.ts';
import { add } from './ring-index.ts';
import { ids, ringPair, testLayout } from './testing.ts';

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
