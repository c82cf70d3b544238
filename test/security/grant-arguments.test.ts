/** Security catalogue, grant tables: arguments that no honest guest passes. */
import { INVALID_MFN, ownerOf, PAGE_SIZE, PV_VA_BASE } from '@ringside/gnttab-core';
import {
  DOMID_IDLE,
  DOMID_INVALID,
  DOMID_IO,
  DOMID_SELF,
  DOMID_XEN,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
  GNTMAP_readonly,
  GNTST_bad_copy_arg,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
  GNTTAB_CACHE_CLEAN,
  gnttabCacheFlush,
  GNTTABOP_cache_flush,
  GTF_permit_access,
  GTF_readonly,
  GTF_sub_page,
  XEN_EPERM,
  XEN_ESRCH,
} from '@ringside/gnttab-core/abi';
import {
  linkL1,
  nrMaptrackEntries,
  pteAddress,
  sharedFrameAt,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { checkMaptrack } from '../grant/invariants.ts';
import { type Actor, windowOf, World } from '../grant/world.ts';
import { Door } from './grant-door.ts';
import {
  expectQuiet,
  granted,
  NOBODY,
  permit,
  probe,
  REF,
  rw,
  swap,
  versions,
} from './grant-world.ts';
import { countSteps } from './interleave.ts';

/** The entries of a table of one frame. */
const entriesOf = (version: 1 | 2) => 1024 >> version;

it.each(versions)(
  'GT-01: swapping with a reference beyond the table is refused, and changes nothing (version %i)',
  (version) => {
    const { granter } = granted(version);
    const table = () => Uint8Array.from(granter.bytes(sharedFrameAt(granter.domain, 0)));
    const before = table();
    const end = entriesOf(version);
    for (const [a, b, status] of [
      [end, 8, GNTST_bad_gntref],
      [8, end, GNTST_bad_gntref],
      [0xffff_ffff, 8, GNTST_bad_gntref],
      [end, end, GNTST_bad_gntref],
      [8, 8, GNTST_okay],
    ] as const) {
      expect([a, b, swap(granter, a, b)]).toEqual([a, b, status]);
      expect(table()).toEqual(before);
    }
    const granting = granter.flags(REF);
    expect(swap(granter, REF, end - 1)).toBe(GNTST_okay);
    expect([granter.flags(REF), granter.flags(end - 1)]).toEqual([0, granting]);
  },
);

// The catalogue has an empty table here. The genuine code, as recorded, gives every domain version 1 and one frame.
it('GT-05: a table that was never set up answers every operation', () => {
  const world = new World(1024);
  const fresh = world.domain();
  const peer = world.domain();
  const mapped = (ref: number) => peer.map({ dom: fresh.id, ref, flags: GNTMAP_device_map }).status;
  expect([mapped(REF), mapped(512)]).toEqual([GNTST_general_error, GNTST_bad_gntref]);
  const copied = (ref: number) => peer.copy({ ref, domid: fresh.id }, { gmfn: peer.mfn(0) }, 8);
  expect([copied(REF), copied(512)]).toEqual([GNTST_general_error, GNTST_bad_gntref]);
  expect([swap(fresh, 8, 9), swap(fresh, 8, 512)]).toEqual([GNTST_okay, GNTST_bad_gntref]);
  const given = { mfn: peer.detach(3), domid: fresh.id, ref: REF };
  expect(peer.transfer(given)).toBe(GNTST_general_error);
  const { hypercalls } = fresh;
  expect(hypercalls.querySize()).toMatchObject({ status: GNTST_okay, nrFrames: 1 });
  expect(hypercalls.getStatusFrames(1)).toMatchObject({ status: GNTST_general_error, frames: [] });
  expect(hypercalls.getStatusFrames(0).status).toBe(GNTST_okay);
  expect([hypercalls.setGrantVersion(1), hypercalls.getGrantVersion()]).toEqual([0, 1]);
  probe(fresh, peer);
});

describe('contains_pte', () => {
  it('GT-14: the address of an entry must be aligned to it, and lie in a page table of the caller’s', () => {
    const { granter, mapper, map } = granted();
    const l1 = mapper.detach(5);
    mapper.bytes(l1).fill(0);
    const va = windowOf(mapper.domain) + 0x1000_0000;
    expect(linkL1(mapper.domain, va, l1)).toBe(true);
    const entry = pteAddress(mapper.domain, va);
    const flags = rw | GNTMAP_contains_pte;
    const status = (hostAddr: number) =>
      mapper.map({ dom: granter.id, ref: REF, flags, hostAddr }).status;
    for (let offset = 1; offset < 8; offset++) {
      expect(status(entry + offset)).toBe(GNTST_general_error);
    }
    expect(status(mapper.mfn(0) * PAGE_SIZE)).toBe(GNTST_general_error);
    expect(status(pteAddress(granter.domain, PV_VA_BASE))).toBe(GNTST_general_error);
    expect(Uint8Array.from(mapper.bytes(l1))).toEqual(new Uint8Array(4096));
    expectQuiet(granter, REF);
    expect(status(entry)).toBe(GNTST_okay);
    expect(mapper.peek(va)).toBe(0x11);
    expect(map(rw).status).toBe(GNTST_okay);
  });
});

describe('domains that are none', () => {
  const strangers = [
    ['DOMID_IO', DOMID_IO],
    ['DOMID_XEN', DOMID_XEN],
    ['DOMID_IDLE', DOMID_IDLE],
    ['DOMID_INVALID', DOMID_INVALID],
    ['nobody', NOBODY],
    ['the highest number', 0xffff],
  ] as const;

  /** What every operation says of `dom`. */
  function statuses(caller: Actor, dom: number, mfn: number) {
    const { hypercalls } = caller;
    return {
      map: caller.map({ dom, ref: REF, flags: GNTMAP_device_map }).status,
      copyFrom: caller.copy({ ref: REF, domid: dom }, { gmfn: caller.mfn(0) }, 8),
      copyTo: caller.copy({ gmfn: caller.mfn(0) }, { ref: REF, domid: dom }, 8),
      copyFrame: caller.copy({ gmfn: 0, domid: dom }, { gmfn: caller.mfn(0) }, 8),
      transfer: caller.transfer({ mfn, domid: dom, ref: REF }),
      setupTable: hypercalls.setupTable(1, dom).status,
      querySize: hypercalls.querySize(dom).status,
      getStatusFrames: hypercalls.getStatusFrames(0, dom).status,
      getVersion: hypercalls.getGrantVersion(dom),
    };
  }
  const none = {
    map: GNTST_bad_domain,
    copyFrom: GNTST_bad_domain,
    copyTo: GNTST_bad_domain,
    copyFrame: GNTST_permission_denied,
    transfer: GNTST_bad_domain,
    setupTable: GNTST_bad_domain,
    querySize: GNTST_bad_domain,
    getStatusFrames: GNTST_bad_domain,
    getVersion: -XEN_ESRCH,
  };

  it.each(strangers)('GT-17: no operation finds a table behind %s', (_, dom) => {
    const { granter, mapper } = granted();
    expect(statuses(mapper, dom, mapper.detach(3))).toEqual(none);
    probe(granter, mapper);
  });

  it('GT-17: a dying domain has one as long as something of it is mapped, and then is nobody', () => {
    const { granter, mapper, entry, map, unmap } = granted();
    const { handle } = map(rw);
    granter.destroy();
    const ghost = statuses(mapper, granter.id, mapper.detach(3));
    expect(ghost).toEqual({
      ...none,
      // What is pinned stays mappable, as recorded; a copy where nothing would be looked at is refused.
      map: GNTST_okay,
      transfer: GNTST_general_error,
      setupTable: GNTST_permission_denied,
      querySize: GNTST_permission_denied,
      getStatusFrames: GNTST_permission_denied,
      getVersion: -XEN_EPERM,
    });
    expect(unmap(handle)).toBe(GNTST_okay);
    const devBusAddr = entry.frame * PAGE_SIZE;
    expect(mapper.unmap({ handle: handle + 1, devBusAddr })).toBe(GNTST_okay);
    expect(statuses(mapper, granter.id, mapper.detach(4))).toEqual(none);
  });

  it('GT-17: flushing a page of the hypervisor’s, or of nobody’s, is not permitted (XSA-232)', () => {
    const world = new World(1024);
    const actor = world.domain();
    const door = new Door(actor);
    const op = door.element(gnttabCacheFlush.x86_64, 0);
    const frames = [DOMID_XEN, DOMID_INVALID].map((owner) =>
      Array.from({ length: 1024 }, (_, frame) => frame).findLast(
        (frame) => ownerOf(world.machine, frame) === owner,
      ),
    );
    for (const frame of frames) {
      op.a.dev_bus_addr_lo = frame! * PAGE_SIZE;
      op.a.dev_bus_addr_hi = 0;
      op.offset = 0;
      op.length = 8;
      op.op = GNTTAB_CACHE_CLEAN;
      expect(door.grantTableOp(GNTTABOP_cache_flush, 0, 1)).toBe(-XEN_EPERM);
    }
  });
});

describe('mapping', () => {
  it.each([
    ['no such domain', { dom: NOBODY }, GNTST_bad_domain],
    ['DOMID_SELF', { dom: DOMID_SELF }, GNTST_bad_domain],
    ['a reference beyond the table', { ref: 512 }, GNTST_bad_gntref],
    ['an entry that grants nothing', { ref: 9 }, GNTST_general_error],
    ['a grant to somebody else', { ref: 10 }, GNTST_general_error],
    ['a read-only grant for writing', { ref: 11 }, GNTST_general_error],
    ['part of a page', { ref: 12 }, GNTST_general_error],
    ['a frame that is not the granter’s', { ref: 13 }, -9],
    ['an address without page table', { hostAddr: 0 }, GNTST_general_error],
    ['neither for the host nor for devices', { flags: GNTMAP_readonly }, GNTST_bad_gntref],
  ])('GT-26: a failed map has a negative status: %s', (_, change, status) => {
    const { granter, mapper, other, entry } = granted();
    permit(granter, 10, { ...entry, domid: other.id });
    permit(granter, 11, { ...entry, flags: GTF_permit_access | GTF_readonly });
    permit(granter, 12, { ...entry, flags: GTF_permit_access | GTF_sub_page });
    permit(granter, 13, { ...entry, frame: other.mfn(0) });
    const op = { dom: granter.id, ref: REF, flags: rw, hostAddr: windowOf(mapper.domain) };
    const failed = mapper.map({ ...op, ...change }).status;
    expect(failed).toBe(status);
    expect(failed).toBeLessThan(0);
    expect(failed).toBeGreaterThanOrEqual(-13);
  });

  it.each([0, GNTMAP_readonly])('GT-40: a map for nobody takes no handle (flags %i)', (flags) => {
    const { granter, mapper, map } = granted();
    for (let n = 0; n < 300; n++) expect(map(flags).status).toBe(GNTST_bad_gntref);
    expect(nrMaptrackEntries(mapper.domain)).toBe(0);
    checkMaptrack(mapper, []);
    expectQuiet(granter, REF);
    expect(map(rw).handle).toBe(0);
  });
});

describe('copying', () => {
  it('GT-33: a copy of nothing looks at nothing', () => {
    const { machine, granter, mapper } = granted();
    const bogus = { ref: 0xffff_ffff, domid: NOBODY, offset: 0xffff };
    const empty = { ref: REF, domid: granter.id, offset: 0xffff };
    for (const [from, to] of [
      [bogus, bogus],
      [empty, bogus],
      [bogus, empty],
      [{ gmfn: INVALID_MFN, domid: DOMID_XEN }, empty],
    ] as const) {
      let status = 1;
      const steps = countSteps(machine, () => (status = mapper.copy(from, to, 0)));
      expect([status, steps]).toEqual([GNTST_okay, 0]);
    }
    expectQuiet(granter, REF);
  });

  it.each(versions)('GT-47: a copy stays within its pages (version %i)', (version) => {
    const { granter, mapper, remote, local } = granted(version);
    const pages = () =>
      [granter, mapper].map((a) => [0, 1].map((n) => Array.from(a.bytes(a.mfn(n)))));
    const before = pages();
    for (const [offset, len, status] of [
      [4095, 2, GNTST_bad_copy_arg],
      [0, 4097, GNTST_bad_copy_arg],
      [0xffff, 0xffff, GNTST_bad_copy_arg],
      [4096, 1, GNTST_bad_copy_arg],
      [4096, 0, GNTST_okay],
    ] as const) {
      const what = [offset, len, status];
      expect([offset, len, mapper.copy({ ...remote, offset }, local, len)]).toEqual(what);
      expect([offset, len, mapper.copy(remote, { ...local, offset }, len)]).toEqual(what);
      expect([offset, len, mapper.copy(local, { ...remote, offset }, len)]).toEqual(what);
    }
    expect(pages()).toEqual(before);
    expectQuiet(granter, REF);
    expect(mapper.copy({ ...remote, offset: 4095 }, { ...local, offset: 0 }, 1)).toBe(GNTST_okay);
  });
});
