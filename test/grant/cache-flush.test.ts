/** GNTTABOP_cache_flush (grant_table.h), as x86 has it up to Xen 4.20. */
import { PAGE_SIZE } from '@ringside/gnttab-core';
import {
  __HYPERVISOR_grant_table_op,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_okay,
  GNTTAB_CACHE_CLEAN,
  GNTTAB_CACHE_INVAL,
  GNTTAB_CACHE_SOURCE_GREF,
  gnttabCacheFlush,
  GNTTABOP_cache_flush,
  GTF_permit_access,
  XEN_EILSEQ,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
} from '@ringside/gnttab-core/abi';
import { cacheFlush, GnttabCacheFlush } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { guests, preemptAlways } from '../hypercall/binary-guest.ts';
import { type Actor, three, windowOf, World } from './world.ts';

const REF = 8;
const CLEAN = GNTTAB_CACHE_CLEAN;
const INVAL = GNTTAB_CACHE_INVAL;

/** Flushes `length` bytes of a machine frame, or continues to. */
function flush(actor: Actor, mfn: number, op: Partial<GnttabCacheFlush> = {}, startRef = 0) {
  const whole = { devBusAddr: mfn * PAGE_SIZE, length: PAGE_SIZE, op: CLEAN };
  return cacheFlush(actor.domain, Object.assign(new GnttabCacheFlush(), whole, op), startRef);
}

describe('a range of an own page', () => {
  it.each([
    { name: 'the whole page', offset: 0, length: 4096, op: CLEAN, result: 0 },
    { name: 'its last byte', offset: 4095, length: 1, op: CLEAN, result: 0 },
    { name: 'clean and invalidate', offset: 0, length: 64, op: CLEAN | INVAL, result: 0 },
    { name: 'invalidate alone', offset: 0, length: 64, op: INVAL, result: -XEN_EOPNOTSUPP },
    { name: 'no operation', offset: 0, length: 64, op: 0, result: 0 },
    { name: 'no bytes', offset: 4095, length: 0, op: CLEAN, result: 0 },
    { name: 'over the end', offset: 4095, length: 2, op: CLEAN, result: -XEN_EINVAL },
    { name: 'from the end on', offset: 4096, length: 0, op: CLEAN, result: -XEN_EINVAL },
    { name: 'longer than a page', offset: 0, length: 4097, op: CLEAN, result: -XEN_EINVAL },
    { name: 'very long', offset: 0xffff, length: 0xffff, op: CLEAN, result: -XEN_EINVAL },
    { name: 'an unknown operation', offset: 0, length: 0, op: 4, result: -XEN_EINVAL },
    // No file of x86 knows it: the mask refuses it first (SEMANTICS 30).
    {
      name: 'by reference',
      offset: 0,
      length: 64,
      op: (CLEAN | GNTTAB_CACHE_SOURCE_GREF) >>> 0,
      result: -XEN_EINVAL,
    },
  ])('$name: $result', ({ result, ...op }) => {
    const actor = new World().domain();
    expect(flush(actor, actor.mfn(0), op)).toBe(result);
  });

  it('the offset in the bus address is not looked at', () => {
    const actor = new World().domain();
    expect(flush(actor, 0, { devBusAddr: actor.mfn(0) * PAGE_SIZE + 4095 })).toBe(0);
  });
});

describe('whose page', () => {
  it('nobody’s, or none at all', () => {
    const world = new World();
    const [actor, dead] = [world.domain(), world.domain()];
    const mfn = dead.mfn(0);
    dead.destroy();
    expect(flush(actor, mfn)).toBe(-XEN_EPERM);
    expect(flush(actor, 4096)).toBe(-XEN_EINVAL); // beyond the machine's memory
    expect(flush(actor, 2 ** 52 - 1)).toBe(-XEN_EINVAL);
    expect(flush(actor, 4096, { length: 0 })).toBe(0); // nothing to do is fine anywhere
  });

  it('another domain’s takes a grant of it that the caller has pinned', () => {
    const { granter, mapper, other } = three();
    const mfn = granter.mfn(0);
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: mfn });
    expect(flush(mapper, mfn)).toBe(-XEN_EINVAL); // granted is not enough
    const hostAddr = windowOf(mapper.domain);
    const { handle } = mapper.map({ dom: granter.id, ref: REF, flags: GNTMAP_host_map, hostAddr });
    expect(flush(mapper, mfn)).toBe(0);
    expect(flush(mapper, mfn, { op: INVAL })).toBe(-XEN_EOPNOTSUPP);
    expect(flush(mapper, granter.mfn(1))).toBe(-XEN_EINVAL); // another page
    expect(flush(other, mfn)).toBe(-XEN_EINVAL); // another domain
    granter.entry(REF, { flags: 0, domid: 0, frame: 0 }); // what is pinned counts
    expect(flush(mapper, mfn)).toBe(0);
    mapper.unmap({ handle, hostAddr });
    expect(flush(mapper, mfn)).toBe(-XEN_EINVAL);
  });

  it.each([
    ['read-only', GNTMAP_host_map | GNTMAP_readonly],
    ['for a device', GNTMAP_device_map],
  ])('any pin will do: %s', (_, flags) => {
    const { granter, mapper } = three();
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.mfn(0) });
    const hostAddr = windowOf(mapper.domain);
    expect(mapper.map({ dom: granter.id, ref: REF, flags, hostAddr }).status).toBe(GNTST_okay);
    expect(flush(mapper, granter.mfn(0))).toBe(0);
  });
});

describe('a long search', () => {
  /** A table of 16 frames, 8192 entries, and the one with this reference mapped. */
  function pinnedAt(ref: number) {
    const { granter, mapper } = three();
    granter.hypercalls.setupTable(16);
    granter.entry(ref, { flags: GTF_permit_access, domid: mapper.id, frame: granter.mfn(0) });
    const hostAddr = windowOf(mapper.domain);
    mapper.map({ dom: granter.id, ref, flags: GNTMAP_host_map, hostAddr });
    return { granter, mapper };
  }

  it.each([0, 4095, 4096, 8191])('finds reference %i', (ref) => {
    const { granter, mapper } = pinnedAt(ref);
    expect(flush(mapper, granter.mfn(0))).toBe(0);
  });

  it('pauses every 4096 references where others want a turn, and goes on from there', () => {
    const { granter, mapper } = pinnedAt(5000);
    granter.machine.preemptCheck = () => true;
    expect(flush(mapper, granter.mfn(0))).toBe(4096);
    expect(flush(mapper, granter.mfn(0), {}, 4096)).toBe(0);
    expect(flush(mapper, granter.mfn(1), {}, 4096)).toBe(-XEN_EINVAL);
  });

  it('continues nothing that was done at once', () => {
    const { granter, mapper } = pinnedAt(0);
    expect(flush(mapper, granter.mfn(0), { length: 0 }, 4096)).toBe(-XEN_EILSEQ);
  });
});

describe('a batch', () => {
  /** The guest flushes pages of its own, and one of nobody's where `bad` says so. */
  function call(bad: number, options = {}) {
    const [guest] = guests(['pv', 'x86_64'], 1, options) as [ReturnType<typeof guests>[number]];
    const ops = Array.from({ length: 4 }, (_, i) => ({
      a: { dev_bus_addr: BigInt((i === bad ? 2 ** 30 : guest.mfn(i)) * PAGE_SIZE) },
      offset: 0,
      length: 4096,
      op: i > bad ? INVAL : CLEAN,
    }));
    const va = guest.array(gnttabCacheFlush, ops);
    const { machine } = guest;
    const run = () => guest.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_cache_flush, va, 4);
    return { machine, run };
  }

  it.each([
    ['good', 9, 0],
    ['ends at the first that fails', 1, -XEN_EINVAL],
    ['or at the last', 3, -XEN_EINVAL],
  ])('%s, preempted or not', (_, bad, result) => {
    expect(call(bad).run()).toBe(result);
    const { machine, run } = call(bad);
    const times = preemptAlways(machine);
    expect(run()).toBe(result);
    expect(times()).toBeGreaterThan(0);
  });

  it('later Xens have it no more on x86', () => {
    expect(call(9, { gnttab: { cacheFlush: false } }).run()).toBe(-XEN_ENOSYS);
  });
});
