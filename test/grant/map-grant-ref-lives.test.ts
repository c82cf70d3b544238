/** GNTTABOP_map_grant_ref (grant_table.h): translated domains, and domains that die. */
import { createDomain, PageFault, PAGE_SIZE } from '@ringside/gnttab-core';
import {
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
  GNTST_bad_domain,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_no_space,
  GNTST_okay,
  GTF_permit_access,
} from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { windowOf, World } from './world.ts';
import { NOBODY, REF, ro, rw, granted } from './map-world.ts';

describe('a granter that dies', () => {
  it('keeps what is mapped alive: the pinned entry can be mapped again, an unpinned one of that page too (SEMANTICS 36)', () => {
    const { world, granter, mapper, map, unmap } = granted();
    granter.entry(9, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    granter.entry(10, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(1) });
    const first = map();
    granter.destroy();
    expect(granter.domain.totPages).toBe(1);
    const second = map(ro, 1);
    expect(second.status).toBe(GNTST_okay);
    const op = { dom: granter.id, flags: rw };
    const third = mapper.map({ ...op, ref: 9, hostAddr: windowOf(mapper.domain, 2) });
    expect(third.status).toBe(GNTST_okay);
    expect(mapper.map({ ...op, ref: 10 }).status).toBe(GNTST_bad_page);
    expect(unmap(first.handle, 0)).toBe(GNTST_okay);
    expect(unmap(second.handle, 1)).toBe(GNTST_okay);
    expect(world.exists(granter)).toBe(true);
    expect(unmap(third.handle, 2)).toBe(GNTST_okay);
    expect(world.exists(granter)).toBe(false);
    expect(map().status).toBe(GNTST_bad_domain);
  });
});

it('a domain that may have no map track frame maps nothing', () => {
  const world = new World();
  const granter = world.domain();
  const mapper = world.domain({ maxMaptrackFrames: 0 });
  granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
  const op = { dom: granter.id, ref: REF, flags: rw, hostAddr: windowOf(mapper.domain) };
  expect(mapper.map(op).status).toBe(GNTST_no_space);
  expect(mapper.map({ ...op, dom: NOBODY }).status).toBe(GNTST_bad_domain);
});

describe('a translated mapper', () => {
  function translated() {
    const world = new World();
    const granter = world.domain();
    const mapper = world.domain({ type: 'translated' });
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    const map = (op = {}) =>
      mapper.map({
        dom: granter.id,
        ref: REF,
        flags: rw,
        hostAddr: windowOf(mapper.domain),
        ...op,
      });
    return { world, granter, mapper, map };
  }

  it('has the frame at a guest frame number', () => {
    const { granter, mapper, map } = translated();
    granter.bytes(granter.mfn(0))[9] = 99;
    expect(map().status).toBe(GNTST_okay);
    expect(mapper.peek(windowOf(mapper.domain) + 9)).toBe(99);
    expect(granter.extraReferences(0)).toBe(1);
    mapper.poke(windowOf(mapper.domain), 1);
    expect(granter.bytes(granter.mfn(0))[0]).toBe(1);
  });

  it('cannot write a read-only mapping', () => {
    const { mapper, map } = translated();
    map({ flags: ro });
    expect(() => mapper.poke(windowOf(mapper.domain), 1)).toThrow(PageFault);
  });

  it.each([
    ['device', GNTMAP_device_map, NOBODY],
    ['host and device', rw | GNTMAP_device_map, NOBODY],
    ['application', rw | GNTMAP_application_map, NOBODY],
    ['contains_pte', rw | GNTMAP_contains_pte, NOBODY],
    ['an unknown flag', rw | 0x40, undefined],
    ['guest_avail', rw | (1 << 16), undefined],
  ])('is refused %s; what only PV has, before the domain is looked at', (_, flags, dom) => {
    const { granter, mapper, map } = translated();
    expect(map(dom === undefined ? { flags } : { flags, dom }).status).toBe(GNTST_general_error);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
    expect(granter.pin(REF).hstw).toBe(0);
    expect(granter.extraReferences(0)).toBe(0);
    expect(() => mapper.peek(windowOf(mapper.domain))).toThrow(PageFault);
  });

  it('that maps its own grant has the page there, and no longer at its gfn (SEMANTICS 17)', () => {
    const { mapper, map } = translated();
    mapper.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: 3 });
    const frame = mapper.mfn(3);
    const hostAddr = windowOf(mapper.domain);
    expect(map({ dom: mapper.id }).status).toBe(GNTST_okay);
    expect(mapper.mfn(hostAddr / PAGE_SIZE)).toBe(frame);
    expect(() => mapper.peek(3 * PAGE_SIZE)).toThrow(PageFault);
    expect(mapper.unmap({ handle: 0, hostAddr })).toBe(GNTST_okay);
    expect(() => mapper.peek(3 * PAGE_SIZE)).toThrow(PageFault);
    expect(mapper.domain.totPages).toBe(16);
  });

  it('cannot map beyond its address space', () => {
    const { granter, map } = translated();
    expect(map({ hostAddr: 2 ** 40 }).status).toBe(GNTST_general_error);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
  });
});

describe('a translated granter', () => {
  it('names its frames by gfn; a gfn without a page of its own is a bad page', () => {
    const world = new World();
    const granter = world.domain({ type: 'translated' });
    const mapper = world.domain();
    const map = (frame: number) => {
      granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame });
      return mapper.map({
        dom: granter.id,
        ref: REF,
        flags: rw,
        hostAddr: windowOf(mapper.domain),
      });
    };
    expect(map(granter.mfn(3)).status).toBe(GNTST_bad_page);
    const op = map(3);
    expect(op.status).toBe(GNTST_okay);
    expect(mapper.pte()?.frame).toBe(granter.mfn(3));
    expect(op.devBusAddr).toBe(granter.mfn(3) * PAGE_SIZE);
  });

  it('cannot grant on what was granted to it', () => {
    const world = new World();
    const [owner, middle, mapper] = [
      world.domain(),
      world.domain({ type: 'translated' }),
      world.domain(),
    ];
    owner.entry(REF, { flags: GTF_permit_access, domid: middle.id, frame: owner.frame(0) });
    const hostAddr = windowOf(middle.domain);
    expect(middle.map({ dom: owner.id, ref: REF, flags: rw, hostAddr }).status).toBe(GNTST_okay);
    middle.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: hostAddr / PAGE_SIZE });
    const op = mapper.map({
      dom: middle.id,
      ref: REF,
      flags: rw,
      hostAddr: windowOf(mapper.domain),
    });
    expect(op.status).toBe(GNTST_bad_page);
  });
});

it('a domain id used again is another domain: its entries owe nothing to the old one’s (GT-51)', () => {
  const { world, granter, mapper, map } = granted();
  map();
  mapper.unmap({ handle: 0, hostAddr: windowOf(mapper.domain) });
  const domid = granter.id;
  granter.destroy();
  createDomain(world.machine, { pages: 4, domid });
  expect(map().status).toBe(GNTST_general_error);
});
