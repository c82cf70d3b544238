/** XENMEM_exchange (memory.h): pages for other pages. */
import {
  __HYPERVISOR_memory_op,
  DOMID_SELF,
  type Initializer,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOMEM,
  XEN_EPERM,
  XEN_ESRCH,
  XENMEM_exchange,
  xenMemoryExchange,
  type xenMemoryReservation,
} from '@ringside/gnttab-core/abi';
import { createMachine, freePages, Hypercalls, INVALID_MFN } from '@ringside/gnttab-core';
import { gfnToMfn, limitDomainHeap, pageInfo } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { checkFrames, checkPageList, checkPhysmap, taken } from '../grant/invariants.ts';
import { atEveryStep } from '../security/interleave.ts';
import {
  BinaryGuest,
  guests,
  kinds,
  NO_GUEST_ADDRESS,
  preemptAlways,
  pvKinds,
  translatedKinds,
} from './binary-guest.ts';

type Reservation = Initializer<(typeof xenMemoryReservation)['table']>;

/** Exchanges `from` for fresh pages behind `to`; each may say what is different. */
function exchange(
  guest: BinaryGuest,
  from: Reservation & { list: number },
  to: Reservation & { list: number },
  nr_exchanged = 0n,
) {
  const side = ({ list, ...fields }: Reservation & { list: number }) => ({
    extent_start: BigInt(list),
    nr_extents: 2n,
    extent_order: 0,
    mem_flags: 0,
    domid: DOMID_SELF,
    ...fields,
  });
  const arg = guest.struct(xenMemoryExchange, { in: side(from), out: side(to), nr_exchanged });
  const result = guest.hypercall(__HYPERVISOR_memory_op, XENMEM_exchange, arg);
  return [result, Number(guest.at(xenMemoryExchange, arg).nr_exchanged)];
}

/** The m2p entry of a frame. */
const m2p = (guest: BinaryGuest, mfn: number): number =>
  guest.machine.heap.u32[(guest.machine.pageInfo(mfn) + pageInfo.offset.gfn) >>> 2]!;

/** An extent of two pages whose second the guest has not got, so that it cannot be exchanged; its first. */
function halfExtent(guest: BinaryGuest): number {
  const calls = new Hypercalls(guest.domain);
  if (guest.domain.translated) {
    calls.decreaseReservation([5]);
    return 4;
  }
  // The next frame is still in the guest's direct map.
  const mfn = guest.unmapped(4);
  expect(guest.mfn(5)).toBe(mfn + 1);
  return mfn;
}

/** An extent of two pages that can be exchanged; its first. */
function wholeExtent(guest: BinaryGuest): number {
  const [first] = pages(guest, 4, 5);
  return first!;
}

/** Own pages that can change hands, as the guest names them. */
const pages = (guest: BinaryGuest, ...gfns: number[]) =>
  gfns.map((gfn) => (guest.domain.translated ? gfn : guest.unmapped(gfn)));

describe.each(kinds)('%s, %s', (...kind) => {
  const one = () => guests(kind, 1)[0]!;

  it('the old pages are Xen’s, the new ones empty and where the list says', () => {
    const guest = one();
    const [first] = [2, 3].map((gfn) => {
      guest.write(guest.page(gfn), new Uint8Array(4096).fill(0x77));
      return guest.mfn(gfn);
    });
    const from = guest.words(pages(guest, 2, 3));
    const to = guest.words([100, 101]);
    expect(exchange(guest, { list: from }, { list: to })).toEqual([0, 2]);
    const fresh = [100, 101].map((gfn) => gfnToMfn(guest.domain, gfn));
    expect(fresh.map((mfn) => guest.owner(mfn))).toEqual([guest.id, guest.id]);
    expect(fresh[0]).not.toBe(first);
    for (const mfn of fresh) {
      const page = guest.machine.heap.u8.subarray(mfn * 4096, (mfn + 1) * 4096);
      expect(page.every((byte) => byte === 0)).toBe(true);
    }
    expect(guest.wordsAt(to, 2)).toEqual(guest.domain.translated ? [100, 101] : fresh);
    expect(guest.domain.totPages).toBe(16);
    if (guest.domain.translated) expect(() => guest.read(guest.page(2), 1)).toThrow('not-present');
  });

  it('a page that is not the guest’s to give: what came before is exchanged', () => {
    const guest = one();
    const from = guest.words([...pages(guest, 2), 0xff_ffff]);
    const to = guest.words([100, 101]);
    expect(exchange(guest, { list: from }, { list: to })).toEqual([-XEN_EINVAL, 1]);
    expect(guest.domain.totPages).toBe(16);
  });

  it('without memory nothing changes', () => {
    const guest = one();
    const mfn = guest.mfn(2);
    const from = guest.words(pages(guest, 2, 3));
    limitDomainHeap(guest.machine, 0);
    expect(exchange(guest, { list: from }, { list: guest.words([100, 101]) })).toEqual([
      -XEN_ENOMEM,
      0,
    ]);
    expect(guest.owner(mfn)).toBe(guest.id);
    expect(guest.mfn(2)).toBe(mfn);
    expect(guest.domain.totPages).toBe(16);
  });

  it('an exchange that failed left pages without their gfn: the first of two that cannot both go keeps it', () => {
    const guest = one();
    const list = guest.words([halfExtent(guest)]);
    const mfn = guest.mfn(4);
    const before = guest.domain.totPages;
    const pair = { list, nr_extents: 1n, extent_order: 1 };
    const singles = guest.words([100, 101]);
    expect(exchange(guest, pair, { list: singles })).toEqual([-XEN_EINVAL, 0]);
    expect([guest.owner(mfn), guest.mfn(4), m2p(guest, mfn)]).toEqual([guest.id, mfn, 4]);
    expect(guest.domain.totPages).toBe(before);
    checkPageList(guest);
    checkPhysmap(guest.domain);
  });

  it('pages were gone where the list of places ended early: none is', () => {
    const guest = one();
    const mfn = guest.mfn(3);
    const from = guest.words(pages(guest, 2, 3));
    const to = guest.beforeEnd(guest.wordBytes);
    guest.write(to, guest.read(guest.words([100]), guest.wordBytes));
    expect(exchange(guest, { list: from }, { list: to })).toEqual([-XEN_EFAULT, 1]);
    expect([guest.owner(mfn), guest.mfn(3), m2p(guest, mfn)]).toEqual([guest.id, mfn, 3]);
    expect(guest.owner(gfnToMfn(guest.domain, 100))).toBe(guest.id);
    expect(guest.domain.totPages).toBe(16);
    checkPhysmap(guest.domain);
  });

  it('the largest extents of a control domain were a RangeError: they are refused', () => {
    const guest = one();
    const control = new BinaryGuest(guest.machine, kind, { privileged: true });
    const list = control.words([100]);
    const huge = { list, nr_extents: 1n, extent_order: 18 };
    const result = guest.domain.translated ? -XEN_EINVAL : -XEN_ENOMEM;
    expect(exchange(control, huge, huge)).toEqual([result, 0]);
    expect(control.domain.totPages).toBe(16);
  });

  it.each([
    ['that fails', halfExtent, -XEN_EINVAL],
    ['that succeeds', wholeExtent, 0],
  ])(
    'another CPU that took the room during an exchange %s was the end of Xen',
    (_, extentOf, result) => {
      const steps = atEveryStep(() => {
        const machine = createMachine({ memoryPages: 512, seed: 1 });
        taken(machine);
        const guest = new BinaryGuest(machine, kind, { maxPages: 16 });
        const from = guest.words([extentOf(guest)]);
        const pair = { list: from, nr_extents: 1n, extent_order: 1 };
        const to = { list: guest.words([100, 101]) };
        const calls = new Hypercalls(guest.domain);
        let answer: number;
        return {
          machine,
          op: () => ([answer] = exchange(guest, pair, to) as [number]),
          race: () => void calls.increaseReservation(2),
          check: () => {
            expect([result, -XEN_EINVAL]).toContain(answer);
            checkPageList(guest);
            checkPhysmap(guest.domain);
            guest.destroy();
            checkFrames(machine);
          },
        };
      });
      expect(steps).toBeGreaterThan(5);
    },
  );

  it('a pause after each is not noticed', () => {
    const guest = one();
    const times = preemptAlways(guest.machine);
    const from = guest.words(pages(guest, 2, 3, 4));
    const to = guest.words([100, 101, 102]);
    const nr_extents = 3n;
    expect(exchange(guest, { list: from, nr_extents }, { list: to, nr_extents })).toEqual([0, 3]);
    expect(times()).toBe(2);
    expect(guest.domain.totPages).toBe(16);
  });

  it('what is exchanged already is left alone', () => {
    const guest = one();
    const from = guest.words([0xff_ffff, ...pages(guest, 3)]);
    const to = guest.words([100, 101]);
    expect(exchange(guest, { list: from }, { list: to }, 1n)).toEqual([0, 2]);
    expect(guest.owner(gfnToMfn(guest.domain, 101))).toBe(guest.id);
    expect(exchange(guest, { list: from }, { list: to }, 2n)).toEqual([0, 2]);
    expect(exchange(guest, { list: from }, { list: to }, 3n)).toEqual([-XEN_EINVAL, 3]);
  });

  it.each([
    ['different domains', -XEN_EINVAL, { domid: 0 }, {}],
    ['fewer pages than are given', -XEN_EINVAL, {}, { nr_extents: 1n }],
    ['too large extents', -XEN_EPERM, { extent_order: 10 }, {}],
    [
      'more pages than can be counted',
      -XEN_EINVAL,
      { nr_extents: 0xffff_ffffn, extent_order: 1 },
      {},
    ],
    ['another domain, without privilege', -XEN_EPERM, { domid: 1 }, { domid: 1 }],
    ['a domain that does not exist', -XEN_ESRCH, { domid: 99 }, { domid: 99 }],
  ])('%s: %i', (_, result, from, to) => {
    const [guest] = guests(kind, 2);
    const list = guest!.words([2, 3]);
    expect(exchange(guest!, { list, ...from }, { list, ...to })).toEqual([result, 0]);
  });

  it('lists that are not there are -EFAULT', () => {
    const guest = one();
    const from = guest.words(pages(guest, 2, 3));
    expect(exchange(guest, { list: guest.window(1) }, { list: from })).toEqual([-XEN_EFAULT, 0]);
    expect(exchange(guest, { list: from }, { list: guest.window(1) })).toEqual([-XEN_EFAULT, 0]);
    expect(guest.domain.totPages).toBe(16);
    if (guest.domain.translated) return;
    const list = Number(NO_GUEST_ADDRESS[guest.abi]);
    expect(exchange(guest, { list }, { list: from })).toEqual([-XEN_EFAULT, 0]);
  });

  it('a control domain may do it for another', () => {
    const guest = one();
    const control = new BinaryGuest(guest.machine, kind, { privileged: true });
    const domid = guest.id;
    const from = control.words(pages(guest, 2, 3));
    const to = control.words([100, 101]);
    expect(exchange(control, { list: from, domid }, { list: to, domid })).toEqual([0, 2]);
    expect(guest.owner(gfnToMfn(guest.domain, 101))).toBe(guest.id);
  });
});

describe.each(translatedKinds)('%s, %s: extents of several sizes', (...kind) => {
  it.each([
    ['small ones for a large one', [2, 3, 4, 5], 0, [0x100], 2],
    ['a large one for small ones', [4], 2, [0x100, 0x101, 0x102, 0x103], 0],
  ])('%s', (_, from, orderIn, to, orderOut) => {
    const [guest] = guests(kind, 1);
    const [given] = [guest!.mfn(4)];
    const result = exchange(
      guest!,
      { list: guest!.words(from), nr_extents: BigInt(from.length), extent_order: orderIn },
      { list: guest!.words(to), nr_extents: BigInt(to.length), extent_order: orderOut },
    );
    expect(result).toEqual([0, from.length]);
    expect(guest!.domain.totPages).toBe(16);
    expect(guest!.owner(given)).not.toBe(guest!.id);
    for (let gfn = 0x100; gfn < 0x104; gfn++) expect(guest!.read(gfn * 4096, 1)).toHaveLength(1);
  });

  it('a place that cannot be is -EINVAL', () => {
    const [guest] = guests(kind, 1);
    const to = guest!.words([0xffff_ffff, 100]);
    expect(exchange(guest!, { list: guest!.words([2, 3]) }, { list: to })).toEqual([
      -XEN_EINVAL,
      0,
    ]);
    // The fresh page is nowhere, and so it is not the guest's.
    expect(guest!.domain.totPages).toBe(15);
    expect(gfnToMfn(guest!.domain, 2)).toBe(INVALID_MFN);
  });
});

it.each(pvKinds)('%s, %s: consecutive frames are not to be had', (...kind) => {
  const [guest] = guests(kind, 1);
  const from = guest!.words(pages(guest!, 2, 3));
  const to = { list: guest!.words([100]), nr_extents: 1n, extent_order: 1 };
  const free = freePages(guest!.machine);
  const mfn = guest!.mfn(2);
  expect(exchange(guest!, { list: from }, to)).toEqual([-XEN_ENOMEM, 0]);
  expect(guest!.domain.totPages).toBe(16);
  expect([freePages(guest!.machine), m2p(guest!, mfn)]).toEqual([free, 2]);
});
