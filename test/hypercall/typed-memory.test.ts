/** The typed door's calls about memory: the operations of the binary door, over numbers. */
import { GnttabCacheFlush } from '@ringside/gnttab-core';
import {
  GNTMAP_host_map,
  GNTTAB_CACHE_CLEAN,
  GNTTAB_CACHE_INVAL,
  GTF_permit_access,
  XEN_EACCES,
  XEN_EINVAL,
  XEN_ENOMEM,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
  XENMAPSPACE_gmfn,
  XENMEM_resource_grant_table,
  XENMEM_resource_grant_table_id_shared,
  XENMEM_resource_grant_table_id_status,
} from '@ringside/gnttab-core/abi';
import {
  limitDomainHeap,
  nrGrantFrames,
  pageInfo,
  sharedFrameAt,
  statusFrameAt,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { checkPageList, checkPhysmap } from '../grant/invariants.ts';
import { type Actor, windowOf, World } from '../grant/world.ts';

const m2p = ({ machine }: Actor, mfn: number): number =>
  machine.heap.u32[(machine.pageInfo(mfn) + pageInfo.offset.gfn) >>> 2]!;
const shared = { type: XENMEM_resource_grant_table, id: XENMEM_resource_grant_table_id_shared };
const status = { type: XENMEM_resource_grant_table, id: XENMEM_resource_grant_table_id_status };

describe.each(['pv', 'translated'] as const)('%s', (type) => {
  const one = () => new World().domain({ pages: 16, type });
  /** An own page that can be given away, as its domain names it. */
  const loose = (actor: Actor, gfn: number) => (type === 'pv' ? actor.detach(gfn) : gfn);

  it('memoryExchange: fresh pages, empty, behind the gfns', () => {
    const actor = one();
    const old = [actor.mfn(2), actor.mfn(3)];
    actor.bytes(old[0]!).fill(0x77);
    const gmfns = [loose(actor, 2), loose(actor, 3)];
    const { result, mfns } = actor.hypercalls.memoryExchange(gmfns, [100, 101]);
    expect([result, mfns]).toEqual([0, [actor.mfn(100), actor.mfn(101)]]);
    for (const mfn of mfns) expect(actor.bytes(mfn).every((byte) => byte === 0)).toBe(true);
    expect(mfns).not.toContain(old[1]);
    expect(actor.domain.totPages).toBe(16);
    checkPageList(actor);
    checkPhysmap(actor.domain);
  });

  it('memoryExchange ends with its first error', () => {
    const actor = one();
    const { hypercalls } = actor;
    const gmfns = [loose(actor, 2), 0xff_ffff, loose(actor, 3)];
    const kept = actor.mfn(3);
    const { result, mfns } = hypercalls.memoryExchange(gmfns, [100, 101, 102]);
    expect([result, mfns]).toEqual([-XEN_EINVAL, [actor.mfn(100)]]);
    expect(hypercalls.memoryExchange(gmfns, [100])).toEqual({ result: -XEN_EINVAL, mfns: [] });
    limitDomainHeap(actor.machine, 0);
    const without = hypercalls.memoryExchange([gmfns[2]!], [102]);
    expect(without).toEqual({ result: -XEN_ENOMEM, mfns: [] });
    expect([actor.mfn(3), m2p(actor, kept)]).toEqual([kept, 3]);
    checkPhysmap(actor.domain);
  });

  it('gnttabCacheFlush: own pages, and those of a grant that is in use', () => {
    const world = new World();
    const granter = world.domain({ type });
    const user = world.domain({ type });
    granter.entry(8, { flags: GTF_permit_access, domid: user.id, frame: granter.frame(3) });
    const flush = (mfn: number, op = GNTTAB_CACHE_CLEAN) =>
      user.hypercalls.gnttabCacheFlush(
        Object.assign(new GnttabCacheFlush(), { devBusAddr: mfn * 4096, length: 64, op }),
      );
    // Every pause that a search may make is made.
    world.machine.preemptCheck = () => true;
    expect(flush(user.mfn(0))).toBe(0);
    expect(flush(user.mfn(0), GNTTAB_CACHE_INVAL)).toBe(-XEN_EOPNOTSUPP);
    expect(flush(granter.mfn(3))).toBe(-XEN_EINVAL);
    const hostAddr = windowOf(user.domain);
    user.map({ ref: 8, dom: granter.id, flags: GNTMAP_host_map, hostAddr });
    expect(flush(granter.mfn(3))).toBe(0);
  });

  it('acquireResource: frames of another’s grant table, for a PV control domain', () => {
    const world = new World();
    const control = world.domain({ type, privileged: true });
    const guest = world.domain();
    const acquire = (caller: Actor, what = shared, frame = 0, count = 2, domid = guest.id) =>
      caller.hypercalls.acquireResource({ domid, ...what }, frame, count);
    if (type === 'translated') {
      expect(acquire(control)).toEqual({ result: -XEN_EACCES, mfns: [] });
      return;
    }
    const acquired = acquire(control, shared, 1);
    expect(nrGrantFrames(guest.domain)).toBe(3);
    const mfns = [1, 2].map((i) => sharedFrameAt(guest.domain, i));
    expect(acquired).toEqual({ result: 0, mfns });
    guest.hypercalls.setGrantVersion(2);
    expect(acquire(control, status, 0, 1).mfns).toEqual([statusFrameAt(guest.domain, 0)]);
    const refused: [ReturnType<typeof acquire>, number][] = [
      [acquire(control, shared, 0, 1, 99), -XEN_ESRCH],
      [acquire(control, shared, 0, 1, control.id), -XEN_EPERM],
      [acquire(guest, shared, 0, 1, control.id), -XEN_EPERM],
      [acquire(control, { ...shared, type: 9 }), -XEN_EINVAL],
      [acquire(control, shared, 1 << 20), -XEN_EINVAL],
      [acquire(control, shared, -1), -XEN_EINVAL],
    ];
    for (const [answer, result] of refused) expect(answer).toEqual({ result, mfns: [] });
  });

  it('machphysUpdate told Xen where a translated domain’s pages are: only a PV domain may', () => {
    const actor = one();
    const mfn = actor.mfn(3);
    const before = actor.domain.counters().hypercalls;
    expect(actor.hypercalls.machphysUpdate(mfn, 77)).toBe(type === 'pv' ? 0 : -XEN_EINVAL);
    expect(m2p(actor, mfn)).toBe(type === 'pv' ? 77 : 3);
    expect(actor.domain.counters().hypercalls).toBe(before + 1);
    if (type === 'pv') return;
    // A page that is elsewhere than m2p says would be left behind when it moves.
    expect(actor.hypercalls.addToPhysmap(XENMAPSPACE_gmfn, 3, 100)).toBe(0);
    checkPhysmap(actor.domain);
  });

  it('machphysUpdate ran for a domain that had crashed, or was destroyed', () => {
    const [crashed, dead] = [one(), one()];
    const mfns = [crashed.mfn(3), dead.mfn(3)];
    crashed.domain.crash('for the test');
    dead.destroy();
    expect(() => crashed.hypercalls.machphysUpdate(mfns[0]!, 1)).toThrow('which has crashed');
    expect(() => dead.hypercalls.machphysUpdate(mfns[1]!, 1)).toThrow('which was destroyed');
  });
});
