/** HYPERVISOR_mmu_update and HYPERVISOR_update_va_mapping (xen.h). */
import { createDomain, ownerOf, PAGE_SIZE, PV_VA_BASE } from '@ringside/gnttab-core';
import {
  __HYPERVISOR_mmu_update,
  __HYPERVISOR_update_va_mapping,
  DOMID_IO,
  DOMID_SELF,
  DOMID_XEN,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_transfer_committed,
  GTF_transfer_completed,
  MMU_MACHPHYS_UPDATE,
  MMU_NORMAL_PT_UPDATE,
  MMU_PT_UPDATE_NO_TRANSLATE,
  MMU_PT_UPDATE_PRESERVE_AD,
  mmuUpdate,
  UVMF_ALL,
  UVMF_INVLPG,
  UVMF_TLB_FLUSH,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
} from '@ringside/gnttab-core/abi';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_RW,
  linkL1,
  lookup,
  pageInfo,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import {
  BinaryGuest,
  type GuestOptions,
  guests,
  type Kind,
  NO_GUEST_ADDRESS,
  NULL,
  preemptAlways,
  preemptOnce,
  pvKinds,
} from './binary-guest.ts';

const READ_ONLY = BigInt(_PAGE_PRESENT);
const WRITABLE = BigInt(_PAGE_PRESENT | _PAGE_RW);
/** Where the L1 table that the guest brings itself maps. */
const VA = PV_VA_BASE + 0x3000_0000;
const L1_GFN = 7;

const pte = (mfn: number, flags: bigint): bigint => (BigInt(mfn) << 12n) | flags;

/** A guest with an L1 table of its own, in its page 7. */
function withL1(kind: Kind, options: GuestOptions = {}, machine = guests(kind, 1)[0]!.machine) {
  const guest = new BinaryGuest(machine, kind, options);
  guest.unmapped(L1_GFN);
  expect(linkL1(guest.domain, VA, guest.mfn(L1_GFN))).toBe(true);
  return guest;
}

/** Machine address of the n-th entry of the guest's L1 table, with a command in the low bits. */
const entry = (guest: BinaryGuest, n: number, command: number = MMU_NORMAL_PT_UPDATE): bigint =>
  (BigInt(guest.mfn(L1_GFN)) << 12n) + BigInt(8 * n + command);

const mapped = (guest: BinaryGuest, n: number) => lookup(guest.domain, VA + n * PAGE_SIZE);

type Update = readonly [ptr: bigint, val: bigint];

/** Makes the call; the result and how many updates were done. */
function update(guest: BinaryGuest, updates: readonly Update[], foreigndom: number = DOMID_SELF) {
  const reqs = guest.array(
    mmuUpdate,
    updates.map(([ptr, val]) => ({ ptr, val })),
  );
  const pdone = guest.bytes(new Uint8Array(4));
  const result = guest.hypercall(__HYPERVISOR_mmu_update, reqs, updates.length, pdone, foreigndom);
  return [result, guest.intsAt(pdone, 1)[0]];
}

describe.each(pvKinds)('%s, %s', (...kind) => {
  describe('mmu_update', () => {
    it('maps own pages, and unmaps them', () => {
      const guest = withL1(kind);
      const updates: Update[] = [
        [entry(guest, 0), pte(guest.mfn(1), WRITABLE)],
        [entry(guest, 1), pte(guest.mfn(2), READ_ONLY)],
      ];
      expect(update(guest, updates)).toEqual([0, 2]);
      expect(mapped(guest, 0)).toEqual({ frame: guest.mfn(1), writable: true, foreign: false });
      expect(mapped(guest, 1)).toEqual({ frame: guest.mfn(2), writable: false, foreign: false });
      expect(update(guest, [[entry(guest, 0), 0n]])).toEqual([0, 1]);
      expect(mapped(guest, 0)).toBeUndefined();
      expect(guest.domain.counters().mmuUpdates).toBeGreaterThanOrEqual(3);
    });

    it('PRESERVE_AD keeps what the processor has noted', () => {
      const guest = withL1(kind);
      const noted = BigInt(_PAGE_ACCESSED | _PAGE_DIRTY);
      const raw = () => Number(guest.machine.heap.u32[(guest.mfn(L1_GFN) * 4096) >>> 2]) & 0x60;
      update(guest, [[entry(guest, 0), pte(guest.mfn(1), WRITABLE | noted)]]);
      update(guest, [[entry(guest, 0, MMU_PT_UPDATE_PRESERVE_AD), pte(guest.mfn(2), READ_ONLY)]]);
      expect(mapped(guest, 0)?.frame).toBe(guest.mfn(2));
      expect(raw()).toBe(_PAGE_ACCESSED | _PAGE_DIRTY);
      update(guest, [[entry(guest, 0), pte(guest.mfn(2), READ_ONLY)]]);
      expect(raw()).toBe(0);
    });

    it('MACHPHYS_UPDATE tells Xen a frame’s gfn', () => {
      const guest = withL1(kind);
      const mfn = guest.mfn(3);
      const ptr = (BigInt(mfn) << 12n) + BigInt(MMU_MACHPHYS_UPDATE);
      expect(update(guest, [[ptr, 77n]])).toEqual([0, 1]);
      const info = guest.machine.pageInfo(mfn) + pageInfo.offset.gfn;
      expect(guest.machine.heap.u32[info >>> 2]).toBe(77);
    });

    const refused: [string, number, (guest: BinaryGuest, other: BinaryGuest) => Update][] = [
      [
        'another’s page',
        -XEN_EINVAL,
        (guest, other) => [entry(guest, 0), pte(other.mfn(1), READ_ONLY)],
      ],
      ['no page', -XEN_EINVAL, (guest) => [entry(guest, 0), pte(0xfff_ffff, READ_ONLY)]],
      [
        'a page beyond all memory',
        -XEN_EINVAL,
        (guest) => [entry(guest, 0), (1n << 51n) | READ_ONLY],
      ],
      [
        'the table itself, writable',
        -XEN_EINVAL,
        (guest) => [entry(guest, 0), pte(guest.mfn(L1_GFN), WRITABLE)],
      ],
      ['an entry of another’s table', -XEN_EINVAL, (_, other) => [entry(other, 0), 0n]],
      [
        'an entry in a page that is no table',
        -XEN_EINVAL,
        (guest) => [BigInt(guest.mfn(1)) << 12n, 0n],
      ],
      ['an entry in no memory', -XEN_EINVAL, () => [(1n << 63n) + 0n, 0n]],
      [
        'the gfn of another’s frame',
        -XEN_EINVAL,
        (_, other) => [(BigInt(other.mfn(1)) << 12n) + 1n, 5n],
      ],
      [
        'an update without translation',
        -XEN_ENOSYS,
        (guest) => [entry(guest, 0, MMU_PT_UPDATE_NO_TRANSLATE), 0n],
      ],
      ['an unknown command', -XEN_ENOSYS, (guest) => [entry(guest, 0, 7), 0n]],
    ];
    it.each(refused)('%s: %i, the entry stays, and the batch ends', (_, result, make) => {
      const guest = withL1(kind);
      const other = withL1(kind, {}, guest.machine);
      update(guest, [[entry(guest, 0), pte(guest.mfn(2), READ_ONLY)]]);
      const good: Update = [entry(guest, 1), pte(guest.mfn(1), READ_ONLY)];
      const never: Update = [entry(guest, 2), pte(guest.mfn(1), READ_ONLY)];
      expect(update(guest, [good, make(guest, other), never])).toEqual([result, 1]);
      expect(mapped(guest, 0)?.frame).toBe(guest.mfn(2));
      expect([mapped(guest, 1)?.frame, mapped(guest, 2)]).toEqual([guest.mfn(1), undefined]);
    });

    it('the table itself may be mapped read-only', () => {
      const guest = withL1(kind);
      expect(update(guest, [[entry(guest, 0), pte(guest.mfn(L1_GFN), READ_ONLY)]])).toEqual([0, 1]);
    });

    it.each([
      ['nowhere', (guest: BinaryGuest) => guest.window(1)],
      ['no guest’s', (guest: BinaryGuest) => NO_GUEST_ADDRESS[guest.abi]],
    ])('updates at an address that is %s are -EFAULT', (_, address) => {
      const guest = withL1(kind);
      expect(guest.hypercall(__HYPERVISOR_mmu_update, address(guest), 1, NULL, DOMID_SELF)).toBe(
        -XEN_EFAULT,
      );
    });

    it('a batch that ends early: what came before is done, and counted', () => {
      const guest = withL1(kind);
      const one = { ptr: entry(guest, 0), val: pte(guest.mfn(1), READ_ONLY) };
      const reqs = guest.arrayAtEnd(mmuUpdate, [one, one], 1);
      const pdone = guest.bytes(new Uint8Array(4));
      expect(guest.hypercall(__HYPERVISOR_mmu_update, reqs, 2, pdone, DOMID_SELF)).toBe(
        -XEN_EFAULT,
      );
      expect(guest.intsAt(pdone, 1)).toEqual([1]);
      expect(mapped(guest, 0)?.frame).toBe(guest.mfn(1));
    });

    it('nobody needs to know how many are done, but where to write it has to be there', () => {
      const guest = withL1(kind);
      const reqs = guest.array(mmuUpdate, [
        { ptr: entry(guest, 0), val: pte(guest.mfn(1), READ_ONLY) },
      ]);
      const call = (pdone: number) =>
        guest.hypercall(__HYPERVISOR_mmu_update, reqs, 1, pdone, DOMID_SELF);
      expect(call(NULL)).toBe(0);
      expect(call(guest.window(1))).toBe(-XEN_EFAULT);
    });

    it.each([1, 2, 3])('a pause at chance %i is not noticed', (nth) => {
      const guest = withL1(kind);
      preemptOnce(guest.machine, nth);
      const updates = [0, 1, 2, 3].map((n): Update => [
        entry(guest, n),
        pte(guest.mfn(n), READ_ONLY),
      ]);
      expect(update(guest, updates)).toEqual([0, 4]);
      expect(mapped(guest, 3)?.frame).toBe(guest.mfn(3));
    });

    it('nor is one at every chance, with an error at the end', () => {
      const guest = withL1(kind);
      const times = preemptAlways(guest.machine);
      const updates = [0, 1, 2].map((n): Update => [entry(guest, n), pte(guest.mfn(n), READ_ONLY)]);
      expect(update(guest, [...updates, [entry(guest, 3, 7), 0n]])).toEqual([-XEN_ENOSYS, 3]);
      expect(times()).toBe(3);
    });

    it('nothing to do is done', () => {
      expect(update(withL1(kind), [])).toEqual([0, 0]);
    });
  });

  describe('foreigndom', () => {
    const foreign = (guest: BinaryGuest, other: BinaryGuest): Update[] => [
      [entry(guest, 0), pte(other.mfn(1), WRITABLE)],
    ];
    function world(options: GuestOptions = {}) {
      const guest = withL1(kind, options);
      return { guest, other: withL1(kind, {}, guest.machine) };
    }

    it('a control domain maps another’s frames', () => {
      const { guest, other } = world({ privileged: true });
      expect(update(guest, foreign(guest, other), other.id)).toEqual([0, 1]);
      expect(mapped(guest, 0)).toEqual({ frame: other.mfn(1), writable: true, foreign: true });
      expect(update(guest, [[entry(guest, 0), pte(guest.mfn(1), WRITABLE)]], other.id)).toEqual([
        -XEN_EINVAL,
        0,
      ]);
    });

    it('and changes another’s tables', () => {
      const { guest, other } = world({ privileged: true });
      const both = ((other.id + 1) << 16) | other.id;
      expect(update(guest, [[entry(other, 0), pte(other.mfn(1), WRITABLE)]], both)).toEqual([0, 1]);
      expect(mapped(other, 0)).toEqual({ frame: other.mfn(1), writable: true, foreign: false });
      expect(update(guest, [[entry(other, 0, MMU_MACHPHYS_UPDATE), 1n]], both)).toEqual([
        -XEN_EPERM,
        0,
      ]);
    });

    it('without privilege that is -EPERM', () => {
      const { guest, other } = world();
      expect(update(guest, foreign(guest, other), other.id)).toEqual([-XEN_EPERM, 0]);
      const tables = ((other.id + 1) << 16) | DOMID_SELF;
      expect(update(guest, [[entry(other, 0), 0n]], tables)).toEqual([-XEN_EPERM, 0]);
      const machphys: Update = [(BigInt(other.mfn(1)) << 12n) + 1n, 5n];
      expect(update(guest, [machphys], other.id)).toEqual([-XEN_EPERM, 0]);
    });

    it('system domains have no frames to map, but entries can be cleared', () => {
      const { guest } = world();
      for (const domid of [DOMID_IO, DOMID_XEN]) {
        expect(update(guest, [[entry(guest, 0), pte(guest.mfn(1), READ_ONLY)]], domid)[0]).toBe(
          -XEN_EINVAL,
        );
        expect(update(guest, [[entry(guest, 0), 0n]], domid)).toEqual([0, 1]);
      }
    });

    it('who does not exist: frames -ESRCH, tables -EINVAL; oneself is nobody foreign', () => {
      const { guest } = world();
      const clear: Update[] = [[entry(guest, 0), 0n]];
      expect(update(guest, clear, 99)).toEqual([-XEN_ESRCH, 0]);
      expect(update(guest, clear, guest.id)).toEqual([-XEN_ESRCH, 0]);
      expect(update(guest, clear, (100 << 16) | DOMID_SELF)).toEqual([-XEN_EINVAL, 0]);
      expect(update(guest, clear, ((guest.id + 1) << 16) | DOMID_SELF)).toEqual([0, 1]);
    });

    it('a translated domain has no tables', () => {
      const { guest } = world({ privileged: true });
      const hvm = createDomain(guest.machine, { pages: 4, type: 'translated' });
      const tables = ((hvm.id + 1) << 16) | DOMID_SELF;
      expect(update(guest, [[entry(guest, 0), 0n]], tables)).toEqual([-XEN_EINVAL, 0]);
    });
  });

  describe('update_va_mapping', () => {
    const set = (guest: BinaryGuest, va: number, val: bigint, flags = 0) => {
      const value = guest.abi === 'i386' ? [val & 0xffff_ffffn, val >> 32n] : [val];
      return guest.hypercall(__HYPERVISOR_update_va_mapping, va, ...value, flags);
    };
    const NX = 1n << 63n;

    it('maps an own page, clears the mapping, and keeps all bits of the entry', () => {
      const guest = withL1(kind);
      expect(set(guest, VA, pte(guest.mfn(1), WRITABLE | NX))).toBe(0);
      expect(mapped(guest, 0)).toEqual({ frame: guest.mfn(1), writable: true, foreign: false });
      const high = guest.machine.heap.u32[(guest.mfn(L1_GFN) * 4096 + 4) >>> 2]!;
      expect(high >>> 31).toBe(1);
      expect(set(guest, VA, 0n)).toBe(0);
      expect(mapped(guest, 0)).toBeUndefined();
    });

    it('what may not be mapped is -EINVAL, and the entry stays', () => {
      const guest = withL1(kind);
      const other = new BinaryGuest(guest.machine, kind);
      set(guest, VA, pte(guest.mfn(1), READ_ONLY));
      for (const val of [pte(other.mfn(1), READ_ONLY), pte(guest.mfn(L1_GFN), WRITABLE)]) {
        expect(set(guest, VA, val)).toBe(-XEN_EINVAL);
      }
      expect(mapped(guest, 0)?.frame).toBe(guest.mfn(1));
    });

    it('an address without an entry is -EINVAL', () => {
      const guest = withL1(kind);
      for (const va of [0, VA + 0x20_0000, 0xf000_0000]) {
        expect(set(guest, va, pte(guest.mfn(1), READ_ONLY))).toBe(-XEN_EINVAL);
      }
    });

    it('a flush may name its CPUs; they have to be there', () => {
      const guest = withL1(kind);
      const cpus = guest.words([1]);
      for (const flags of [UVMF_TLB_FLUSH, UVMF_INVLPG | UVMF_ALL, UVMF_TLB_FLUSH | cpus]) {
        expect(set(guest, VA, pte(guest.mfn(1), READ_ONLY), flags)).toBe(0);
      }
      expect(set(guest, VA, 0n, UVMF_INVLPG + guest.window(1))).toBe(-XEN_EFAULT);
    });
  });

  describe('the form of 2004', () => {
    const MACHPHYS = 2;
    const EXTENDED = 3;
    const TLB_FLUSH = 6;
    const TRANSFER_PAGE = 12;

    /** The words of docs/misc/grant-tables.txt, "Transfer a frame to a foreign domain". */
    const transferOf = (mfn: number, domid: number, ref: number): Update => [
      BigInt(EXTENDED) | BigInt((ref & 0xff) << 2) | (BigInt(mfn) << 12n),
      BigInt(TRANSFER_PAGE) | BigInt(ref & 0xff00) | (BigInt(domid) << 16n),
    ];
    function world(options = {}) {
      const machine = guests(kind, 1, options)[0]!.machine;
      const giver = withL1(kind, { mmuExtendedCommand: true }, machine);
      return { machine, giver, receiver: new BinaryGuest(machine, kind, { maxPages: 64 }) };
    }
    const done = GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed;

    it.each([8, 255, 256, 300, 511])('transfers a page to reference %i', (ref) => {
      const { machine, giver, receiver } = world();
      const mfn = giver.unmapped(3);
      receiver.entry(ref, GTF_accept_transfer, giver.id, 0);
      expect(update(giver, [transferOf(mfn, receiver.id, ref)])).toEqual([0, 1]);
      expect(ownerOf(machine, mfn)).toBe(receiver.id);
      expect(receiver.flags(ref)).toBe(done);
    });

    it('a transfer that fails is -EINVAL and ends the batch', () => {
      const { giver, receiver } = world();
      const mfns = [3, 4].map((gfn) => giver.unmapped(gfn));
      receiver.entry(8, GTF_accept_transfer, giver.id, 0);
      receiver.entry(9, GTF_permit_access, giver.id, 0);
      const updates = [
        transferOf(mfns[0]!, receiver.id, 8),
        transferOf(giver.mfn(5), receiver.id, 8),
        transferOf(mfns[1]!, receiver.id, 9),
      ];
      expect(update(giver, updates)).toEqual([-XEN_EINVAL, 1]);
      expect(giver.owner(mfns[1]!)).toBe(giver.id);
    });

    it('is refused where transfers are switched off', () => {
      const { giver, receiver } = world({ gnttab: { transfer: false } });
      const mfn = giver.unmapped(3);
      expect(update(giver, [transferOf(mfn, receiver.id, 8)])).toEqual([-XEN_EOPNOTSUPP, 0]);
      expect(giver.owner(mfn)).toBe(giver.id);
    });

    it('has other numbers for the other commands', () => {
      const { giver } = world();
      const machphys: Update = [(BigInt(giver.mfn(3)) << 12n) + BigInt(MACHPHYS), 77n];
      expect(update(giver, [machphys, [entry(giver, 0), pte(giver.mfn(1), WRITABLE)]])).toEqual([
        0, 2,
      ]);
      expect(mapped(giver, 0)?.frame).toBe(giver.mfn(1));
      expect(update(giver, [[BigInt(EXTENDED), BigInt(TLB_FLUSH)]])).toEqual([0, 1]);
      expect(update(giver, [[entry(giver, 0, 1), 0n]])).toEqual([-XEN_EINVAL, 0]);
      expect(update(giver, [[BigInt(EXTENDED), 200n]])).toEqual([-XEN_ENOSYS, 0]);
    });

    it('knows no foreign domain: there was no such argument', () => {
      const { giver } = world();
      expect(update(giver, [[entry(giver, 0), 0n]], 99)).toEqual([0, 1]);
    });
  });
});
