/** GNTTABOP_unmap_and_replace (grant_table.h): a grant's mapping goes, and another page's comes in its place. */
import { PV_VA_BASE, PAGE_SIZE } from '@ringside/gnttab-core';
import {
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_handle,
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
} from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { checkMaptrack } from './invariants.ts';
import { three, windowOf, World } from './world.ts';

const REF = 8;
const rw = GNTMAP_host_map;
const none = { hstw: 0, hstr: 0, devw: 0, devr: 0 };
/** Page that the mapper puts in the place of the grant; its only mapping is the one that moves. */
const OWN_GFN = 4;

/** The granter's pages 0 and 1 for the mapper as REF and REF + 1; the first is mapped at window page 0. */
function mapped(flags: number = rw) {
  const all = three();
  const { granter, mapper } = all;
  for (const n of [0, 1]) {
    granter.entry(REF + n, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(n) });
  }
  const at = (n: number) => windowOf(mapper.domain, n);
  const map = (n: number, ref = REF, mapFlags = rw) =>
    mapper.map({ dom: granter.id, ref, flags: mapFlags, hostAddr: at(n) });
  const { handle, devBusAddr } = map(0, REF, flags);
  const own = PV_VA_BASE + OWN_GFN * PAGE_SIZE;
  const replace = (newAddr: number, hostAddr = at(0), which = handle) =>
    mapper.replace({ handle: which, hostAddr, newAddr });
  return { ...all, at, map, handle, devBusAddr, own, replace };
}

describe('the mapping of new_addr moves', () => {
  it.each([
    ['writable', rw],
    ['read-only', rw | GNTMAP_readonly],
  ])('to where the grant was, %s or not', (_, flags) => {
    const { world, granter, mapper, at, own, replace, handle } = mapped(flags);
    mapper.bytes(mapper.mfn(OWN_GFN))[7] = 77;
    expect(replace(own)).toBe(GNTST_okay);
    expect(mapper.peek(at(0) + 7)).toBe(77);
    expect(mapper.pte()).toEqual({ frame: mapper.mfn(OWN_GFN), writable: true, foreign: false });
    expect(() => mapper.peek(own)).toThrow(/not.present/);
    // It is the same mapping as before, and the grant's is gone.
    expect(mapper.extraReferences(OWN_GFN)).toBe(0);
    expect(world.typeCount(mapper.mfn(OWN_GFN))).toBe(1);
    expect(granter.extraReferences(0)).toBe(0);
    expect(world.typeCount(granter.mfn(0))).toBe(1);
    expect(granter.pin(REF)).toEqual(none);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
    expect(mapper.unmap({ handle, hostAddr: at(0) })).toBe(GNTST_bad_handle);
    checkMaptrack(mapper, []);
  });

  it('keeps its access', () => {
    const { mapper, at, own, replace } = mapped();
    mapper.hypercalls.updateVaMapping(own, mapper.mfn(OWN_GFN), false);
    expect(replace(own)).toBe(GNTST_okay);
    expect(() => mapper.poke(at(0), 1)).toThrow(/read.only/);
  });

  it('may be another grant’s, whose handle is unmapped there afterwards', () => {
    const { granter, mapper, at, map, replace } = mapped();
    const second = map(1, REF + 1);
    expect(replace(at(1))).toBe(GNTST_okay);
    expect(mapper.pte(0)).toMatchObject({ frame: granter.mfn(1), foreign: true });
    expect(granter.pin(REF + 1).hstw).toBe(1);
    expect(mapper.unmap({ handle: second.handle, hostAddr: at(1) })).toBe(GNTST_general_error);
    expect(mapper.unmap({ handle: second.handle, hostAddr: at(0) })).toBe(GNTST_okay);
    expect(granter.extraReferences(1)).toBe(0);
    checkMaptrack(mapper, []);
  });

  it('may be none: then this is an unmap', () => {
    const { granter, mapper, at, replace } = mapped();
    expect(replace(at(9))).toBe(GNTST_okay);
    expect(mapper.pte()).toBeUndefined();
    expect(granter.pin(REF)).toEqual(none);
  });

  it('with new_addr 0 it is an unmap too', () => {
    const { granter, mapper, replace } = mapped();
    expect(replace(0)).toBe(GNTST_okay);
    expect(mapper.pte()).toBeUndefined();
    expect(granter.pin(REF)).toEqual(none);
  });
});

describe('when it fails (SEMANTICS 15)', () => {
  const cases: [
    name: string,
    make: (all: ReturnType<typeof mapped>) => number,
    status: number,
    donor: 'stays' | 'is gone',
  ][] = [
    [
      'a handle never given out',
      (all) => all.replace(all.own, all.at(0), 77),
      GNTST_bad_handle,
      'stays',
    ],
    [
      'a handle beyond the table',
      (all) => all.replace(all.own, all.at(0), 0xffff_ffff),
      GNTST_bad_handle,
      'stays',
    ],
    ['no host_addr: nothing is to be done', (all) => all.replace(all.own, 0), GNTST_okay, 'stays'],
    [
      'nothing at host_addr',
      (all) => all.replace(all.own, all.at(5)),
      GNTST_general_error,
      'is gone',
    ],
    [
      'an own page at host_addr',
      (all) => all.replace(all.own, PV_VA_BASE),
      GNTST_general_error,
      'is gone',
    ],
    [
      'no page table at host_addr',
      (all) => all.replace(all.own, 8),
      GNTST_general_error,
      'is gone',
    ],
    ['no page table at new_addr', (all) => all.replace(8), GNTST_general_error, 'stays'],
  ];
  it.each(cases)('%s', (_, make, status, donor) => {
    const all = mapped();
    const { granter, mapper, own, handle, at } = all;
    expect(make(all)).toBe(status);
    // Own page: one mapping, or only its allocation.
    expect(mapper.extraReferences(OWN_GFN)).toBe(donor === 'stays' ? 0 : -1);
    if (donor === 'stays') expect(mapper.peek(own)).toBe(0);
    else expect(() => mapper.peek(own)).toThrow(/not.present/);
    expect(granter.pin(REF)).toEqual({ ...none, hstw: 1 });
    expect(granter.extraReferences(0)).toBe(1);
    checkMaptrack(mapper, [handle]);
    expect(mapper.unmap({ handle, hostAddr: at(0) })).toBe(GNTST_okay);
  });

  it('new_addr is host_addr: the mapping is gone, and the handle can never be unmapped', () => {
    const { granter, mapper, at, handle, replace } = mapped();
    expect(replace(at(0))).toBe(GNTST_general_error);
    expect(mapper.pte()).toBeUndefined();
    expect(granter.extraReferences(0)).toBe(0);
    expect(granter.pin(REF)).toEqual({ ...none, hstw: 1 });
    expect(mapper.unmap({ handle, hostAddr: at(0) })).toBe(GNTST_general_error);
    mapper.destroy();
    expect(granter.pin(REF)).toEqual(none);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
  });

  it('a writable mapping is not a read-only one’s handle’s', () => {
    const { mapper, map, at, handle, own, replace } = mapped();
    const reader = map(1, REF, rw | GNTMAP_readonly);
    expect(replace(own, at(1))).toBe(GNTST_general_error);
    expect(mapper.unmap({ handle: reader.handle, hostAddr: at(0) })).toBe(GNTST_general_error);
    expect(mapper.unmap({ handle, hostAddr: at(0) })).toBe(GNTST_okay);
  });
});

it('the device half stays', () => {
  const { granter, mapper, own, devBusAddr, handle, replace } = mapped(rw | GNTMAP_device_map);
  expect(replace(own)).toBe(GNTST_okay);
  expect(granter.pin(REF)).toEqual({ ...none, devw: 1 });
  expect(granter.extraReferences(0)).toBe(1);
  expect(mapper.unmap({ handle, devBusAddr })).toBe(GNTST_okay);
  expect(granter.pin(REF)).toEqual(none);
});

it('the host half of a device mapping is not there: nothing is done', () => {
  const { granter, mapper, own, handle, replace } = mapped(GNTMAP_device_map);
  expect(replace(own)).toBe(GNTST_okay);
  expect(mapper.peek(own)).toBe(0);
  expect(granter.pin(REF)).toEqual({ ...none, devw: 1 });
  checkMaptrack(mapper, [handle]);
});

describe('a translated mapper', () => {
  it('has no page table entry to move', () => {
    const world = new World();
    const [granter, mapper] = [world.domain(), world.domain({ type: 'translated' })];
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    const hostAddr = windowOf(mapper.domain);
    const { handle } = mapper.map({ dom: granter.id, ref: REF, flags: rw, hostAddr });
    const own = OWN_GFN * PAGE_SIZE;
    expect(mapper.replace({ handle, hostAddr, newAddr: own })).toBe(GNTST_general_error);
    expect(mapper.peek(own)).toBe(0);
    expect(mapper.peek(hostAddr)).toBe(0);
    expect(mapper.replace({ handle, hostAddr, newAddr: 0 })).toBe(GNTST_okay);
    expect(() => mapper.peek(hostAddr)).toThrow(/not.present/);
    expect(granter.pin(REF)).toEqual(none);
  });
});
