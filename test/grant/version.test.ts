/** GNTTABOP_set_version and GNTTABOP_get_version (grant_table.h). */
import { freePages } from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  GNTMAP_host_map,
  GNTST_bad_gntref,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_invalid,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transitive,
  GTF_writing,
  XEN_EBUSY,
  XEN_EINVAL,
  XEN_ENOMEM,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ERANGE,
  XEN_ESRCH,
  XENMAPIDX_grant_table_status,
  XENMAPSPACE_grant_table,
} from '@ringside/gnttab-core/abi';
import {
  grantVersion,
  limitXenHeap,
  nrGrantEntries,
  nrStatusFrames,
  setVersion,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { fullPage, seenV2, statusOf, subPage, transitive, version2 } from './entries-v2.ts';
import { type Actor, three, windowOf, World } from './world.ts';

const NOBODY = 999;
const rw = GNTMAP_host_map;
const inUse = GTF_reading | GTF_writing;
const EMPTY = { flags: 0, domid: 0, frame: 0 };

/** What set_version says, and the version it writes back. */
const set = (actor: Actor, version: number) => {
  const op = { version };
  return { result: setVersion(actor.domain, op), version: op.version };
};

/** `granter`'s page 0 for `mapper`, mapped at window page 0. */
function pinned(granter: Actor, mapper: Actor, ref: number): number {
  const entry = { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) };
  if (grantVersion(granter.domain) === 1) granter.entry(ref, entry);
  else fullPage(granter, ref, entry);
  const hostAddr = windowOf(mapper.domain);
  const op = mapper.map({ dom: granter.id, ref, flags: rw, hostAddr });
  expect(op.status).toBe(GNTST_okay);
  return op.handle;
}

describe('get_version', () => {
  it.each([
    ['oneself by DOMID_SELF', DOMID_SELF, 2],
    ['oneself by number', 'self', 2],
    ['another domain', 'other', -XEN_EPERM],
    ['nobody', NOBODY, -XEN_ESRCH],
    ['a reserved id', DOMID_SELF + 1, -XEN_ESRCH],
  ] as const)('%s', (_, who, result) => {
    const world = new World();
    const other = world.domain();
    const self = version2(world.domain());
    const dom = who === 'self' ? self.id : who === 'other' ? other.id : who;
    expect(self.hypercalls.getGrantVersion(dom)).toBe(result);
  });

  it('a control domain learns the version of any', () => {
    const world = new World();
    const controller = world.domain({ privileged: true });
    const guest = world.domain();
    expect(controller.hypercalls.getGrantVersion(guest.id)).toBe(1);
    version2(guest);
    expect(controller.hypercalls.getGrantVersion(guest.id)).toBe(2);
  });
});

describe('the checks of set_version, in this order (SEMANTICS 28)', () => {
  it.each([0, 3, 0xffff_ffff])('version %i is unknown, whatever else is wrong', (version) => {
    const actor = new World().domain({ maxGrantVersion: 1 });
    expect(set(actor, version)).toEqual({ result: -XEN_EINVAL, version: 1 });
  });

  it('a domain limited to version 1 is told so, even with pins', () => {
    const world = new World();
    const [actor, mapper] = [world.domain({ maxGrantVersion: 1 }), world.domain()];
    pinned(actor, mapper, 8);
    expect(set(actor, 2)).toEqual({ result: -XEN_ENOSYS, version: 1 });
    expect(set(actor, 1)).toEqual({ result: 0, version: 1 });
  });

  it.each([1, 2])('version %i again is fine, and nothing is cleared', (version) => {
    const { granter, mapper } = three();
    expect(set(granter, version).result).toBe(0);
    pinned(granter, mapper, 8);
    const before = granter.flags(8);
    expect(set(granter, version)).toEqual({ result: 0, version });
    expect(granter.flags(8)).toBe(before);
  });

  it.each([
    [1, 2],
    [2, 1],
  ])('from %i to %i: not while a reference above 7 is pinned', (from, to) => {
    const { granter, mapper } = three();
    set(granter, from);
    const handle = pinned(granter, mapper, 8);
    limitXenHeap(granter.machine, 0); // would be -ENOMEM
    expect(set(granter, to)).toEqual({ result: -XEN_EBUSY, version: from });
    limitXenHeap(granter.machine, -1);
    mapper.unmap({ handle, hostAddr: windowOf(mapper.domain) });
    expect(set(granter, to)).toEqual({ result: 0, version: to });
  });

  it('version 2 needs memory for status frames: without, nothing has changed', () => {
    const actor = new World().domain();
    actor.hypercalls.setupTable(9); // two status frames
    actor.entry(20, { flags: GTF_permit_access, domid: 3, frame: 4 });
    const before = freePages(actor.machine);
    for (const pages of [0, 1]) {
      limitXenHeap(actor.machine, pages);
      expect(set(actor, 2)).toEqual({ result: -XEN_ENOMEM, version: 1 });
      expect(freePages(actor.machine)).toBe(before);
    }
    expect(actor.seen(20)).toEqual({ flags: GTF_permit_access, domid: 3, frame: 4 });
    limitXenHeap(actor.machine, 2);
    expect(set(actor, 2)).toEqual({ result: 0, version: 2 });
    expect(nrStatusFrames(actor.domain)).toBe(2);
  });

  it('what version 1 cannot say stands in the way before a mapped status frame does', () => {
    const actor = version2(new World().domain());
    const [frame] = actor.hypercalls.getStatusFrames(1).frames;
    expect(actor.hypercalls.updateVaMapping(windowOf(actor.domain), frame!, true)).toBe(0);
    transitive(actor, 7, { flags: GTF_transitive, domid: 1, transDomid: 2, gref: 3 });
    expect(set(actor, 1)).toEqual({ result: -XEN_ERANGE, version: 2 });
    transitive(actor, 7, { flags: GTF_invalid, domid: 0, transDomid: 0, gref: 0 });
    expect(set(actor, 1)).toEqual({ result: -XEN_EBUSY, version: 2 });
    expect(actor.hypercalls.updateVaMapping(windowOf(actor.domain), null, false)).toBe(0);
    expect(set(actor, 1)).toEqual({ result: 0, version: 1 });
  });
});

describe('from version 1 to 2', () => {
  it.each([
    ['access', GTF_permit_access],
    ['read-only access', GTF_permit_access | GTF_readonly],
    ['an accepted transfer', GTF_accept_transfer],
    ['a type that version 1 has not', GTF_transitive],
    ['no grant', GTF_invalid],
    ['odd bits', GTF_permit_access | 0xfe00],
  ])('a reserved entry stays as it is: %s', (_, flags) => {
    const actor = new World().domain();
    for (let ref = 0; ref < 8; ref++) actor.entry(ref, { flags, domid: ref, frame: 100 + ref });
    version2(actor);
    for (let ref = 0; ref < 8; ref++) {
      expect(seenV2(actor, ref)).toEqual({ flags, domid: ref, frame: 100 + ref });
      expect(statusOf(actor, ref)).toBe(0);
    }
  });

  it('in-use bits move to the status word, and the mapping goes on', () => {
    const { granter, mapper } = three();
    const handle = pinned(granter, mapper, 7);
    version2(granter);
    expect(granter.flags(7)).toBe(GTF_permit_access);
    expect(statusOf(granter, 7)).toBe(inUse);
    expect(mapper.unmap({ handle, hostAddr: windowOf(mapper.domain) })).toBe(GNTST_okay);
    expect(statusOf(granter, 7)).toBe(0);
    expect(granter.pin(7).hstw).toBe(0);
  });

  it('all others are gone, and there are half as many references', () => {
    const { granter, mapper } = three();
    const entry = { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) };
    for (let ref = 0; ref < 512; ref++) granter.entry(ref, entry);
    version2(granter);
    expect(nrGrantEntries(granter.domain)).toBe(256);
    for (let ref = 8; ref < 256; ref++) {
      expect(seenV2(granter, ref)).toEqual(EMPTY);
      expect(statusOf(granter, ref)).toBe(0);
    }
    const op = { dom: granter.id, flags: rw, hostAddr: windowOf(mapper.domain) };
    expect(mapper.map({ ...op, ref: 255 }).status).not.toBe(GNTST_bad_gntref);
    expect(mapper.map({ ...op, ref: 256 }).status).toBe(GNTST_bad_gntref);
  });
});

describe('from version 2 to 1', () => {
  it.each([
    ['access', GTF_permit_access, true],
    ['read-only access', GTF_permit_access | GTF_readonly, true],
    ['access to a part, whose bit stays', GTF_permit_access | GTF_sub_page, true],
    ['odd bits', GTF_permit_access | 0xfe00, true],
    ['an accepted transfer', GTF_accept_transfer, false],
    ['no grant', GTF_invalid, false],
    ['no grant, with odd bits', 0xfe00, false],
  ])('a reserved entry is kept if it permits access, else zero: %s', (_, flags, kept) => {
    const actor = version2(new World().domain());
    const entry = { flags, domid: 5, frame: 0xffff_ffff };
    subPage(actor, 3, { ...entry, pageOff: 7, length: 8 });
    fullPage(actor, 8, entry);
    expect(set(actor, 1)).toEqual({ result: 0, version: 1 });
    expect(actor.seen(3)).toEqual(kept ? entry : EMPTY);
    expect(actor.seen(8)).toEqual(EMPTY);
    expect(nrGrantEntries(actor.domain)).toBe(512);
  });

  it('in-use bits are among the flags again, and the mapping goes on', () => {
    const { granter, mapper } = three();
    version2(granter);
    const handle = pinned(granter, mapper, 7);
    expect(set(granter, 1).result).toBe(0);
    expect(granter.flags(7)).toBe(GTF_permit_access | inUse);
    expect(mapper.unmap({ handle, hostAddr: windowOf(mapper.domain) })).toBe(GNTST_okay);
    expect(granter.flags(7)).toBe(GTF_permit_access);
  });

  it.each([
    ['a transitive grant', (actor: Actor) => transitive(actor, 0, { ...TRANS }), -XEN_ERANGE],
    ['a frame beyond 32 bits', (actor: Actor) => fullPage(actor, 7, HIGH), -XEN_ERANGE],
    ['such a frame without a grant', (actor: Actor) => fullPage(actor, 7, HIGH_INVALID), 0],
    ['a transitive grant above 7', (actor: Actor) => transitive(actor, 8, { ...TRANS }), 0],
  ])('what has no equivalent: %s', (_, write, result) => {
    const actor = version2(new World().domain());
    fullPage(actor, 1, { flags: GTF_permit_access, domid: 9, frame: 10 });
    write(actor);
    expect(set(actor, 1)).toEqual({ result, version: result === 0 ? 1 : 2 });
    const read = result === 0 ? actor.seen(1) : seenV2(actor, 1);
    expect(read).toEqual({ flags: GTF_permit_access, domid: 9, frame: 10 });
  });

  it('a translated domain loses its status frames from its address space', () => {
    const actor = version2(new World().domain({ type: 'translated' }));
    const place = (index: number, gfn: number) =>
      actor.hypercalls.addToPhysmap(XENMAPSPACE_grant_table, index, gfn);
    expect(place(XENMAPIDX_grant_table_status, 0x100)).toBe(0);
    expect(actor.peek(0x100_000)).toBe(0);
    expect(set(actor, 1)).toEqual({ result: 0, version: 1 });
    expect(() => actor.peek(0x100_000)).toThrow(/not-present|not present/);
    expect(place(XENMAPIDX_grant_table_status, 0x100)).toBe(-XEN_EINVAL);
  });
});

const TRANS = { flags: GTF_transitive, domid: 1, transDomid: 2, gref: 3 };
const HIGH = { flags: GTF_permit_access, domid: 1, frame: 2 ** 32 };
const HIGH_INVALID = { flags: GTF_invalid, domid: 1, frame: 2 ** 32 };

it.each(['pv', 'translated'] as const)('%s: to and fro a hundred times takes no memory', (type) => {
  const actor = new World().domain({ type });
  const before = freePages(actor.machine);
  for (let n = 0; n < 100; n++) {
    expect(set(actor, 2).result).toBe(0);
    expect(freePages(actor.machine)).toBe(before - 1);
    expect(set(actor, 1).result).toBe(0);
    expect(freePages(actor.machine)).toBe(before);
  }
});
