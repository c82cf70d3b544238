/** XENMEM_add_to_physmap, _add_to_physmap_batch, _remove_from_physmap (memory.h): what is behind a translated guest's gfns. */
import {
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_memory_op,
  DOMID_SELF,
  GNTMAP_host_map,
  gnttabMapGrantRef,
  GNTTABOP_map_grant_ref,
  GNTTABOP_set_version,
  gnttabSetVersion,
  GTF_permit_access,
  type Initializer,
  XEN_EACCES,
  XEN_EDOM,
  XEN_EFAULT,
  XEN_EILSEQ,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOMEM,
  XEN_ENOSYS,
  XEN_ENXIO,
  XEN_EOPNOTSUPP,
  XEN_EOVERFLOW,
  XEN_EPERM,
  XEN_ESRCH,
  xenAddToPhysmap,
  xenAddToPhysmapBatch,
  XENMAPIDX_grant_table_status,
  XENMAPSPACE_dev_mmio,
  XENMAPSPACE_gmfn,
  XENMAPSPACE_gmfn_foreign,
  XENMAPSPACE_gmfn_range,
  XENMAPSPACE_grant_table,
  XENMAPSPACE_shared_info,
  XENMEM_add_to_physmap,
  XENMEM_add_to_physmap_batch,
  XENMEM_remove_from_physmap,
  xenRemoveFromPhysmap,
} from '@ringside/gnttab-core/abi';
import {
  gfnToMfn,
  limitXenHeap,
  nrGrantFrames,
  nrStatusFrames,
  p2m_mmio_direct,
  setP2m,
  sharedFrameAt,
  statusFrameAt,
} from '@ringside/gnttab-core/hypervisor';
import { INVALID_MFN } from '@ringside/gnttab-core';
import { describe, expect, it } from 'vitest';
import { checkPhysmap } from '../grant/invariants.ts';
import {
  BinaryGuest,
  guests,
  NULL,
  preemptAlways,
  pvKinds,
  translatedKinds,
} from './binary-guest.ts';

const memoryOp = (guest: BinaryGuest, cmd: number, arg: number | bigint): number =>
  guest.hypercall(__HYPERVISOR_memory_op, cmd, arg);

type Fields = Initializer<(typeof xenAddToPhysmap)['table']>;

function add(
  guest: BinaryGuest,
  space: number,
  idx: number,
  gpfn: number,
  more: Fields = {},
): number {
  const fields = {
    domid: DOMID_SELF,
    size: 0,
    space,
    idx: BigInt(idx),
    gpfn: BigInt(gpfn),
    ...more,
  };
  return memoryOp(guest, XENMEM_add_to_physmap, guest.struct(xenAddToPhysmap, fields));
}

const remove = (guest: BinaryGuest, gpfn: number, domid: number = DOMID_SELF): number =>
  memoryOp(
    guest,
    XENMEM_remove_from_physmap,
    guest.struct(xenRemoveFromPhysmap, { domid, gpfn: BigInt(gpfn) }),
  );

function version2(guest: BinaryGuest): void {
  const va = guest.struct(gnttabSetVersion, { version: 2 });
  expect(guest.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_set_version, va, 1)).toBe(0);
}

const behind = (guest: BinaryGuest, gfn: number) => gfnToMfn(guest.domain, gfn);

describe.each(translatedKinds)('%s, %s', (...kind) => {
  const one = () => guests(kind, 1)[0]!;

  describe('add_to_physmap', () => {
    it('the shared info page, index 0 only', () => {
      const guest = one();
      expect(add(guest, XENMAPSPACE_shared_info, 0, 100)).toBe(0);
      expect(behind(guest, 100)).toBe(guest.domain.sharedInfo);
      expect(add(guest, XENMAPSPACE_shared_info, 1, 101)).toBe(-XEN_EINVAL);
    });

    it('grant frames: the table grows, up to its limit', () => {
      const guest = one();
      expect(add(guest, XENMAPSPACE_grant_table, 2, 100)).toBe(0);
      expect(nrGrantFrames(guest.domain)).toBe(3);
      expect(behind(guest, 100)).toBe(sharedFrameAt(guest.domain, 2));
      expect(add(guest, XENMAPSPACE_grant_table, 64, 101)).toBe(-XEN_EINVAL);
      expect(add(guest, XENMAPSPACE_grant_table, 0x7fff_ffff, 101)).toBe(-XEN_EINVAL);
    });

    it('status frames, with version 2 only: the table grows to have them', () => {
      const guest = one();
      const status = (i: number) => XENMAPIDX_grant_table_status + i;
      expect(add(guest, XENMAPSPACE_grant_table, status(0), 200)).toBe(-XEN_EINVAL);
      version2(guest);
      expect(add(guest, XENMAPSPACE_grant_table, status(1), 201)).toBe(0);
      expect([nrGrantFrames(guest.domain), nrStatusFrames(guest.domain)]).toEqual([16, 2]);
      expect(behind(guest, 201)).toBe(statusFrameAt(guest.domain, 1));
      expect(add(guest, XENMAPSPACE_grant_table, 0xffff_ffff, 202)).toBe(-XEN_EINVAL);
    });

    it('a frame that is moved leaves the gfn where it was', () => {
      const guest = one();
      for (const gfn of [100, 110, 110]) {
        expect(add(guest, XENMAPSPACE_grant_table, 0, gfn)).toBe(0);
        expect([100, 110].filter((at) => behind(guest, at) !== INVALID_MFN)).toEqual([gfn]);
      }
    });

    it('an own page moves with what is in it', () => {
      const guest = one();
      guest.write(guest.page(3), new Uint8Array([0x42]));
      expect(add(guest, XENMAPSPACE_gmfn, 3, 100)).toBe(0);
      expect([...guest.read(100 * 4096, 1)]).toEqual([0x42]);
      expect(() => guest.read(guest.page(3), 1)).toThrow('not-present');
      expect(guest.domain.totPages).toBe(16);
      expect(add(guest, XENMAPSPACE_gmfn, 3, 101)).toBe(-XEN_EINVAL);
      expect(add(guest, XENMAPSPACE_gmfn, 100, 100)).toBe(0);
      expect(guest.domain.totPages).toBe(16);
    });

    it('RAM in the place is given back, a frame of Xen’s only displaced', () => {
      const guest = one();
      expect(add(guest, XENMAPSPACE_grant_table, 0, 5)).toBe(0);
      expect(guest.domain.totPages).toBe(15);
      expect(add(guest, XENMAPSPACE_shared_info, 0, 5)).toBe(0);
      expect(guest.domain.totPages).toBe(15);
      expect(behind(guest, 5)).toBe(guest.domain.sharedInfo);
    });

    it('what is mapped in the place from elsewhere stays', () => {
      const [granter, guest] = guests(kind, 2) as [BinaryGuest, BinaryGuest];
      granter.entry(8, GTF_permit_access, guest.id, granter.gmfn(3));
      const map = guest.struct(gnttabMapGrantRef, {
        host_addr: 100n << 12n,
        flags: GNTMAP_host_map,
        ref: 8,
        dom: granter.id,
      });
      guest.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, map, 1);
      setP2m(guest.domain, 101, 7, p2m_mmio_direct);
      expect(add(guest, XENMAPSPACE_grant_table, 0, 100)).toBe(-XEN_ENXIO);
      expect(add(guest, XENMAPSPACE_grant_table, 0, 101)).toBe(-XEN_EPERM);
      expect(behind(guest, 100)).toBe(granter.mfn(3));
      expect(guest.domain.crashed).toBe(false);
    });

    it('a page that was to move where there is no memory for the p2m had left its gfn: it stays', () => {
      const guest = one();
      const frame = behind(guest, 3);
      limitXenHeap(guest.machine, 0);
      expect(add(guest, XENMAPSPACE_gmfn, 3, 70_000)).toBe(-XEN_ENOMEM);
      expect(behind(guest, 3)).toBe(frame);
      checkPhysmap(guest.domain);
    });

    it.each([
      ['no place that can be', -XEN_EINVAL, 0xffff_ffff, {}],
      ['a space that does not exist', -XEN_EINVAL, 100, { space: 17 }],
      ['a space of devices', -XEN_EINVAL, 100, { space: XENMAPSPACE_dev_mmio }],
      [
        'a foreign frame, of whom there is no telling',
        -XEN_ENOSYS,
        100,
        { space: XENMAPSPACE_gmfn_foreign },
      ],
      ['another domain, without privilege', -XEN_EPERM, 100, { domid: 1 }],
      ['a domain that does not exist', -XEN_ESRCH, 100, { domid: 99 }],
    ] as const)('%s: %i', (_, result, gfn, fields) => {
      const [guest] = guests(kind, 2);
      expect(add(guest!, XENMAPSPACE_shared_info, 0, gfn, fields)).toBe(result);
    });

    it('a struct that is not there is -EFAULT', () => {
      const guest = one();
      expect(memoryOp(guest, XENMEM_add_to_physmap, guest.window(1))).toBe(-XEN_EFAULT);
    });

    it('a control domain may do it for another', () => {
      const guest = one();
      const control = new BinaryGuest(guest.machine, kind, { privileged: true });
      expect(add(control, XENMAPSPACE_grant_table, 0, 100, { domid: guest.id })).toBe(0);
      expect(behind(guest, 100)).toBe(sharedFrameAt(guest.domain, 0));
    });

    it('a range moves page by page, pauses and all', () => {
      const guest = one();
      const frames = [2, 3, 4].map((gfn) => behind(guest, gfn));
      const times = preemptAlways(guest.machine);
      expect(add(guest, XENMAPSPACE_gmfn_range, 2, 100, { size: 3 })).toBe(0);
      expect(times()).toBe(2);
      expect([100, 101, 102].map((gfn) => behind(guest, gfn))).toEqual(frames);
    });

    it('a range ends with its first error', () => {
      const guest = one();
      expect(add(guest, XENMAPSPACE_gmfn_range, 14, 100, { size: 3 })).toBe(-XEN_EINVAL);
      expect([100, 101, 102].map((gfn) => behind(guest, gfn) !== INVALID_MFN)).toEqual([
        true,
        true,
        false,
      ]);
      const end = kind[1] === 'i386' ? 2n ** 32n : 2n ** 64n;
      const beyond = { size: 4096, idx: end - 1n };
      expect(add(guest, XENMAPSPACE_gmfn_range, 0, 100, beyond)).toBe(-XEN_EOVERFLOW);
    });

    it.each([
      ['more than a range has', 4, -XEN_EILSEQ],
      ['more than any has', 0x1_0000, -XEN_EDOM],
    ])('a first page of %s', (_, start, result) => {
      const guest = one();
      const arg = guest.struct(xenAddToPhysmap, {
        domid: DOMID_SELF,
        size: 3,
        space: XENMAPSPACE_gmfn_range,
        idx: 2n,
        gpfn: 100n,
      });
      expect(memoryOp(guest, XENMEM_add_to_physmap | (start << 6), arg)).toBe(result);
    });
  });

  describe('add_to_physmap_batch', () => {
    /** A batch of grant frames; indices, places and errors are in memory already. */
    const batch = (
      guest: BinaryGuest,
      lists: { idxs: number; gpfns: number; errs: number },
      fields: Initializer<(typeof xenAddToPhysmapBatch)['table']> = {},
    ) =>
      guest.struct(xenAddToPhysmapBatch, {
        domid: DOMID_SELF,
        space: XENMAPSPACE_grant_table,
        size: 3,
        u: { res0: 0 },
        idxs: BigInt(lists.idxs),
        gpfns: BigInt(lists.gpfns),
        errs: BigInt(lists.errs),
        ...fields,
      });
    const listsOf = (guest: BinaryGuest) => ({
      idxs: guest.words([0, 64, 1]),
      gpfns: guest.words([100, 101, 102]),
      errs: guest.bytes(new Uint8Array(16).fill(0xa5)),
    });
    const run = (guest: BinaryGuest, arg: number, start = 0) =>
      memoryOp(guest, XENMEM_add_to_physmap_batch | (start << 6), arg);

    it('every page has an error of its own', () => {
      const guest = one();
      const lists = listsOf(guest);
      const times = preemptAlways(guest.machine);
      expect(run(guest, batch(guest, lists))).toBe(0);
      expect(times()).toBe(2);
      expect(guest.intsAt(lists.errs, 4)).toEqual([0, -XEN_EINVAL, 0, 0xa5a5_a5a5 | 0]);
      expect(behind(guest, 102)).toBe(sharedFrameAt(guest.domain, 1));
      expect(behind(guest, 101)).toBe(INVALID_MFN);
    });

    it.each(['idxs', 'gpfns', 'errs'] as const)(
      '%s that end early: -EFAULT, what is before is done',
      (name) => {
        const guest = one();
        const lists = listsOf(guest);
        const elementBytes = name === 'errs' ? 4 : guest.wordBytes;
        const short = guest.beforeEnd(elementBytes);
        guest.write(short, guest.read(lists[name], elementBytes));
        expect(run(guest, batch(guest, { ...lists, [name]: short }))).toBe(-XEN_EFAULT);
        expect(behind(guest, 100)).toBe(sharedFrameAt(guest.domain, 0));
      },
    );

    it.each([
      ['nothing to do', 0, { size: 0 }, 0],
      ['all done before', -XEN_EILSEQ, { size: 1 }, 1],
      ['more done than there is', -XEN_EILSEQ, { size: 1 }, 2],
      ['more done than there ever is', -XEN_EDOM, { size: 1 }, 0x1_0000],
      ['a range', -XEN_EOPNOTSUPP, { space: XENMAPSPACE_gmfn_range }, 0],
      ['foreign frames', -XEN_EOPNOTSUPP, { space: XENMAPSPACE_gmfn_foreign }, 0],
      ['another domain, without privilege', -XEN_EPERM, { domid: 1 }, 0],
      ['a domain that does not exist', -XEN_ESRCH, { domid: 99 }, 0],
    ])('%s', (_, result, fields, start) => {
      const [guest] = guests(kind, 2);
      expect(run(guest!, batch(guest!, listsOf(guest!), fields), start)).toBe(result);
    });
  });

  describe('remove_from_physmap', () => {
    it('empties a gfn; the page stays the guest’s', () => {
      const guest = one();
      const frame = behind(guest, 3);
      expect(remove(guest, 3)).toBe(0);
      expect(() => guest.read(guest.page(3), 1)).toThrow('not-present');
      expect(guest.owner(frame)).toBe(guest.id);
      expect(guest.domain.totPages).toBe(16);
      expect(remove(guest, 3)).toBe(-XEN_ENOENT);
    });

    it('a frame of Xen’s can be taken away and put back', () => {
      const guest = one();
      add(guest, XENMAPSPACE_grant_table, 0, 100);
      expect(remove(guest, 100)).toBe(0);
      expect(behind(guest, 100)).toBe(INVALID_MFN);
      expect(add(guest, XENMAPSPACE_grant_table, 0, 100)).toBe(0);
    });

    it('whose it is, and who may', () => {
      const [guest, other] = guests(kind, 2) as [BinaryGuest, BinaryGuest];
      expect(remove(guest, 3, other.id)).toBe(-XEN_EPERM);
      expect(remove(guest, 3, 99)).toBe(-XEN_ESRCH);
      expect(memoryOp(guest, XENMEM_remove_from_physmap, guest.window(1))).toBe(-XEN_EFAULT);
      expect(memoryOp(guest, XENMEM_remove_from_physmap | (1 << 6), NULL)).toBe(-XEN_EINVAL);
    });
  });
});

describe.each(pvKinds)('%s, %s: has no physical map of Xen’s', (...kind) => {
  it('nothing can be put into it', () => {
    const [guest] = guests(kind, 1);
    expect(add(guest!, XENMAPSPACE_shared_info, 0, 100)).toBe(-XEN_EACCES);
  });

  it('and what is taken out is only looked for', () => {
    const [guest] = guests(kind, 1);
    expect(remove(guest!, guest!.mfn(3))).toBe(0);
    expect(remove(guest!, 0xfff_ffff)).toBe(-XEN_ENOENT);
    expect(guest!.read(guest!.page(3), 1)).toHaveLength(1);
  });
});
