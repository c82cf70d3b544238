/** The array operations of grant_table_op: what comes back where, faults in the middle, and pauses that nobody notices. */
import { PAGE_SIZE } from '@ringside/gnttab-core';
import {
  __HYPERVISOR_grant_table_op,
  DOMID_SELF,
  GNTCOPY_source_gref,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_gntref,
  GNTST_bad_handle,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  gnttabCacheFlush,
  gnttabCopy,
  gnttabMapGrantRef,
  GNTTAB_CACHE_CLEAN,
  GNTTABOP_cache_flush,
  GNTTABOP_copy,
  GNTTABOP_map_grant_ref,
  GNTTABOP_setup_table,
  GNTTABOP_swap_grant_ref,
  GNTTABOP_transfer,
  GNTTABOP_unmap_and_replace,
  GNTTABOP_unmap_grant_ref,
  gnttabSetupTable,
  gnttabSwapGrantRef,
  gnttabTransfer,
  gnttabUnmapAndReplace,
  gnttabUnmapGrantRef,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_reading,
  XEN_EFAULT,
  XEN_EINVAL,
} from '@ringside/gnttab-core/abi';
import { mapOwnFrame, pteAddress } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import {
  type BinaryGuest,
  guests,
  type Kind,
  kinds,
  preemptAlways,
  preemptOnce,
  pvKinds,
  UNTOUCHED_STATUS,
} from './binary-guest.ts';

const REF = 8;
const UNTOUCHED = 0xa5a5_a5a5;
const UNTOUCHED_64 = 0xa5a5_a5a5_a5a5_a5a5n;

const call = (guest: BinaryGuest, op: number, uop: number, count: number): number =>
  guest.hypercall(__HYPERVISOR_grant_table_op, op, uop, count);

/** A granter whose page 3 a mapper may map, with a pattern in it. */
function pair(kind: Kind) {
  const [granter, mapper] = guests(kind, 2) as [BinaryGuest, BinaryGuest];
  granter.entry(REF, GTF_permit_access, mapper.id, granter.gmfn(3));
  granter.write(
    granter.page(3),
    Uint8Array.from({ length: PAGE_SIZE }, (_, i) => i),
  );
  return { granter, mapper, machine: granter.machine };
}

const mapOf = (granter: BinaryGuest, mapper: BinaryGuest, n: number, ref = REF) => ({
  host_addr: BigInt(mapper.window(n)),
  flags: GNTMAP_host_map | GNTMAP_readonly,
  ref,
  dom: granter.id,
});

const copyOf = (granter: BinaryGuest, mapper: BinaryGuest, i: number, ref = REF) => ({
  source: { u: { ref }, domid: granter.id, offset: 16 * i },
  dest: { u: { gmfn: BigInt(mapper.gmfn(1)) }, domid: DOMID_SELF, offset: 16 * i },
  len: 16,
  flags: GNTCOPY_source_gref,
});

/** Maps the grant at the first `count` windows; the handles. */
function mapped(granter: BinaryGuest, mapper: BinaryGuest, count: number): number[] {
  const ops = Array.from({ length: count }, (_, n) => mapOf(granter, mapper, n));
  const va = mapper.array(gnttabMapGrantRef, ops);
  expect(call(mapper, GNTTABOP_map_grant_ref, va, count)).toBe(0);
  return ops.map((_, i) => mapper.at(gnttabMapGrantRef, va, i).handle);
}

describe.each(kinds)('%s, %s', (...kind) => {
  describe('map_grant_ref', () => {
    it('gives a handle and an address for DMA, and maps', () => {
      const { granter, mapper } = pair(kind);
      const va = mapper.struct(gnttabMapGrantRef, mapOf(granter, mapper, 0));
      expect(call(mapper, GNTTABOP_map_grant_ref, va, 1)).toBe(0);
      expect(mapper.at(gnttabMapGrantRef, va)).toMatchObject({
        status: GNTST_okay,
        dev_bus_addr: BigInt(granter.mfn(3)) << 12n,
        handle: 0,
      });
      expect([...mapper.read(mapper.window(0), 4)]).toEqual([0, 1, 2, 3]);
      expect(granter.flags(REF)).toBe(GTF_permit_access | GTF_reading);
    });

    it('a failure leaves handle and address alone, and stops nothing', () => {
      const { granter, mapper } = pair(kind);
      const va = mapper.array(gnttabMapGrantRef, [
        mapOf(granter, mapper, 0, 9),
        mapOf(granter, mapper, 1, 99_999),
        mapOf(granter, mapper, 2),
      ]);
      expect(call(mapper, GNTTABOP_map_grant_ref, va, 3)).toBe(0);
      const untouched = { handle: UNTOUCHED, dev_bus_addr: UNTOUCHED_64 };
      expect(mapper.at(gnttabMapGrantRef, va, 0)).toMatchObject({
        status: GNTST_general_error,
        ...untouched,
      });
      expect(mapper.at(gnttabMapGrantRef, va, 1)).toMatchObject({
        status: GNTST_bad_gntref,
        ...untouched,
      });
      expect(mapper.at(gnttabMapGrantRef, va, 2).status).toBe(GNTST_okay);
    });

    it.each([0, 1, 2, 3])('memory that ends behind element %i: that many are done', (within) => {
      const { granter, mapper } = pair(kind);
      const ops = [0, 1, 2, 3].map((n) => mapOf(granter, mapper, n));
      const va = mapper.arrayAtEnd(gnttabMapGrantRef, ops, within);
      expect(call(mapper, GNTTABOP_map_grant_ref, va, 4)).toBe(-XEN_EFAULT);
      for (let i = 0; i < within; i++) {
        expect(mapper.at(gnttabMapGrantRef, va, i)).toMatchObject({ status: 0, handle: i });
      }
      const visible = (n: number) => () => mapper.read(mapper.window(n), 1);
      for (let n = 0; n < within; n++) expect(visible(n)).not.toThrow();
      expect(visible(within)).toThrow('not-present');
    });
  });

  describe('unmap_grant_ref', () => {
    it('takes the mapping away and writes nothing but the status', () => {
      const { granter, mapper } = pair(kind);
      const [handle] = mapped(granter, mapper, 1);
      const op = { host_addr: BigInt(mapper.window(0)), dev_bus_addr: 0n, handle: handle! };
      const va = mapper.array(gnttabUnmapGrantRef, [op, op]);
      expect(call(mapper, GNTTABOP_unmap_grant_ref, va, 2)).toBe(0);
      expect(mapper.at(gnttabUnmapGrantRef, va, 0)).toEqual({ ...op, status: GNTST_okay });
      expect(mapper.at(gnttabUnmapGrantRef, va, 1)).toEqual({ ...op, status: GNTST_bad_handle });
      expect(granter.flags(REF)).toBe(GTF_permit_access);
    });

    it('a fault in the middle: what came before is unmapped for good', () => {
      const { granter, mapper } = pair(kind);
      const ops = mapped(granter, mapper, 2).map((handle, n) => ({
        host_addr: BigInt(mapper.window(n)),
        dev_bus_addr: 0n,
        handle,
      }));
      const va = mapper.arrayAtEnd(gnttabUnmapGrantRef, ops, 1);
      expect(call(mapper, GNTTABOP_unmap_grant_ref, va, 2)).toBe(-XEN_EFAULT);
      expect(mapper.at(gnttabUnmapGrantRef, va).status).toBe(GNTST_okay);
      expect(() => mapper.read(mapper.window(0), 1)).toThrow('not-present');
      expect(mapper.read(mapper.window(1), 1)).toHaveLength(1);
      expect(granter.flags(REF)).toBe(GTF_permit_access | GTF_reading);
    });
  });

  describe('copy', () => {
    it('decodes both sides, by reference and by frame', () => {
      const { granter, mapper } = pair(kind);
      const va = mapper.array(gnttabCopy, [
        copyOf(granter, mapper, 2),
        copyOf(granter, mapper, 3, 9),
      ]);
      expect(call(mapper, GNTTABOP_copy, va, 2)).toBe(0);
      expect(mapper.at(gnttabCopy, va, 0).status).toBe(GNTST_okay);
      expect(mapper.at(gnttabCopy, va, 1).status).toBe(GNTST_general_error);
      expect([...mapper.read(mapper.page(1) + 30, 4)]).toEqual([0, 0, 32, 33]);
      expect([...mapper.read(mapper.page(1) + 48, 1)]).toEqual([0]);
    });

    it('a copy over its own arguments: they were read once, and only the status is written', () => {
      const { granter, mapper } = pair(kind);
      const { size, offset } = gnttabCopy[kind[1]];
      const va = mapper.page(1);
      const op = mapper.struct(gnttabCopy, { ...copyOf(granter, mapper, 0), len: size });
      mapper.write(va, mapper.read(op, size));
      expect(call(mapper, GNTTABOP_copy, va, 1)).toBe(0);
      const expected = Uint8Array.from({ length: size }, (_, i) => i);
      expected.set([0, 0], offset.status);
      expect([...mapper.read(va, size)]).toEqual([...expected]);
    });

    it('a fault in the middle leaves no grant pinned', () => {
      const { granter, mapper } = pair(kind);
      const ops = [0, 1].map((i) => copyOf(granter, mapper, i));
      const va = mapper.arrayAtEnd(gnttabCopy, ops, 1);
      expect(call(mapper, GNTTABOP_copy, va, 2)).toBe(-XEN_EFAULT);
      expect(mapper.at(gnttabCopy, va).status).toBe(GNTST_okay);
      expect(granter.flags(REF)).toBe(GTF_permit_access);
    });
  });

  it('swap_grant_ref swaps', () => {
    const { granter } = pair(kind);
    const va = granter.array(gnttabSwapGrantRef, [
      { ref_a: REF, ref_b: 9 },
      { ref_a: 9, ref_b: 99_999 },
    ]);
    expect(call(granter, GNTTABOP_swap_grant_ref, va, 2)).toBe(0);
    expect(granter.at(gnttabSwapGrantRef, va, 0).status).toBe(GNTST_okay);
    expect(granter.at(gnttabSwapGrantRef, va, 1).status).toBe(GNTST_bad_gntref);
    expect([granter.flags(REF), granter.flags(9)]).toEqual([0, GTF_permit_access]);
  });

  it('transfer takes frame numbers as wide as the ABI has them', () => {
    const { granter, mapper } = pair(kind);
    const huge = kind[1] === 'i386' ? 0xffff_ffffn : 2n ** 63n + BigInt(granter.gmfn(3));
    const va = granter.struct(gnttabTransfer, { mfn: huge, domid: mapper.id, ref: REF });
    expect(call(granter, GNTTABOP_transfer, va, 1)).toBe(0);
    expect(granter.at(gnttabTransfer, va).status).toBe(GNTST_bad_page);
    expect(granter.domain.totPages).toBe(16);
  });

  describe('cache_flush', () => {
    const own = (guest: BinaryGuest, length = 64) => ({
      a: { dev_bus_addr: BigInt(guest.mfn(1)) << 12n },
      offset: 0,
      length,
      op: GNTTAB_CACHE_CLEAN,
    });

    it('ends with its first error', () => {
      const { granter, mapper } = pair(kind);
      const foreign = { ...own(mapper), a: own(granter).a };
      const list = (...ops: ReturnType<typeof own>[]) =>
        call(mapper, GNTTABOP_cache_flush, mapper.array(gnttabCacheFlush, ops), ops.length);
      expect(list(own(mapper), own(mapper))).toBe(0);
      expect(list(own(mapper), foreign, own(mapper))).toBe(-XEN_EINVAL);
      expect(list(own(mapper), own(mapper, 5000), foreign)).toBe(-XEN_EINVAL);
    });

    it('searches a large table in several legs', () => {
      const { granter, mapper, machine } = pair(kind);
      const list = granter.words(Array<number>(12).fill(0));
      const setup = { dom: DOMID_SELF, nr_frames: 12, frame_list: BigInt(list) };
      const table = granter.struct(gnttabSetupTable, setup);
      expect(call(granter, GNTTABOP_setup_table, table, 1)).toBe(0);
      granter.entry(6000, GTF_permit_access, mapper.id, granter.gmfn(3));
      const map = mapper.struct(gnttabMapGrantRef, mapOf(granter, mapper, 0, 6000));
      call(mapper, GNTTABOP_map_grant_ref, map, 1);
      const flush = (mfn: number) =>
        mapper.struct(gnttabCacheFlush, {
          ...own(mapper),
          a: { dev_bus_addr: BigInt(mfn) << 12n },
        });
      const [found, not] = [flush(granter.mfn(3)), flush(granter.mfn(4))];
      const times = preemptAlways(machine);
      expect(call(mapper, GNTTABOP_cache_flush, found, 1)).toBe(0);
      expect(times()).toBe(1);
      expect(call(mapper, GNTTABOP_cache_flush, not, 1)).toBe(-XEN_EINVAL);
    });
  });

  describe('a pause is not noticed', () => {
    const COUNT = 6;

    /** Results and memory of a batch of maps, copies and unmaps, with the machine yielding in some way. */
    function everything(arrange: (machine: BinaryGuest['machine']) => unknown): unknown {
      const { granter, mapper, machine } = pair(kind);
      arrange(machine);
      const maps = Array.from({ length: COUNT }, (_, n) =>
        mapOf(granter, mapper, n, n === 2 ? 9 : REF),
      );
      const mapVa = mapper.array(gnttabMapGrantRef, maps);
      const results = [call(mapper, GNTTABOP_map_grant_ref, mapVa, COUNT)];
      const copies = maps.map((_, i) => copyOf(granter, mapper, i, i === 3 ? 9 : REF));
      const copyVa = mapper.array(gnttabCopy, copies);
      results.push(call(mapper, GNTTABOP_copy, copyVa, COUNT));
      const unmaps = maps.map((_, n) => ({
        host_addr: BigInt(mapper.window(n)),
        dev_bus_addr: 0n,
        handle: mapper.at(gnttabMapGrantRef, mapVa, n).handle,
      }));
      const unmapVa = mapper.array(gnttabUnmapGrantRef, unmaps);
      results.push(call(mapper, GNTTABOP_unmap_grant_ref, unmapVa, COUNT));
      const swaps = maps.map((_, i) => ({ ref_a: REF, ref_b: 9 + i }));
      const swapVa = granter.array(gnttabSwapGrantRef, swaps);
      results.push(call(granter, GNTTABOP_swap_grant_ref, swapVa, COUNT));
      return {
        results,
        structs: [...mapper.read(mapper.page(8), 2 * PAGE_SIZE)],
        copied: [...mapper.read(mapper.page(1), 16 * COUNT)],
        swapped: [...granter.read(granter.page(8), PAGE_SIZE)],
        flags: maps.map((_, i) => granter.flags(REF + i)),
      };
    }
    const undisturbed = everything(() => {});

    it.each(Array.from({ length: 3 * COUNT }, (_, i) => i + 1))('at chance %i', (nth) => {
      expect(everything((machine) => preemptOnce(machine, nth))).toEqual(undisturbed);
    });

    it('at every chance', () => {
      let times = () => 0;
      expect(everything((machine) => (times = preemptAlways(machine)))).toEqual(undisturbed);
      // Between the elements of maps, copies and swaps; unmaps yield between 32 and the next only.
      expect(times()).toBe(3 * (COUNT - 1));
    });

    it('unmapping yields after 32', () => {
      const { granter, mapper, machine } = pair(kind);
      const ops = mapped(granter, mapper, 70).map((handle, n) => ({
        host_addr: BigInt(mapper.window(n)),
        dev_bus_addr: 0n,
        handle,
      }));
      const va = mapper.array(gnttabUnmapGrantRef, ops);
      const times = preemptAlways(machine);
      expect(call(mapper, GNTTABOP_unmap_grant_ref, va, 70)).toBe(0);
      expect(times()).toBe(2);
      for (let i = 0; i < 70; i++) expect(mapper.at(gnttabUnmapGrantRef, va, i).status).toBe(0);
      expect(granter.flags(REF)).toBe(GTF_permit_access);
    });
  });
});

describe.each(pvKinds)('%s, %s', (...kind) => {
  it('unmap_and_replace puts another mapping in the place', () => {
    const { granter, mapper } = pair(kind);
    const [handle] = mapped(granter, mapper, 1);
    const spare = mapper.window(9);
    mapper.write(mapper.page(2), new Uint8Array([0x42]));
    mapOwnFrame(mapper.domain, pteAddress(mapper.domain, spare), mapper.mfn(2), true);
    const op = { host_addr: BigInt(mapper.window(0)), new_addr: BigInt(spare), handle: handle! };
    const va = mapper.array(gnttabUnmapAndReplace, [op, op]);
    expect(call(mapper, GNTTABOP_unmap_and_replace, va, 2)).toBe(0);
    expect(mapper.at(gnttabUnmapAndReplace, va, 0).status).toBe(GNTST_okay);
    expect(mapper.at(gnttabUnmapAndReplace, va, 1).status).toBe(GNTST_bad_handle);
    expect([...mapper.read(mapper.window(0), 1)]).toEqual([0x42]);
    expect(() => mapper.read(spare, 1)).toThrow('not-present');
  });

  it('transfer hands frames over, one after the other, up to a fault', () => {
    const [giver, receiver] = guests(kind, 2) as [BinaryGuest, BinaryGuest];
    const frames = [1, 2, 3].map((gfn) => giver.unmapped(gfn));
    frames.forEach((_, i) => receiver.entry(REF + i, GTF_accept_transfer, giver.id, 0));
    const ops = frames.map((mfn, i) => ({ mfn: BigInt(mfn), domid: receiver.id, ref: REF + i }));
    const va = giver.arrayAtEnd(gnttabTransfer, ops, 2);
    preemptAlways(giver.machine);
    expect(call(giver, GNTTABOP_transfer, va, 3)).toBe(-XEN_EFAULT);
    expect(frames.map((mfn) => giver.owner(mfn))).toEqual([receiver.id, receiver.id, giver.id]);
    expect([0, 1].map((i) => giver.at(gnttabTransfer, va, i).status)).toEqual([0, 0]);
    expect(receiver.flags(REF + 2)).toBe(GTF_accept_transfer);
  });

  it('a status is all that a transfer writes', () => {
    const [giver] = guests(kind, 1);
    const op = { mfn: BigInt(giver!.mfn(1)), domid: 7, ref: 8 };
    const va = giver!.struct(gnttabTransfer, op);
    expect(giver!.at(gnttabTransfer, va).status).toBe(UNTOUCHED_STATUS);
    expect(call(giver!, GNTTABOP_transfer, va, 1)).toBe(0);
    expect(giver!.at(gnttabTransfer, va)).toEqual({ ...op, status: GNTST_bad_page });
  });
});
