/** GNTTABOP_setup_table and GNTTABOP_query_size (grant_table.h): the size of a table, and who may ask for it. */
import { freePages, ownerOf } from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  GNTMAP_host_map,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
  GTF_permit_access,
} from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { windowOf, World } from './world.ts';

function control() {
  const world = new World();
  const dom0 = world.domain({ privileged: true });
  const guest = world.domain({ maxGrantFrames: 4 });
  return { world, dom0, guest, other: world.domain() };
}

describe('GNTTABOP_query_size', () => {
  it('a new table has one frame of 512 entries', () => {
    const { guest } = control();
    expect(guest.hypercalls.querySize()).toMatchObject({
      nrFrames: 1,
      maxNrFrames: 4,
      status: GNTST_okay,
    });
  });
});

describe('GNTTABOP_setup_table', () => {
  it('grows the table to at least nr_frames and lists that many, each the domain’s own', () => {
    const { world, guest } = control();
    const { status, frames } = guest.hypercalls.setupTable(3);
    expect(status).toBe(GNTST_okay);
    expect(new Set(frames).size).toBe(3);
    for (const frame of frames) expect(ownerOf(world.machine, frame)).toBe(guest.id);
    expect(guest.hypercalls.querySize().nrFrames).toBe(3);
  });

  it('lists only nr_frames even if the table is larger, and never shrinks it', () => {
    const { guest } = control();
    const { frames } = guest.hypercalls.setupTable(3);
    expect(guest.hypercalls.setupTable(1).frames).toEqual(frames.slice(0, 1));
    expect(guest.hypercalls.setupTable(0)).toMatchObject({ status: GNTST_okay, frames: [] });
    expect(guest.hypercalls.querySize().nrFrames).toBe(3);
    expect(guest.hypercalls.setupTable(4).frames.slice(0, 3)).toEqual(frames);
  });

  it('over the limit: general error, and the table is as it was (GT-49)', () => {
    const { world, guest, other } = control();
    const free = freePages(world.machine);
    for (const nrFrames of [5, 0x10_0000, 0xffff_ffff]) {
      expect(guest.hypercalls.setupTable(nrFrames)).toMatchObject({
        status: GNTST_general_error,
        frames: [],
      });
    }
    expect(guest.hypercalls.querySize().nrFrames).toBe(1);
    expect(freePages(world.machine)).toBe(free);
    expect(guest.hypercalls.setupTable(4).status).toBe(GNTST_okay);
    expect(other.hypercalls.setupTable(8).status).toBe(GNTST_okay);
  });

  it('keeps the entries, and what is in use, where they are', () => {
    const { guest, other } = control();
    guest.entry(8, { flags: GTF_permit_access, domid: other.id, frame: guest.frame(0) });
    const hostAddr = windowOf(other.domain);
    const op = { dom: guest.id, ref: 8, flags: GNTMAP_host_map, hostAddr };
    const { handle } = other.map(op);
    guest.hypercalls.setupTable(4);
    expect(guest.pin(8).hstw).toBe(1);
    expect(other.unmap({ handle, hostAddr })).toBe(GNTST_okay);
    expect(guest.seen(8)).toEqual({
      flags: GTF_permit_access,
      domid: other.id,
      frame: guest.frame(0),
    });
  });

  it('makes references of the new frames usable', () => {
    const { guest, other } = control();
    const hostAddr = windowOf(other.domain);
    const op = { dom: guest.id, ref: 512, flags: GNTMAP_host_map, hostAddr };
    expect(other.map(op).status).toBe(GNTST_bad_gntref);
    guest.hypercalls.setupTable(2);
    guest.entry(512, { flags: GTF_permit_access, domid: other.id, frame: guest.frame(0) });
    expect(other.map(op).status).toBe(GNTST_okay);
    expect(other.map({ ...op, ref: 1024 }).status).toBe(GNTST_bad_gntref);
  });

  it('without memory: general error; what was there still works, and dies with its domain', () => {
    const world = new World(512);
    const guest = world.domain();
    const other = world.domain();
    const baseline = freePages(world.machine);
    const glutton = world.domain({ pages: 0, maxPages: 10_000 });
    glutton.hypercalls.increaseReservation(10_000);
    expect(freePages(world.machine)).toBe(0);
    expect(guest.hypercalls.setupTable(2).status).toBe(GNTST_general_error);
    guest.entry(8, { flags: GTF_permit_access, domid: other.id, frame: guest.frame(0) });
    expect(other.copy({ ref: 8, domid: guest.id }, { gmfn: other.frame(0) }, 8)).toBe(GNTST_okay);
    glutton.destroy();
    expect(freePages(world.machine)).toBe(baseline);
    expect(guest.hypercalls.setupTable(2).status).toBe(GNTST_okay);
  });
});

describe('who may ask', () => {
  const rows = [
    ['DOMID_SELF', 'guest', DOMID_SELF, GNTST_okay],
    ['the own id', 'guest', 'guest', GNTST_okay],
    ['another domain, without privilege', 'guest', 'other', GNTST_permission_denied],
    ['another domain, with privilege', 'dom0', 'guest', GNTST_okay],
    ['no such domain', 'dom0', 999, GNTST_bad_domain],
    ['no such domain, without privilege', 'guest', 999, GNTST_bad_domain],
    ['DOMID_XEN', 'dom0', 0x7ff2, GNTST_bad_domain],
  ] as const;
  it.each(rows)('%s', (_, who, whom, status) => {
    const all = control();
    const dom = typeof whom === 'number' ? whom : all[whom].id;
    expect(all[who].hypercalls.setupTable(2, dom).status).toBe(status);
    expect(all[who].hypercalls.querySize(dom).status).toBe(status);
    if (dom === all.guest.id) expect(all.guest.hypercalls.querySize().nrFrames).toBe(2);
  });

  it('a dying domain still answers (SEMANTICS 36)', () => {
    const { dom0, guest } = control();
    guest.entry(8, { flags: GTF_permit_access, domid: dom0.id, frame: guest.frame(0) });
    const hostAddr = windowOf(dom0.domain);
    const { handle } = dom0.map({ dom: guest.id, ref: 8, flags: GNTMAP_host_map, hostAddr });
    guest.destroy();
    expect(dom0.hypercalls.querySize(guest.id).status).toBe(GNTST_okay);
    expect(dom0.hypercalls.setupTable(2, guest.id).status).toBe(GNTST_okay);
    expect(dom0.unmap({ handle, hostAddr })).toBe(GNTST_okay);
    expect(dom0.hypercalls.querySize(guest.id).status).toBe(GNTST_bad_domain);
  });
});
