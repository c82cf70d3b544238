/** HYPERVISOR_grant_table_op (grant_table.h): the call itself, its counts, pointers and continuation bits. */
import {
  __HYPERVISOR_grant_table_op,
  type Abi,
  DOMID_SELF,
  GNTST_bad_domain,
  GNTST_bad_virt_addr,
  GNTST_general_error,
  GNTST_okay,
  gnttabCacheFlush,
  gnttabCopy,
  gnttabGetStatusFrames,
  gnttabGetVersion,
  gnttabMapGrantRef,
  GNTTABOP_cache_flush,
  GNTTABOP_copy,
  GNTTABOP_dump_table,
  GNTTABOP_get_status_frames,
  GNTTABOP_get_version,
  GNTTABOP_map_grant_ref,
  GNTTABOP_query_size,
  GNTTABOP_set_version,
  GNTTABOP_setup_table,
  GNTTABOP_swap_grant_ref,
  GNTTABOP_transfer,
  GNTTABOP_unmap_and_replace,
  GNTTABOP_unmap_grant_ref,
  gnttabQuerySize,
  gnttabSetupTable,
  gnttabSetVersion,
  gnttabSwapGrantRef,
  gnttabTransfer,
  gnttabUnmapAndReplace,
  gnttabUnmapGrantRef,
  XEN_EBUSY,
  XEN_EFAULT,
  XEN_EILSEQ,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
  XENMAPIDX_grant_table_status,
  XENMAPSPACE_grant_table,
} from '@ringside/gnttab-core/abi';
import { Hypercalls } from '@ringside/gnttab-core';
import {
  grantVersion,
  nrGrantFrames,
  sharedFrameAt,
  statusFrameAt,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import {
  type BinaryGuest,
  guests,
  kinds,
  NO_GUEST_ADDRESS,
  NULL,
  pvKinds,
  UNTOUCHED_STATUS,
} from './binary-guest.ts';

type Sizes = Readonly<Record<Abi, { readonly size: number }>>;

/** The operations on arrays: number, and what an element is. */
const arrays: readonly [name: string, op: number, element: Sizes][] = [
  ['map_grant_ref', GNTTABOP_map_grant_ref, gnttabMapGrantRef],
  ['unmap_grant_ref', GNTTABOP_unmap_grant_ref, gnttabUnmapGrantRef],
  ['transfer', GNTTABOP_transfer, gnttabTransfer],
  ['copy', GNTTABOP_copy, gnttabCopy],
  ['unmap_and_replace', GNTTABOP_unmap_and_replace, gnttabUnmapAndReplace],
  ['swap_grant_ref', GNTTABOP_swap_grant_ref, gnttabSwapGrantRef],
  ['cache_flush', GNTTABOP_cache_flush, gnttabCacheFlush],
];
/** The operations on one struct, and whether they insist on its being one. */
const singles: readonly [name: string, op: number, counts: boolean][] = [
  ['setup_table', GNTTABOP_setup_table, true],
  ['query_size', GNTTABOP_query_size, true],
  ['get_status_frames', GNTTABOP_get_status_frames, true],
  ['set_version', GNTTABOP_set_version, false],
  ['get_version', GNTTABOP_get_version, false],
];

const call = (guest: BinaryGuest, cmd: number, uop: number | bigint, count: number): number =>
  guest.hypercall(__HYPERVISOR_grant_table_op, cmd, uop, count);

describe.each(kinds)('%s, %s', (...kind) => {
  const one = () => guests(kind, 1)[0]!;

  it.each([
    ...[...arrays, ...singles].map(([name, op]) => [name, op] as const),
    ['dump_table', GNTTABOP_dump_table] as const,
    ['unknown', 99] as const,
  ])('%s: a count that is negative as an int is -EINVAL', (_, op) => {
    for (const count of [0x8000_0000, 0xffff_ffff, -1]) {
      expect(call(one(), op, NULL, count)).toBe(-XEN_EINVAL);
    }
  });

  it.each([GNTTABOP_dump_table, 13, 14, 255, 4095])('operation %i is -ENOSYS', (op) => {
    expect(call(one(), op, NULL, 1)).toBe(-XEN_ENOSYS);
  });

  it.each([0x1000, 0x1001, 0x5005, 0x8000_0002])(
    'continuation bits are cache_flush’s alone: cmd %i is -EINVAL',
    (cmd) => expect(call(one(), cmd, NULL, 1)).toBe(-XEN_EINVAL),
  );

  describe.each(arrays)('%s', (_, op, element) => {
    it('an array of nothing is fine, wherever it is', () => {
      const guest = one();
      expect(call(guest, op, NULL, 0)).toBe(0);
      expect(call(guest, op, guest.window(1), 0)).toBe(0);
    });

    it.each([
      ['NULL', (guest: BinaryGuest) => (guest.domain.translated ? 0x3000_0000 : NULL)],
      ['nowhere', (guest: BinaryGuest) => guest.window(1)],
      ['no guest’s', (guest: BinaryGuest) => NO_GUEST_ADDRESS[guest.abi]],
    ])('an address that is %s is -EFAULT', (_name, address) => {
      const guest = one();
      expect(call(guest, op, address(guest), 1)).toBe(-XEN_EFAULT);
    });

    it('an element that ends beyond the memory is -EFAULT, and does nothing', () => {
      const guest = one();
      const { size } = element[guest.abi];
      const before = guest.domain.counters();
      expect(call(guest, op, guest.beforeEnd(size - 1), 1)).toBe(-XEN_EFAULT);
      expect(guest.domain.counters()).toEqual({ ...before, hypercalls: before.hypercalls + 1 });
    });
  });

  describe.each(singles)('%s', (_, op, counts) => {
    it('a struct that is nowhere is -EFAULT', () => {
      const guest = one();
      expect(call(guest, op, guest.window(1), 1)).toBe(-XEN_EFAULT);
      if (!guest.domain.translated) {
        expect(call(guest, op, NO_GUEST_ADDRESS[guest.abi], 1)).toBe(-XEN_EFAULT);
      }
    });

    it(`a count that is not 1 ${counts ? 'is -EINVAL, whatever else is wrong' : 'does not matter'}`, () => {
      const guest = one();
      for (const count of [0, 2]) {
        const expected = counts ? -XEN_EINVAL : -XEN_EFAULT;
        expect(call(guest, op, guest.window(1), count)).toBe(expected);
      }
    });
  });

  describe('setup_table', () => {
    const setup = (
      guest: BinaryGuest,
      fields: { nr_frames: number; frame_list: bigint; dom?: number },
    ) => {
      const va = guest.struct(gnttabSetupTable, { dom: DOMID_SELF, ...fields });
      const result = call(guest, GNTTABOP_setup_table, va, 1);
      return { result, status: guest.at(gnttabSetupTable, va).status };
    };
    const untouched = (guest: BinaryGuest) =>
      guest.bytes(new Uint8Array(4 * guest.wordBytes).fill(0xa5));

    it('grows the table and lists its frames as their domain names them', () => {
      const guest = one();
      if (guest.domain.translated) {
        new Hypercalls(guest.domain).addToPhysmap(XENMAPSPACE_grant_table, 0, 100);
      }
      const list = untouched(guest);
      expect(setup(guest, { nr_frames: 2, frame_list: BigInt(list) })).toEqual({
        result: 0,
        status: GNTST_okay,
      });
      const frames = [0, 1].map((i) => sharedFrameAt(guest.domain, i));
      const noGfn = guest.abi === 'i386' ? 0xffff_ffff : 2 ** 64;
      expect(guest.wordsAt(list, 2)).toEqual(guest.domain.translated ? [100, noGfn] : frames);
      expect([...guest.read(list + 2 * guest.wordBytes, 8)]).toEqual(Array(8).fill(0xa5));
    });

    it('a list that faults has the table grown, and a status of its own', () => {
      const guest = one();
      const va = guest.beforeEnd(guest.wordBytes);
      expect(setup(guest, { nr_frames: 3, frame_list: BigInt(va) })).toEqual({
        result: 0,
        status: GNTST_bad_virt_addr,
      });
      expect(nrGrantFrames(guest.domain)).toBe(3);
    });

    it('no frames need no list', () => {
      expect(setup(one(), { nr_frames: 0, frame_list: 0n })).toEqual({
        result: 0,
        status: GNTST_okay,
      });
    });

    it('over the limit is a status', () => {
      const guest = one();
      const frame_list = BigInt(untouched(guest));
      expect(setup(guest, { nr_frames: 65, frame_list }).status).toBe(GNTST_general_error);
      expect(setup(guest, { nr_frames: 1, frame_list, dom: 99 }).status).toBe(GNTST_bad_domain);
    });
  });

  it('a struct whose status cannot be written has been done all the same, and is -EFAULT', () => {
    const guest = one();
    // The fields are read from the last bytes of memory; the status would be written beyond them.
    const { size } = gnttabSetVersion[guest.abi];
    const va = guest.beforeEnd(size);
    guest.write(va, new Uint8Array([2, 0, 0, 0]));
    expect(call(guest, GNTTABOP_set_version, va, 1)).toBe(0);
    expect(grantVersion(guest.domain)).toBe(2);
    expect(call(guest, GNTTABOP_set_version, guest.beforeEnd(size - 1), 1)).toBe(-XEN_EFAULT);
  });

  it('query_size answers, and leaves the sizes alone where it does not', () => {
    const guest = one();
    const own = guest.struct(gnttabQuerySize, { dom: DOMID_SELF });
    const other = guest.struct(gnttabQuerySize, { dom: 99 });
    expect(call(guest, GNTTABOP_query_size, own, 1)).toBe(0);
    expect(guest.at(gnttabQuerySize, own)).toMatchObject({
      nr_frames: 1,
      max_nr_frames: 64,
      status: 0,
    });
    expect(call(guest, GNTTABOP_query_size, other, 1)).toBe(0);
    expect(guest.at(gnttabQuerySize, other)).toMatchObject({
      nr_frames: 0xa5a5_a5a5,
      max_nr_frames: 0xa5a5_a5a5,
      status: GNTST_bad_domain,
    });
  });

  it('set_version writes the version in force, also when it refuses', () => {
    const guest = one();
    const set = (version: number) => {
      const va = guest.struct(gnttabSetVersion, { version });
      return [call(guest, GNTTABOP_set_version, va, 7), guest.at(gnttabSetVersion, va).version];
    };
    expect([set(3), set(2), set(0), set(1)]).toEqual([
      [-XEN_EINVAL, 1],
      [0, 2],
      [-XEN_EINVAL, 2],
      [0, 1],
    ]);
  });

  it('get_version answers with a version, or an errno and an untouched field', () => {
    const [guest, other] = guests(kind, 2) as [BinaryGuest, BinaryGuest];
    const get = (dom: number) => {
      const va = guest.struct(gnttabGetVersion, { dom, pad: 0 });
      return [call(guest, GNTTABOP_get_version, va, 0), guest.at(gnttabGetVersion, va).version];
    };
    expect(get(DOMID_SELF)).toEqual([0, 1]);
    expect(get(other.id)).toEqual([-XEN_EPERM, 0xa5a5_a5a5]);
    expect(get(99)).toEqual([-XEN_ESRCH, 0xa5a5_a5a5]);
  });

  it('get_status_frames lists 64-bit frames under either ABI', () => {
    const guest = one();
    const version = guest.struct(gnttabSetVersion, { version: 2 });
    call(guest, GNTTABOP_set_version, version, 1);
    if (guest.domain.translated) {
      new Hypercalls(guest.domain).addToPhysmap(
        XENMAPSPACE_grant_table,
        XENMAPIDX_grant_table_status,
        100,
      );
    }
    const list = guest.bytes(new Uint8Array(16).fill(0xa5));
    const va = guest.struct(gnttabGetStatusFrames, {
      dom: DOMID_SELF,
      nr_frames: 1,
      frame_list: BigInt(list),
    });
    expect(call(guest, GNTTABOP_get_status_frames, va, 1)).toBe(0);
    expect(guest.at(gnttabGetStatusFrames, va).status).toBe(GNTST_okay);
    const view = new DataView(guest.read(list, 16).buffer);
    const frame = guest.domain.translated ? 100 : statusFrameAt(guest.domain, 0);
    expect(view.getBigUint64(0, true)).toBe(BigInt(frame));
    expect(view.getBigUint64(8, true)).toBe(0xa5a5_a5a5_a5a5_a5a5n);
  });

  it('transfer that is switched off is -EOPNOTSUPP, but a bad pointer comes first', () => {
    const [guest] = guests(kind, 1, { gnttab: { transfer: false } });
    const va = guest!.struct(gnttabTransfer, { mfn: BigInt(guest!.gmfn(3)), domid: 0, ref: 8 });
    expect(call(guest!, GNTTABOP_transfer, va, 1)).toBe(-XEN_EOPNOTSUPP);
    expect(guest!.at(gnttabTransfer, va).status).toBe(UNTOUCHED_STATUS);
    if (guest!.domain.translated) return;
    expect(call(guest!, GNTTABOP_transfer, NO_GUEST_ADDRESS[kind[1]], 1)).toBe(-XEN_EFAULT);
  });

  it('cache_flush that is switched off is -ENOSYS', () => {
    const [guest] = guests(kind, 1, { gnttab: { cacheFlush: false } });
    expect(call(guest!, GNTTABOP_cache_flush, NULL, 0)).toBe(-XEN_ENOSYS);
  });

  it('cache_flush with the bits of a continuation that never was is -EILSEQ', () => {
    const guest = one();
    const va = guest.struct(gnttabCacheFlush, {
      a: { dev_bus_addr: 0n },
      offset: 0,
      length: 0,
      op: 0,
    });
    expect(call(guest, GNTTABOP_cache_flush | 0x1000, va, 1)).toBe(-XEN_EILSEQ);
  });

  it('a version that is in use cannot be changed', () => {
    const guest = one();
    const set = guest.struct(gnttabSetVersion, { version: 2 });
    guest.entry(8, 1, guest.id, guest.gmfn(3));
    const map = guest.struct(gnttabMapGrantRef, {
      host_addr: BigInt(guest.window(0)),
      flags: 2,
      ref: 8,
      dom: guest.id,
    });
    call(guest, GNTTABOP_map_grant_ref, map, 1);
    expect(call(guest, GNTTABOP_set_version, set, 1)).toBe(-XEN_EBUSY);
    expect(guest.at(gnttabSetVersion, set).version).toBe(1);
  });
});

describe.each(pvKinds)('%s, %s: a list of frames that is no guest’s', (...kind) => {
  const frame_list = BigInt(NO_GUEST_ADDRESS[kind[1]]);

  it.each([DOMID_SELF, 99])('setup_table for domain %i: -EFAULT before anything else', (dom) => {
    const guest = guests(kind, 1)[0]!;
    const va = guest.struct(gnttabSetupTable, { dom, nr_frames: 2, frame_list });
    expect(call(guest, GNTTABOP_setup_table, va, 1)).toBe(-XEN_EFAULT);
    expect(guest.at(gnttabSetupTable, va).status).toBe(UNTOUCHED_STATUS);
    expect(nrGrantFrames(guest.domain)).toBe(1);
  });

  it.each([DOMID_SELF, 99])('get_status_frames for domain %i: likewise', (dom) => {
    const guest = guests(kind, 1)[0]!;
    const va = guest.struct(gnttabGetStatusFrames, { dom, nr_frames: 1, frame_list });
    expect(call(guest, GNTTABOP_get_status_frames, va, 1)).toBe(-XEN_EFAULT);
    expect(guest.at(gnttabGetStatusFrames, va).status).toBe(UNTOUCHED_STATUS);
  });
});
