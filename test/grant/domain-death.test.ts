/** Grants of domains that die, in tables of both versions (SEMANTICS 36 and 38). */
import { freePages, ownerOf } from '@ringside/gnttab-core';
import {
  DOMID_INVALID,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_domain,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_reading,
  GTF_transitive,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import {
  _PAGE_PRESENT,
  _PAGE_RW,
  makePte,
  pteAddress,
  sharedFrameAt,
  writeGuestPte,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { fullPage, seenV2, statusOf, transitive, version2 } from './entries-v2.ts';
import { checkFrames, taken } from './invariants.ts';
import { type Actor, windowOf, World } from './world.ts';

const REF = 8;
const rw = GNTMAP_host_map;
const ro = GNTMAP_host_map | GNTMAP_readonly;
const none = { hstw: 0, hstr: 0, devw: 0, devr: 0 };

/** Pages 0 and 1 for the mapper as REF and REF + 1, page 0 also as REF + 2. */
function granted(version: 1 | 2, type: 'pv' | 'translated' = 'pv') {
  const world = new World();
  taken(world.machine);
  const controller = world.domain({ privileged: true });
  const granter = world.domain({ type });
  const mapper = world.domain();
  if (version === 2) version2(granter);
  const entry = (ref: number, gfn: number) => {
    const page = { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(gfn) };
    if (version === 1) granter.entry(ref, page);
    else fullPage(granter, ref, page);
  };
  [0, 1, 0].forEach((gfn, n) => entry(REF + n, gfn));
  const at = (n: number) => windowOf(mapper.domain, n);
  const map = (n: number, flags = rw, ref = REF) =>
    mapper.map({ dom: granter.id, ref, flags, hostAddr: at(n) });
  const unmap = (handle: number, n: number) => mapper.unmap({ handle, hostAddr: at(n) });
  const own = { gmfn: mapper.mfn(1) };
  const theirs = (ref: number) => ({ ref, domid: granter.id });
  const read = (ref = REF) => mapper.copy(theirs(ref), own, 8);
  const write = (ref = REF) => mapper.copy(own, theirs(ref), 8);
  const inUse = (ref = REF) =>
    version === 1 ? granter.flags(ref) & (GTF_reading | GTF_writing) : statusOf(granter, ref);
  const end = (...actors: Actor[]) => {
    for (const actor of actors) actor.destroy();
    checkFrames(world.machine);
    expect(world.machine.heap.pages - freePages(world.machine)).toBe(taken(world.machine));
  };
  return { world, controller, granter, mapper, at, map, unmap, read, write, inUse, end };
}

describe.each([1, 2] as const)('version %i: a granter that is dying', (version) => {
  it('still serves what is mapped, and its other entries of that page', () => {
    const { world, granter, map, unmap, inUse } = granted(version);
    const first = map(0);
    granter.destroy();
    expect(granter.domain.totPages).toBe(1);
    const [again, other] = [map(1, ro), map(2, rw, REF + 2)];
    expect([again.status, other.status]).toEqual([GNTST_okay, GNTST_okay]);
    expect(map(3, rw, REF + 1).status).toBe(GNTST_bad_page);
    expect(inUse()).toBe(GTF_reading | GTF_writing);
    for (const [n, { handle }] of [first, again, other].entries()) {
      expect(world.exists(granter)).toBe(true);
      expect(unmap(handle, n)).toBe(GNTST_okay);
    }
    expect(world.exists(granter)).toBe(false);
  });

  it.each([
    {
      name: 'a reader of what is pinned',
      mapped: rw,
      copy: 'read',
      ref: REF,
      status: GNTST_bad_domain,
    },
    {
      name: 'a writer of what is pinned for writing',
      mapped: rw,
      copy: 'write',
      ref: REF,
      status: GNTST_bad_domain,
    },
    {
      name: 'a reader of what is pinned for reading',
      mapped: ro,
      copy: 'read',
      ref: REF,
      status: GNTST_bad_domain,
    },
    {
      name: 'the first writer: its page is looked up',
      mapped: ro,
      copy: 'write',
      ref: REF,
      status: GNTST_okay,
    },
    {
      name: 'another entry of the same page',
      mapped: ro,
      copy: 'read',
      ref: REF + 2,
      status: GNTST_okay,
    },
    {
      name: 'an entry of a page that is gone',
      mapped: ro,
      copy: 'read',
      ref: REF + 1,
      status: GNTST_bad_page,
    },
  ] as const)('copies: $name', ({ mapped, copy, ref, status }) => {
    const all = granted(version);
    all.map(0, mapped);
    all.granter.destroy();
    const pins = all.granter.pin(ref);
    expect(copy === 'read' ? all.read(ref) : all.write(ref)).toBe(status);
    expect(all.granter.pin(ref)).toEqual(pins);
  });

  it('translated: its frame numbers mean nothing any more', () => {
    const { granter, map, read } = granted(version, 'translated');
    map(0);
    granter.destroy();
    expect(read(REF + 2)).toBe(GNTST_bad_page);
    expect(map(1, ro).status).toBe(GNTST_okay); // what is pinned has its frame
    expect(map(2, rw, REF + 2).status).toBe(GNTST_bad_page);
  });

  it('still has a table to look at, and takes no frames', () => {
    const { controller, granter, mapper, map } = granted(version);
    const entry = { flags: GTF_accept_transfer, domid: mapper.id, frame: 0 };
    if (version === 1) granter.entry(20, entry);
    else fullPage(granter, 20, entry);
    map(0);
    granter.destroy();
    expect(controller.hypercalls.querySize(granter.id)).toMatchObject({
      status: GNTST_okay,
      nrFrames: 1,
    });
    expect(controller.hypercalls.setupTable(1, granter.id).status).toBe(GNTST_okay);
    expect(controller.hypercalls.getGrantVersion(granter.id)).toBe(version);
    const mfn = mapper.detach(5);
    expect(mapper.transfer({ mfn, domid: granter.id, ref: 20 })).toBe(GNTST_general_error);
    expect(ownerOf(mapper.machine, mfn)).toBe(DOMID_INVALID); // lost, as ever
  });

  it('a mapper that dies lets go of everything', () => {
    const { world, controller, granter, mapper, map, inUse, end } = granted(version);
    [map(0), map(1, ro), map(2, rw, REF + 1), map(3, ro, REF + 2)].forEach(({ status }) =>
      expect(status).toBe(GNTST_okay),
    );
    mapper.destroy();
    expect(world.exists(mapper)).toBe(false);
    for (const ref of [REF, REF + 1, REF + 2]) {
      expect(granter.pin(ref)).toEqual(none);
      expect(inUse(ref)).toBe(0);
    }
    expect([granter.extraReferences(0), granter.extraReferences(1)]).toEqual([0, 0]);
    expect(granter.hypercalls.setGrantVersion(3 - version)).toBe(0);
    end(controller, granter);
  });

  it('both die, in either order', () => {
    for (const first of ['granter', 'mapper'] as const) {
      const all = granted(version);
      all.map(0);
      all.map(1, ro, REF + 1);
      all[first].destroy();
      all.end(all.granter, all.mapper, all.controller);
      expect([all.world.exists(all.granter), all.world.exists(all.mapper)]).toEqual([false, false]);
    }
  });
});

describe('version 2 has more to hold on to', () => {
  it('a status frame that another maps keeps its domain', () => {
    const { world, granter, mapper, map, unmap } = granted(2);
    const [frame] = granter.hypercalls.getStatusFrames(1).frames;
    fullPage(granter, 9, { flags: GTF_permit_access, domid: mapper.id, frame: frame! });
    const { status, handle } = map(0, ro, 9);
    expect(status).toBe(GNTST_okay);
    granter.destroy();
    expect(world.exists(granter)).toBe(true);
    expect(unmap(handle, 0)).toBe(GNTST_okay);
    expect(world.exists(granter)).toBe(false);
  });

  it('its status frames are free with it, however many', () => {
    const { controller, granter, mapper, end } = granted(2);
    expect(granter.hypercalls.setupTable(33).status).toBe(GNTST_okay);
    end(granter, mapper, controller);
  });

  it('what a dead domain passed on is nobody’s, and what it was passed is whole', () => {
    const { world, controller, granter, mapper, end } = granted(2);
    const middle = version2(world.domain());
    fullPage(granter, 20, { flags: GTF_permit_access, domid: middle.id, frame: granter.frame(0) });
    const passOn = { flags: GTF_transitive, domid: mapper.id, transDomid: granter.id, gref: 20 };
    transitive(middle, REF, passOn);
    const copy = () => mapper.copy({ ref: REF, domid: middle.id }, { gmfn: mapper.mfn(1) }, 8);
    expect(copy()).toBe(GNTST_okay);
    middle.destroy();
    expect(copy()).toBe(GNTST_bad_domain);
    expect(seenV2(granter, 20).flags).toBe(GTF_permit_access);
    expect(statusOf(granter, 20)).toBe(0);
    end(granter, mapper, controller);
  });
});

it('a table that the toolstack still maps is gone with that mapping, and the domain with it', () => {
  const world = new World();
  const toolstack = world.domain({ privileged: true });
  const before = freePages(world.machine);
  const guest = world.domain();
  const at = pteAddress(toolstack.domain, windowOf(toolstack.domain));
  const { lo, hi } = makePte(sharedFrameAt(guest.domain, 0), _PAGE_PRESENT | _PAGE_RW, 0);
  expect(writeGuestPte(toolstack.domain, at, lo, hi, guest.domain)).toBe(true);
  guest.destroy();
  expect(world.machine.domainById(guest.id)).toBeDefined();
  expect(toolstack.hypercalls.updateVaMapping(windowOf(toolstack.domain), null, false)).toBe(0);
  expect(world.machine.domainById(guest.id)).toBeUndefined();
  expect(freePages(world.machine)).toBe(before);
});
