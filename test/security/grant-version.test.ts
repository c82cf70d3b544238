/** Security catalogue, grant tables: changing the version, and the frames that come and go with it. */
import { freePages, ownerOf, PAGE_SIZE } from '@ringside/gnttab-core';
import {
  DOMID_INVALID,
  GNTMAP_device_map,
  GNTST_general_error,
  GNTST_okay,
  gnttabGetStatusFrames,
  GNTTABOP_get_status_frames,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  XEN_EBUSY,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_ERANGE,
} from '@ringside/gnttab-core/abi';
import {
  nrGrantEntries,
  nrStatusFrames,
  setVersion,
  sharedFrameAt,
  statusFrameAt,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { checkFrames, checkPageList, taken } from '../grant/invariants.ts';
import { type Actor, windowOf, World } from '../grant/world.ts';
import { Door } from './grant-door.ts';
import {
  domainOf,
  entryV2,
  granted,
  permit,
  permitTransitive,
  probe,
  REF,
  ro,
  rw,
  useOf,
} from './grant-world.ts';
import { atTheSameTime } from './grant-threads.ts';

/** Changes the version: the result, and the version that came back. */
function change({ domain }: Actor, version: number): [number, number] {
  const op = { version };
  return [setVersion(domain, op), op.version];
}

describe('the status frames', () => {
  it('GT-03: come and go ten thousand times, and none is lost', () => {
    const world = new World(1024);
    taken(world.machine);
    const actor = world.domain();
    const peer = world.domain();
    actor.hypercalls.setupTable(9);
    const baseline = [freePages(world.machine), actor.domain.totPages];
    const state = () => [freePages(world.machine), actor.domain.totPages];
    for (let n = 0; n < 10_000; n++) {
      if (actor.hypercalls.setGrantVersion(2) !== 0) expect.fail(`round ${n}: to version 2`);
      const frame = statusFrameAt(actor.domain, 1);
      if (actor.hypercalls.setGrantVersion(1) !== 0) expect.fail(`round ${n}: to version 1`);
      if (n % 1000 !== 0) continue;
      expect(state()).toEqual(baseline);
      expect(ownerOf(world.machine, frame)).toBe(DOMID_INVALID);
      const va = windowOf(actor.domain);
      expect(actor.hypercalls.updateVaMapping(va, frame, false)).toBeLessThan(0);
      expect(actor.hypercalls.getStatusFrames(1).status).toBe(GNTST_general_error);
    }
    checkPageList(actor);
    checkFrames(world.machine);
    probe(actor, peer);
  }, 120_000);

  it('GT-21: stay while the guest maps one', () => {
    const world = new World(1024);
    const actor = domainOf(world, 2);
    const va = windowOf(actor.domain);
    const [frame] = actor.hypercalls.getStatusFrames(1).frames;
    expect(actor.hypercalls.updateVaMapping(va, frame!, false)).toBe(0);
    expect(change(actor, 1)).toEqual([-XEN_EBUSY, 2]);
    expect([nrStatusFrames(actor.domain), statusFrameAt(actor.domain, 0)]).toEqual([1, frame]);
    expect(actor.hypercalls.updateVaMapping(va, null, false)).toBe(0);
    expect(change(actor, 1)).toEqual([0, 1]);
    expect(ownerOf(world.machine, frame!)).toBe(DOMID_INVALID);
  });

  it.each([
    ['for the host', rw],
    ['for the host, reading', ro],
    ['for a device', GNTMAP_device_map],
  ])('GT-21: stay while a peer maps one %s, through an entry that may be pinned', (_, flags) => {
    const { granter, mapper, entry } = granted(2);
    const frame = statusFrameAt(granter.domain, 0);
    permit(granter, 0, { ...entry, frame });
    const hostAddr = windowOf(mapper.domain);
    const op = mapper.map({ dom: granter.id, ref: 0, flags, hostAddr });
    expect(op.status).toBe(GNTST_okay);
    expect(change(granter, 1)).toEqual([-XEN_EBUSY, 2]);
    const { handle, devBusAddr } = op;
    expect(mapper.unmap({ handle, hostAddr, devBusAddr })).toBe(GNTST_okay);
    expect(change(granter, 1)).toEqual([0, 1]);
    probe(granter, mapper);
  });

  it('GT-30: are listed as far as there are any, and not beyond the caller’s array', () => {
    const world = new World(1024);
    const actor = domainOf(world, 2);
    actor.hypercalls.setupTable(9);
    const actual = nrStatusFrames(actor.domain);
    expect(actual).toBe(2);
    const door = new Door(actor);
    const op = door.element(gnttabGetStatusFrames.x86_64, 0);
    const array = actor.bytes(actor.mfn(1));
    // The array ends where its page does; the next one is the canary.
    const canary = actor.bytes(actor.mfn(2)).fill(0xa5);
    const list = door.va(1) + PAGE_SIZE - actual * 8;
    for (const [nrFrames, status] of [
      [actual + 1, GNTST_general_error],
      [8 * actual, GNTST_general_error],
      [0xffff_ffff, GNTST_general_error],
      [actual, GNTST_okay],
    ] as const) {
      array.fill(0x5a);
      Object.assign(op, {
        dom: actor.id,
        nr_frames: nrFrames,
        frame_list_lo: list,
        status: 0x7f7f,
      });
      expect(door.grantTableOp(GNTTABOP_get_status_frames, 0, 1)).toBe(0);
      expect([nrFrames, op.status]).toEqual([nrFrames, status]);
      expect(canary.every((byte) => byte === 0xa5)).toBe(true);
      const before = array.subarray(0, PAGE_SIZE - actual * 8);
      expect(before.every((byte) => byte === 0x5a)).toBe(true);
    }
    const frames = Array.from(
      new BigUint64Array(Uint8Array.from(array.subarray(-16)).buffer),
      Number,
    );
    expect(frames).toEqual([0, 1].map((i) => statusFrameAt(actor.domain, i)));
  });
});

describe('set_version', () => {
  it('GT-22: is refused where version 2 is not allowed, and so is all that goes with it', () => {
    const world = new World(1024);
    const actor = world.domain({ maxGrantVersion: 1 });
    const peer = world.domain();
    const free = freePages(world.machine);
    expect(change(actor, 2)).toEqual([-XEN_ENOSYS, 1]);
    expect(actor.hypercalls.getStatusFrames(1)).toMatchObject({
      status: GNTST_general_error,
      frames: [],
    });
    expect([nrStatusFrames(actor.domain), freePages(world.machine)]).toEqual([0, free]);
    probe(actor, peer);
  });

  it('GT-36: from two threads: one after the other, and each is told the truth', async () => {
    const world = new World(1024);
    const actor = world.domain();
    const peer = world.domain();
    actor.hypercalls.setupTable(16);
    const free = freePages(world.machine);
    const wrong = await atTheSameTime(world.machine, peer.mfn(9), [
      { kind: 'version', domain: actor.id, version: 2, rounds: 3000 },
      { kind: 'version', domain: actor.id, version: 1, rounds: 3000 },
    ]);
    expect(wrong).toEqual([0, 0]);
    const version = actor.hypercalls.getGrantVersion();
    expect([1, 2]).toContain(version);
    expect(nrStatusFrames(actor.domain)).toBe(version === 2 ? 2 : 0);
    expect(freePages(world.machine)).toBe(free - nrStatusFrames(actor.domain));
    expect(change(actor, 1)).toEqual([0, 1]);
    expect(freePages(world.machine)).toBe(free);
    probe(actor, peer);
  });

  it.each([0, 3, 0xffff_ffff])('GT-37: knows no version %i', (version) => {
    const { granter } = granted();
    expect(change(granter, version)).toEqual([-XEN_EINVAL, 1]);
    expect(change(granter, 2)).toEqual([0, 2]);
    expect(change(granter, version)).toEqual([-XEN_EINVAL, 2]);
  });

  it.each([
    [1, 2],
    [2, 1],
  ] as const)('GT-37: from %i to %i: no entry may be pinned but the first eight', (from, to) => {
    const { granter, mapper, entry, map, unmap } = granted(from);
    for (const ref of [7, nrGrantEntries(granter.domain) - 1]) permit(granter, ref, entry);
    for (const ref of [REF, nrGrantEntries(granter.domain) - 1]) {
      const { handle, status } = map(rw, 0, ref);
      expect(status).toBe(GNTST_okay);
      expect(change(granter, to)).toEqual([-XEN_EBUSY, from]);
      expect(change(granter, from)).toEqual([0, from]);
      expect(unmap(handle)).toBe(GNTST_okay);
    }
    const { handle } = map(ro, 0, 7);
    expect(change(granter, to)).toEqual([0, to]);
    expect(useOf(granter, 7)).toBe(GTF_reading);
    expect(granter.pin(7).hstr).toBe(1);
    expect(unmap(handle)).toBe(GNTST_okay);
    expect(useOf(granter, 7)).toBe(0);
    expect(map(ro, 0, 7).status).toBe(GNTST_okay);
    expect(mapper.pte()?.frame).toBe(entry.frame);
  });

  it('GT-37: to version 1: what it cannot say is out of range', () => {
    const { granter, mapper, other, entry } = granted(2);
    permitTransitive(granter, 3, mapper.id, other, REF);
    expect(change(granter, 1)).toEqual([-XEN_ERANGE, 2]);
    permit(granter, 3, entry);
    entryV2(granter, 3).full_page.frame_hi = 1;
    expect(change(granter, 1)).toEqual([-XEN_ERANGE, 2]);
    permit(granter, 3, entry);
    // Beyond the eight nothing is kept, so nothing is in the way.
    permitTransitive(granter, REF, mapper.id, other, REF);
    expect(change(granter, 1)).toEqual([0, 1]);
  });

  it('GT-37: to version 2: the first eight entries are kept, the others are empty', () => {
    const { granter, entry } = granted();
    const reserved = [
      GTF_permit_access,
      GTF_permit_access | GTF_readonly,
      GTF_accept_transfer,
      0,
      GTF_permit_access | GTF_sub_page,
      3,
      GTF_permit_access | 0xe0,
      GTF_permit_access,
    ].map((flags, ref) => ({ flags, domid: 40 + ref, frame: 0x1234_5600 + ref }));
    reserved.forEach((kept, ref) => granter.entry(ref, kept));
    granter.entry(511, entry);
    granter.hypercalls.setupTable(2);
    granter.entry(1023, entry);
    expect(change(granter, 2)).toEqual([0, 2]);
    reserved.forEach((kept, ref) => {
      const { full_page: page } = entryV2(granter, ref);
      const { flags, domid } = page.hdr;
      expect({ flags, domid, frame: page.frame_lo }).toEqual(kept);
      expect([page.frame_hi, useOf(granter, ref)]).toEqual([0, 0]);
    });
    const first = granter.bytes(sharedFrameAt(granter.domain, 0)).subarray(8 * 16);
    const second = granter.bytes(sharedFrameAt(granter.domain, 1));
    for (const bytes of [first, second]) expect(bytes.every((byte) => byte === 0)).toBe(true);
  });
});
