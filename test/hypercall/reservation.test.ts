/** XENMEM_increase_, decrease_reservation and populate_physmap (memory.h): counts of extents, never errors. */
import { freePages, GnttabMapGrantRef, Hypercalls, INVALID_MFN } from '@ringside/gnttab-core';
import {
  __HYPERVISOR_memory_op,
  DOMID_INVALID,
  DOMID_SELF,
  GNTMAP_host_map,
  GNTST_okay,
  GTF_permit_access,
  type Initializer,
  XENMEM_current_reservation,
  XENMEM_decrease_reservation,
  XENMEM_increase_reservation,
  XENMEM_maximum_gpfn,
  XENMEM_maximum_reservation,
  XENMEM_populate_physmap,
  xenMemoryDomain,
  xenMemoryReservation,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
} from '@ringside/gnttab-core/abi';
import {
  gfnToMfn,
  limitDomainHeap,
  limitXenHeap,
  p2m_map_foreign,
  setP2m,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { checkPageList, checkPhysmap } from '../grant/invariants.ts';
import {
  BinaryGuest,
  guests,
  kinds,
  NO_GUEST_ADDRESS,
  NULL,
  preemptAlways,
  preemptOnce,
  pvKinds,
  translatedKinds,
} from './binary-guest.ts';

const memoryOp = (guest: BinaryGuest, cmd: number, arg: number | bigint): number =>
  guest.hypercall(__HYPERVISOR_memory_op, cmd, arg);

type Reservation = Initializer<(typeof xenMemoryReservation)['table']>;

/** Makes one of the three calls over a list of extents that stands in guest memory. */
function reserve(guest: BinaryGuest, op: number, list: number, fields: Reservation): number {
  const arg = guest.struct(xenMemoryReservation, {
    extent_start: BigInt(list),
    extent_order: 0,
    mem_flags: 0,
    domid: DOMID_SELF,
    ...fields,
  });
  return memoryOp(guest, op, arg);
}

const operations = [
  ['increase', XENMEM_increase_reservation],
  ['decrease', XENMEM_decrease_reservation],
  ['populate', XENMEM_populate_physmap],
] as const;

describe.each(kinds)('%s, %s', (...kind) => {
  const one = () => guests(kind, 1)[0]!;

  describe.each(operations)('%s', (name, op) => {
    const list = (guest: BinaryGuest) =>
      guest.words(
        op === XENMEM_decrease_reservation ? [2, 3].map((n) => guest.gmfn(n)) : [100, 101],
      );

    it.each([
      ['another domain without privilege', { domid: 1 }],
      ['a domain that does not exist', { domid: 99 }],
      ['no domain', { domid: DOMID_INVALID }],
      ['extents larger than a guest may have', { extent_order: 10 }],
      ['extents of any size', { extent_order: 0xffff_ffff }],
      ['more extents than can be counted', { nr_extents: 0x400_0000n }],
      ['no extents', { nr_extents: 0n }],
      ['addresses narrower than a page', { mem_flags: name === 'decrease' ? 1 : 12 }],
    ])('%s: none is done', (_, fields) => {
      const [guest] = guests(kind, 2);
      const before = guest!.domain.totPages;
      expect(reserve(guest!, op, list(guest!), { nr_extents: 2n, ...fields })).toBe(0);
      expect(guest!.domain.totPages).toBe(before);
    });

    it('a struct or a list that is not there: none is done', () => {
      const guest = one();
      expect(memoryOp(guest, op, guest.window(1))).toBe(0);
      expect(memoryOp(guest, op, NULL - 16)).toBe(0);
      if (op !== XENMEM_increase_reservation) {
        expect(reserve(guest, op, guest.window(1), { nr_extents: 2n })).toBe(0);
      }
      if (!guest.domain.translated) {
        const bad = Number(NO_GUEST_ADDRESS[guest.abi]);
        expect(reserve(guest, op, bad, { nr_extents: 2n })).toBe(0);
      }
      expect(guest.domain.totPages).toBe(16);
    });

    it('a first extent beyond the last: the answer is that extent', () => {
      const guest = one();
      const arg = guest.struct(xenMemoryReservation, {
        extent_start: BigInt(list(guest)),
        nr_extents: 2n,
        extent_order: 0,
        mem_flags: 0,
        domid: DOMID_SELF,
      });
      expect(memoryOp(guest, op | (7 << 6), arg)).toBe(7);
      expect(memoryOp(guest, op | (1 << 6), arg)).toBe(2);
      if (name !== 'decrease') expect(guest.domain.totPages).toBe(17);
    });
  });

  describe('decrease_reservation', () => {
    it('gives pages back, up to the first that is not the guest’s', () => {
      const guest = one();
      const free = freePages(guest.machine);
      // In its direct map a PV guest's page is still in use: it is freed with its last mapping.
      const gone = [2, 3].map((gfn) => (guest.domain.translated ? gfn : guest.unmapped(gfn)));
      const list = guest.words([...gone, gone[0]!, guest.gmfn(4)]);
      expect(reserve(guest, XENMEM_decrease_reservation, list, { nr_extents: 4n })).toBe(2);
      expect(guest.domain.totPages).toBe(14);
      expect(freePages(guest.machine)).toBe(free + 2);
      expect(guest.domain.counters().reservationChanges).toBe(2);
    });

    it('takes whole extents', () => {
      const guest = one();
      const list = guest.words([guest.gmfn(4)]);
      const fields = { nr_extents: 1n, extent_order: 2 };
      expect(reserve(guest, XENMEM_decrease_reservation, list, fields)).toBe(1);
      expect(guest.domain.totPages).toBe(guest.domain.translated ? 12 : 16);
      if (!guest.domain.translated) for (const gfn of [4, 5, 6, 7]) guest.unmapped(gfn);
      expect(guest.domain.totPages).toBe(12);
    });

    it('a list that ends early: what it names is done', () => {
      const guest = one();
      const at = guest.beforeEnd(guest.wordBytes);
      guest.write(at, guest.read(guest.words([guest.gmfn(2)]), guest.wordBytes));
      expect(reserve(guest, XENMEM_decrease_reservation, at, { nr_extents: 3n })).toBe(1);
    });
  });

  it('populate_physmap puts fresh pages behind gfns', () => {
    const guest = one();
    const list = guest.words([100, 101]);
    expect(reserve(guest, XENMEM_populate_physmap, list, { nr_extents: 2n })).toBe(2);
    const mfns = [100, 101].map((gfn) => gfnToMfn(guest.domain, gfn));
    expect(mfns.map((mfn) => guest.owner(mfn))).toEqual([guest.id, guest.id]);
    expect(guest.wordsAt(list, 2)).toEqual(guest.domain.translated ? [100, 101] : mfns);
    expect(guest.domain.totPages).toBe(18);
  });

  it.each([
    ['its maximum', 16, () => {}],
    ['the memory there is', 3, (guest: BinaryGuest) => limitDomainHeap(guest.machine, 3)],
  ])('%s ends a guest’s growth', (_, done, limit) => {
    for (const op of [XENMEM_populate_physmap, XENMEM_increase_reservation]) {
      const guest = one();
      limit(guest);
      const list = guest.words(Array.from({ length: 20 }, (__, i) => 100 + i));
      expect(reserve(guest, op, list, { nr_extents: 20n })).toBe(done);
      expect(guest.domain.totPages).toBe(16 + done);
    }
  });

  it('address width is kept to', () => {
    const guest = one();
    const list = guest.words([100]);
    const fields = { nr_extents: 1n, mem_flags: 13 };
    expect(reserve(guest, XENMEM_populate_physmap, list, fields)).toBe(0);
    expect(reserve(guest, XENMEM_populate_physmap, list, { ...fields, mem_flags: 32 })).toBe(1);
  });

  it('a control domain may do it for another', () => {
    const [guest] = guests(kind, 1);
    const control = new BinaryGuest(guest!.machine, kind, { privileged: true });
    const list = control.words([100]);
    const fields = { nr_extents: 1n, domid: guest!.id };
    expect(reserve(control, XENMEM_populate_physmap, list, fields)).toBe(1);
    expect(guest!.domain.totPages).toBe(17);
    expect(control.domain.totPages).toBe(16);
  });

  it.each([1, 2, 3])('a pause at chance %i is not noticed', (nth) => {
    for (const [, op] of operations) {
      const guest = one();
      preemptOnce(guest.machine, nth);
      const names =
        op === XENMEM_decrease_reservation
          ? [1, 2, 3, 4].map((n) => guest.gmfn(n))
          : [100, 101, 102, 103];
      expect(reserve(guest, op, guest.words(names), { nr_extents: 4n })).toBe(4);
    }
  });

  it('nor is one at every chance', () => {
    const guest = one();
    const times = preemptAlways(guest.machine);
    const list = guest.words([100, 101, 102, 103]);
    expect(reserve(guest, XENMEM_populate_physmap, list, { nr_extents: 4n })).toBe(4);
    expect(times()).toBe(3);
    expect(guest.domain.totPages).toBe(20);
  });

  describe('questions about a domain', () => {
    const ask = (guest: BinaryGuest, op: number, domid: number = DOMID_SELF) =>
      memoryOp(guest, op, guest.struct(xenMemoryDomain, { domid }));

    it('current and maximum reservation', () => {
      const guest = one();
      expect(ask(guest, XENMEM_current_reservation)).toBe(16);
      expect(ask(guest, XENMEM_maximum_reservation)).toBe(32);
      expect(ask(guest, XENMEM_current_reservation, guest.id)).toBe(16);
    });

    it.each([XENMEM_current_reservation, XENMEM_maximum_reservation, XENMEM_maximum_gpfn])(
      'operation %i: whose it is, and who may ask',
      (op) => {
        const [guest, other] = guests(kind, 2) as [BinaryGuest, BinaryGuest];
        const control = new BinaryGuest(guest.machine, kind, { privileged: true });
        expect(ask(guest, op, other.id)).toBe(-XEN_EPERM);
        expect(ask(guest, op, 99)).toBe(-XEN_ESRCH);
        expect(ask(control, op, other.id)).toBeGreaterThanOrEqual(0);
        expect(memoryOp(guest, op, guest.window(1))).toBe(-XEN_EFAULT);
        expect(memoryOp(guest, op | (1 << 6), NULL)).toBe(-XEN_EINVAL);
      },
    );
  });

  it('an unknown operation is -ENOSYS', () => {
    for (const op of [8, 63]) expect(memoryOp(one(), op, NULL)).toBe(-XEN_ENOSYS);
  });
});

describe.each(pvKinds)('%s, %s', (...kind) => {
  it('increase_reservation tells the frames, if it is to', () => {
    const [guest] = guests(kind, 1);
    const list = guest!.words([0, 0]);
    expect(reserve(guest!, XENMEM_increase_reservation, list, { nr_extents: 2n })).toBe(2);
    for (const mfn of guest!.wordsAt(list, 2)) expect(guest!.owner(mfn)).toBe(guest!.id);
    expect(reserve(guest!, XENMEM_increase_reservation, NULL, { nr_extents: 2n })).toBe(2);
    expect(guest!.domain.totPages).toBe(20);
  });

  it('consecutive frames are not to be had', () => {
    const [guest] = guests(kind, 1);
    const list = guest!.words([100]);
    for (const op of [XENMEM_increase_reservation, XENMEM_populate_physmap]) {
      expect(reserve(guest!, op, list, { nr_extents: 1n, extent_order: 1 })).toBe(0);
    }
    expect(guest!.domain.totPages).toBe(16);
  });

  it('maximum_gpfn is what the guest says in its shared info page', () => {
    const [guest] = guests(kind, 1);
    const arg = guest!.struct(xenMemoryDomain, { domid: DOMID_SELF });
    expect(memoryOp(guest!, XENMEM_maximum_gpfn, arg)).toBe(0);
    const maxPfn = { x86_64: 3088, i386: 2316 }[kind[1]];
    guest!.machine.heap.u32[(guest!.domain.sharedInfo * 4096 + maxPfn) >>> 2] = 512;
    expect(memoryOp(guest!, XENMEM_maximum_gpfn, arg)).toBe(511);
  });
});

describe.each(translatedKinds)('%s, %s', (...kind) => {
  it('an extent is 2^order gfns, all or none', () => {
    const [guest] = guests(kind, 1);
    const list = guest!.words([0x200, 0x400]);
    const fields = { nr_extents: 2n, extent_order: 3 };
    expect(reserve(guest!, XENMEM_populate_physmap, list, fields)).toBe(2);
    expect(guest!.domain.totPages).toBe(32);
    expect(guest!.read(0x407 * 4096, 1)).toEqual(new Uint8Array(1));
    expect(() => guest!.read(0x408 * 4096, 1)).toThrow('not-present');
    expect(reserve(guest!, XENMEM_decrease_reservation, list, fields)).toBe(2);
    expect(
      reserve(guest!, XENMEM_populate_physmap, list, { nr_extents: 2n, extent_order: 4 }),
    ).toBe(1);
    expect(guest!.domain.totPages).toBe(32);
  });

  const LAST_GFN = 2 ** 20 - 1;
  const LEAF = 1024;
  it.each<[string, number, (guest: BinaryGuest) => void]>([
    ['beyond the last gfn', LAST_GFN - 2, () => {}],
    ['where there is no memory for the p2m', LEAF - 3, (guest) => limitXenHeap(guest.machine, 0)],
    [
      'over a page of another’s, which is the end of the guest',
      LEAF - 6,
      (guest) => setP2m(guest.domain, LEAF - 2, guest.mfn(3), p2m_map_foreign),
    ],
  ])('pages of an extent that reaches %s were stranded: none is the guest’s', (_, gfn, prepare) => {
    const [guest] = guests(kind, 1);
    const list = guest!.words([gfn]);
    const free = freePages(guest!.machine);
    prepare(guest!);
    const fields = { nr_extents: 1n, extent_order: 3 };
    expect(reserve(guest!, XENMEM_populate_physmap, list, fields)).toBe(0);
    expect(guest!.domain.totPages).toBe(16);
    expect(freePages(guest!.machine)).toBe(free);
    expect(gfnToMfn(guest!.domain, gfn)).toBe(INVALID_MFN);
    checkPageList(guest!);
    checkPhysmap(guest!.domain);
  });

  it('a page that is given back while it is granted has no gfn any more', () => {
    const [guest, mapper] = guests(kind, 2) as [BinaryGuest, BinaryGuest];
    guest.entry(8, GTF_permit_access, mapper.id, 2);
    const op = Object.assign(new GnttabMapGrantRef(), {
      ref: 8,
      dom: guest.id,
      flags: GNTMAP_host_map,
      hostAddr: mapper.window(0),
    });
    new Hypercalls(mapper.domain).gnttabMap([op]);
    expect(op.status).toBe(GNTST_okay);
    expect(reserve(guest, XENMEM_decrease_reservation, guest.words([2]), { nr_extents: 1n })).toBe(
      1,
    );
    expect(guest.domain.totPages).toBe(16);
    checkPhysmap(guest.domain);
  });

  it('maximum_gpfn is the highest with something behind it', () => {
    const [guest] = guests(kind, 1);
    const arg = guest!.struct(xenMemoryDomain, { domid: DOMID_SELF });
    expect(memoryOp(guest!, XENMEM_maximum_gpfn, arg)).toBe(15);
    reserve(guest!, XENMEM_populate_physmap, guest!.words([70_000]), { nr_extents: 1n });
    expect(memoryOp(guest!, XENMEM_maximum_gpfn, arg)).toBe(70_000);
  });

  it('a gfn that cannot be is not populated', () => {
    const [guest] = guests(kind, 1);
    const list = guest!.words([100, 0xffff_ffff, 101]);
    expect(reserve(guest!, XENMEM_populate_physmap, list, { nr_extents: 3n })).toBe(1);
    expect(guest!.domain.totPages).toBe(17);
  });
});
