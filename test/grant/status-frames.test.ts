/** GNTTABOP_get_status_frames (grant_table.h), and what status words say. */
import { freePages } from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_domain,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_writing,
  XEN_EINVAL,
  XENMAPIDX_grant_table_status,
  XENMAPSPACE_grant_table,
} from '@ringside/gnttab-core/abi';
import {
  INVALID_GFN,
  limitXenHeap,
  nrGrantFrames,
  nrStatusFrames,
  statusFrameAt,
  statusWordOf,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { fullPage, seenV2, statusOf, version2 } from './entries-v2.ts';
import { type Actor, three, windowOf, World } from './world.ts';

const NOBODY = 999;
const REF = 8;
const rw = GNTMAP_host_map;
const ro = GNTMAP_host_map | GNTMAP_readonly;

describe('get_status_frames', () => {
  it('names the frames as their domain knows them: PV by mfn', () => {
    const actor = version2(new World().domain());
    actor.hypercalls.setupTable(17);
    const { status, frames } = actor.hypercalls.getStatusFrames(3);
    expect(status).toBe(GNTST_okay);
    expect(frames).toEqual([0, 1, 2].map((i) => statusFrameAt(actor.domain, i)));
  });

  it('translated by gfn, where it has put them, or nowhere', () => {
    const actor = version2(new World().domain({ type: 'translated' }));
    actor.hypercalls.setupTable(9);
    const place = (index: number, gfn: number) =>
      actor.hypercalls.addToPhysmap(
        XENMAPSPACE_grant_table,
        XENMAPIDX_grant_table_status + index,
        gfn,
      );
    expect(place(1, 0x200)).toBe(0);
    expect(actor.hypercalls.getStatusFrames(2).frames).toEqual([INVALID_GFN, 0x200]);
    expect(place(1, 0x201)).toBe(0); // it moves
    expect(actor.hypercalls.getStatusFrames(2).frames).toEqual([INVALID_GFN, 0x201]);
  });

  it.each([
    { name: 'version 1 has none', version: 1, frames: 1, nr: 1, status: GNTST_general_error },
    { name: 'none of version 1', version: 1, frames: 1, nr: 0, status: GNTST_okay },
    { name: 'none of version 2', version: 2, frames: 1, nr: 0, status: GNTST_okay },
    { name: 'one for 8 shared frames', version: 2, frames: 8, nr: 1, status: GNTST_okay },
    { name: 'more than there are', version: 2, frames: 8, nr: 2, status: GNTST_general_error },
    { name: 'a second for the ninth', version: 2, frames: 9, nr: 2, status: GNTST_okay },
    { name: 'very many', version: 2, frames: 9, nr: 0xffff_ffff, status: GNTST_general_error },
  ])('$name: $nr of $frames shared frames; the table does not grow', (row) => {
    const actor = new World().domain();
    actor.hypercalls.setupTable(row.frames);
    expect(actor.hypercalls.setGrantVersion(row.version)).toBe(0);
    const op = actor.hypercalls.getStatusFrames(row.nr);
    expect(op.status).toBe(row.status);
    expect(op.frames.length).toBe(row.status === GNTST_okay ? row.nr : 0);
    expect(nrGrantFrames(actor.domain)).toBe(row.frames);
    expect(nrStatusFrames(actor.domain)).toBe(row.version === 1 ? 0 : Math.ceil(row.frames / 8));
  });

  it.each([
    ['oneself', 'self', false, GNTST_okay],
    ['DOMID_SELF', DOMID_SELF, false, GNTST_okay],
    ['another', 'other', false, GNTST_permission_denied],
    ['another, for a control domain', 'other', true, GNTST_okay],
    ['nobody', NOBODY, true, GNTST_bad_domain],
  ] as const)('whose: %s', (_, who, privileged, status) => {
    const world = new World();
    const self = version2(world.domain({ privileged }));
    const other = version2(world.domain());
    const dom = who === 'self' ? self.id : who === 'other' ? other.id : who;
    const op = self.hypercalls.getStatusFrames(1, dom);
    expect(op.status).toBe(status);
    if (status === GNTST_okay) {
      expect(op.frames).toEqual([statusFrameAt((who === 'other' ? other : self).domain, 0)]);
    }
  });
});

describe('growth', () => {
  it('a status frame put into the address space brings the shared frames that it serves', () => {
    const actor = version2(new World().domain({ type: 'translated', maxGrantFrames: 16 }));
    const place = (index: number) =>
      actor.hypercalls.addToPhysmap(XENMAPSPACE_grant_table, index, 0x300);
    expect(place(XENMAPIDX_grant_table_status + 1)).toBe(0);
    expect(nrGrantFrames(actor.domain)).toBe(16);
    expect(nrStatusFrames(actor.domain)).toBe(2);
    expect(place(XENMAPIDX_grant_table_status + 2)).toBe(-XEN_EINVAL);
  });

  it('without memory for a status frame the table stays as it was', () => {
    const actor = version2(new World().domain());
    const free = freePages(actor.machine);
    // Nine shared frames need 8 more, 32 frames of active entries, and one more of status words.
    for (let pages = 0; pages < 41; pages++) {
      limitXenHeap(actor.machine, pages);
      expect(actor.hypercalls.setupTable(9).status).toBe(GNTST_general_error);
      expect([nrGrantFrames(actor.domain), nrStatusFrames(actor.domain)]).toEqual([1, 1]);
      expect(freePages(actor.machine)).toBe(free);
    }
    limitXenHeap(actor.machine, 41);
    expect(actor.hypercalls.setupTable(9).status).toBe(GNTST_okay);
    expect(freePages(actor.machine)).toBe(free - 41);
  });
});

/** Page 0 of a granter of version 2 for the mapper. */
function granted(flags: number = GTF_permit_access, ref = REF) {
  const all = three();
  const { granter, mapper } = all;
  version2(granter).hypercalls.setupTable(9);
  fullPage(granter, ref, { flags, domid: mapper.id, frame: granter.frame(0) });
  const map = (mapFlags: number, n = 0) =>
    mapper.map({
      dom: granter.id,
      ref,
      flags: mapFlags,
      hostAddr: windowOf(mapper.domain, n),
    });
  return { ...all, map };
}

describe('a status word', () => {
  it.each([0, 7, REF, 255, 256, 2047, 2048, 2303])('of reference %i, and only that', (ref) => {
    const { granter, map } = granted(GTF_permit_access, ref);
    expect(map(rw).status).toBe(GNTST_okay);
    const words = (actor: Actor) =>
      Array.from({ length: 9 * 256 }, (_, n) => n).filter((n) => statusOf(actor, n) !== 0);
    expect(words(granter)).toEqual([ref]);
    const word = statusFrameAt(granter.domain, ref >>> 11) * 4096 + (ref & 2047) * 2;
    expect(statusWordOf(granter.domain, ref)).toBe(word);
  });

  it.each([
    ['read', [ro], GTF_reading],
    ['written', [rw], GTF_reading | GTF_writing],
    ['both', [ro, rw], GTF_reading | GTF_writing],
  ])('says how its grant is in use, and the entry does not: %s', (_, maps, status) => {
    const { granter, mapper, map } = granted();
    const handles = maps.map((flags, n) => map(flags, n).handle);
    expect(statusOf(granter, REF)).toBe(status);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
    handles.forEach((handle, n) => mapper.unmap({ handle, hostAddr: windowOf(mapper.domain, n) }));
    expect(statusOf(granter, REF)).toBe(0);
  });

  it('loses its writer before its reader', () => {
    const { granter, mapper, map } = granted();
    map(ro, 0);
    const { handle } = map(rw, 1);
    mapper.unmap({ handle, hostAddr: windowOf(mapper.domain, 1) });
    expect(statusOf(granter, REF)).toBe(GTF_reading);
  });

  it('an entry may be rewritten while it is in use, and its word tells when that is over (GT-44)', () => {
    const { granter, mapper, map } = granted();
    const { handle } = map(rw);
    fullPage(granter, REF, { flags: 0, domid: 0, frame: 0 });
    expect(statusOf(granter, REF)).toBe(GTF_reading | GTF_writing);
    expect(map(ro, 1).status).toBe(GNTST_okay); // the pinned frame is served
    mapper.unmap({ handle: 1, hostAddr: windowOf(mapper.domain, 1) });
    mapper.unmap({ handle, hostAddr: windowOf(mapper.domain) });
    expect(statusOf(granter, REF)).toBe(0);
    expect(seenV2(granter, REF)).toEqual({ flags: 0, domid: 0, frame: 0 });
    expect(map(ro, 1).status).toBe(GNTST_general_error);
  });

  it.each([
    ['no grant', 0, 'mapper', rw],
    ['another domain’s grant', GTF_permit_access, 'other', rw],
    ['a writer of a read-only grant', GTF_permit_access | GTF_readonly, 'mapper', rw],
  ] as const)('stays clear when the map is refused: %s', (_, flags, whose, mapFlags) => {
    const { granter, other, map } = granted(flags);
    if (whose === 'other') fullPage(granter, REF, { flags, domid: other.id, frame: 1 });
    expect(map(mapFlags).status).toBe(GNTST_general_error);
    expect(statusOf(granter, REF)).toBe(0);
  });

  it('what Xen has not set stays: other bits of the word are the guest’s affair', () => {
    const { granter, mapper, map } = granted();
    granter.machine.heap.u16[statusWordOf(granter.domain, REF) >>> 1] = 0xf000;
    const { handle } = map(rw);
    expect(statusOf(granter, REF)).toBe(0xf000 | GTF_reading | GTF_writing);
    mapper.unmap({ handle, hostAddr: windowOf(mapper.domain) });
    expect(statusOf(granter, REF)).toBe(0xf000);
  });
});
