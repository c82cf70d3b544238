/**
 * A PV guest overwrites the page table entry of a mapped grant. grant_table.h (GNTTABOP_map_grant_ref, note 3): the pin
 * stays. The usage document of 2005 ("Map tracking"): the first matching map track entry is removed, as if unmap had been
 * invoked.
 */
import { freePages, PAGE_SIZE, PV_VA_BASE } from '@ringside/gnttab-core';
import {
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_handle,
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
  GTF_reading,
  GTF_writing,
  XEN_EINVAL,
} from '@ringside/gnttab-core/abi';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkFrames, checkMaptrack, taken } from './invariants.ts';
import { type Actor, windowOf, World } from './world.ts';

const REF = 8;
const rw = GNTMAP_host_map;
const ro = GNTMAP_host_map | GNTMAP_readonly;
const none = { hstw: 0, hstr: 0, devw: 0, devr: 0 };
const inUse = GTF_permit_access | GTF_reading | GTF_writing;

/** The granter's pages 0 and 1 for the mapper, whose domain has the rule or not. */
function granted(unmapOnOverwrite: boolean) {
  const world = new World();
  taken(world.machine);
  const granter = world.domain();
  const mapper = world.domain({ unmapOnOverwrite });
  for (const n of [0, 1]) {
    granter.entry(REF + n, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(n) });
  }
  const at = (n: number) => windowOf(mapper.domain, n);
  const map = (n: number, flags = rw, ref = REF) =>
    mapper.map({ dom: granter.id, ref, flags, hostAddr: at(n) });
  const write = (n: number, mfn: number | null) =>
    mapper.hypercalls.updateVaMapping(at(n), mfn, mfn !== null);
  const unmap = (handle: number, n: number) => mapper.unmap({ handle, hostAddr: at(n) });
  return { world, granter, mapper, at, map, write, unmap };
}
type Granted = ReturnType<typeof granted>;

/** The ways to overwrite the entry of window page 0. */
const ways: [name: string, overwrite: (all: Granted) => number][] = [
  ['clearing it', ({ write }) => write(0, null)],
  ['mapping an own page', ({ write, mapper }) => write(0, mapper.mfn(3))],
  ['mapping another grant', ({ map }) => map(0, rw, REF + 1).status],
];

describe('today', () => {
  it.each(ways)('%s ends the mapping and not its pin', (_, overwrite) => {
    const all = granted(false);
    const { granter, mapper, map, unmap } = all;
    const { handle } = map(0);
    expect(overwrite(all)).toBe(0);
    expect(granter.extraReferences(0)).toBe(0);
    expect(granter.pin(REF)).toEqual({ ...none, hstw: 1 });
    expect(granter.flags(REF)).toBe(inUse);
    expect(unmap(handle, 0)).toBe(GNTST_general_error);
    mapper.destroy();
    expect(granter.pin(REF)).toEqual(none);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
  });

  it('a handle whose mapping is gone can be unmapped where another of the page is (SEMANTICS 11, 14)', () => {
    const { granter, mapper, map, write, unmap } = granted(false);
    const [first, second] = [map(0), map(1)];
    write(0, null);
    expect(unmap(first.handle, 1)).toBe(GNTST_okay);
    expect(unmap(second.handle, 1)).toBe(GNTST_general_error);
    expect(granter.pin(REF).hstw).toBe(1);
    checkMaptrack(mapper, [second.handle]);
  });

  it('mapping the same grant over itself leaves one mapping and two pins', () => {
    const { granter, map, unmap } = granted(false);
    const [first, second] = [map(0), map(0)];
    expect(granter.extraReferences(0)).toBe(1);
    expect(granter.pin(REF).hstw).toBe(2);
    expect(unmap(first.handle, 0)).toBe(GNTST_okay);
    expect(unmap(second.handle, 0)).toBe(GNTST_general_error);
  });
});

describe('as the document of 2005 has it', () => {
  it.each(ways)('%s is an unmap', (_, overwrite) => {
    const all = granted(true);
    const { granter, mapper, map, unmap } = all;
    const { handle } = map(0);
    expect(overwrite(all)).toBe(0);
    expect(granter.extraReferences(0)).toBe(0);
    expect(granter.pin(REF)).toEqual(none);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
    expect(unmap(handle, 0)).toBe(GNTST_bad_handle);
    checkMaptrack(mapper, granter.pin(REF + 1).hstw === 1 ? [handle + 1] : []);
  });

  it('the first of several matching handles goes, whichever was mapped there', () => {
    const { granter, mapper, map, write, unmap } = granted(true);
    const [first, second] = [map(0), map(1)];
    write(1, null);
    expect(granter.pin(REF).hstw).toBe(1);
    expect(unmap(first.handle, 0)).toBe(GNTST_bad_handle);
    expect(unmap(second.handle, 0)).toBe(GNTST_okay);
    checkMaptrack(mapper, []);
  });

  it.each([
    ['a reader’s', ro, rw],
    ['a writer’s', rw, ro],
  ])('%s entry is not the other’s', (_, overwritten, other) => {
    const { mapper, map, write, unmap } = granted(true);
    const [kept, gone] = [map(0, other), map(1, overwritten)];
    write(1, null);
    expect(unmap(gone.handle, 1)).toBe(GNTST_bad_handle);
    checkMaptrack(mapper, [kept.handle]);
    expect(unmap(kept.handle, 0)).toBe(GNTST_okay);
  });

  it('nor is one of another page, or one for devices', () => {
    const { granter, mapper, map, write } = granted(true);
    const device = map(0, GNTMAP_device_map);
    const other = map(1, rw, REF + 1);
    const gone = map(2);
    write(2, null);
    checkMaptrack(mapper, [device.handle, other.handle]);
    expect(granter.pin(REF)).toEqual({ ...none, devw: 1 });
    expect(gone.handle).toBe(2);
  });

  it('mapping the same grant over itself leaves one mapping and one pin', () => {
    const { granter, mapper, map, unmap } = granted(true);
    map(0);
    const { handle } = map(0);
    expect(granter.pin(REF).hstw).toBe(1);
    expect(granter.extraReferences(0)).toBe(1);
    expect(unmap(handle, 0)).toBe(GNTST_okay);
    checkMaptrack(mapper, []);
  });

  it('an overwriting that is refused changes nothing', () => {
    const { granter, mapper, map, write, unmap } = granted(true);
    const { handle } = map(0);
    expect(write(0, granter.mfn(5))).toBe(-XEN_EINVAL); // not its own
    expect(map(0, rw, 30).status).toBe(GNTST_general_error);
    checkMaptrack(mapper, [handle]);
    expect(granter.pin(REF).hstw).toBe(1);
    expect(unmap(handle, 0)).toBe(GNTST_okay);
  });

  it('own pages have no entry in the map track', () => {
    const { mapper, map, unmap } = granted(true);
    const { handle } = map(0);
    expect(mapper.hypercalls.updateVaMapping(PV_VA_BASE, null, false)).toBe(0);
    expect(mapper.hypercalls.updateVaMapping(PV_VA_BASE + PAGE_SIZE, mapper.mfn(2), true)).toBe(0);
    checkMaptrack(mapper, [handle]);
    expect(unmap(handle, 0)).toBe(GNTST_okay);
  });

  it('the last overwriting lets a dead granter go', () => {
    const { world, granter, map, write } = granted(true);
    map(0);
    map(1, ro);
    granter.destroy();
    write(0, null);
    expect(world.exists(granter)).toBe(true);
    write(1, null);
    expect(world.exists(granter)).toBe(false);
  });

  it('unmapping is no overwriting', () => {
    const { granter, mapper, map, unmap } = granted(true);
    const [first, second] = [map(0), map(1)];
    expect(unmap(second.handle, 1)).toBe(GNTST_okay);
    expect(granter.pin(REF).hstw).toBe(1);
    checkMaptrack(mapper, [first.handle]);
  });
});

it('a translated domain has no page table entries: the rule means nothing to it', () => {
  const world = new World();
  const granter = world.domain();
  const mapper = world.domain({ type: 'translated', unmapOnOverwrite: true });
  granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
  const hostAddr = windowOf(mapper.domain);
  const { status, handle } = mapper.map({ dom: granter.id, ref: REF, flags: rw, hostAddr });
  expect(status).toBe(GNTST_okay);
  expect(mapper.unmap({ handle, hostAddr })).toBe(GNTST_okay);
});

/** Page `page`, mapped somewhere or cleared there. */
const step = fc.record({
  page: fc.nat(1),
  slot: fc.nat(5),
  flags: fc.constantFrom(rw, ro),
  kind: fc.constantFrom('map', 'map', 'clear', 'own' as const),
});

it('however a guest writes its page table: under the old rule there are as many pins as mappings', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { world, granter, mapper, map, write } = granted(true);
      const slots = new Map<number, { page: number; flags: number }>();
      for (const { page, slot, flags, kind } of steps) {
        if (kind === 'map') {
          expect(map(slot, flags, REF + page).status).toBe(GNTST_okay);
          slots.set(slot, { page, flags });
        } else {
          expect(write(slot, kind === 'own' ? mapper.mfn(3) : null)).toBe(0);
          slots.delete(slot);
        }
        expectPins(granter, [...slots.values()]);
      }
      const { machine } = world;
      mapper.destroy();
      expectPins(granter, []);
      granter.destroy();
      checkFrames(machine);
      expect(machine.heap.pages - freePages(machine)).toBe(taken(machine));
    }),
    { numRuns: 50 },
  );
});

function expectPins(granter: Actor, mappings: { page: number; flags: number }[]): void {
  for (const page of [0, 1]) {
    const of = (flags: number) =>
      mappings.filter((mapping) => mapping.page === page && mapping.flags === flags).length;
    expect(granter.pin(REF + page)).toEqual({ ...none, hstw: of(rw), hstr: of(ro) });
    expect(granter.extraReferences(page)).toBe(of(rw) + of(ro));
  }
}
