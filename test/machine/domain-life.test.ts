/** Creating and destroying domains: nothing is left behind, nothing is freed that somebody still uses. */
import {
  createDomain,
  createMachine,
  destroyDomain,
  freePages,
  Hypercalls,
  Machine,
  OutOfMemory,
  PAGE_SIZE,
} from '@ringside/gnttab-core';
import {
  GNTMAP_host_map,
  GNTST_bad_domain,
  GNTST_okay,
  GTF_permit_access,
  GTF_reading,
  GTF_writing,
  XEN_ENXIO,
  XENMAPSPACE_grant_table,
} from '@ringside/gnttab-core/abi';
import { machineHeader, sharedFrameAt } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { Actor, windowOf, World } from '../grant/world.ts';

const REF = 8;
const grantTo = (granter: Actor, mapper: Actor, frame: number) => {
  granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame });
  const hostAddr = windowOf(mapper.domain);
  const op = mapper.map({ dom: granter.id, ref: REF, flags: GNTMAP_host_map, hostAddr });
  expect(op.status).toBe(GNTST_okay);
  return { handle: op.handle, hostAddr };
};

describe('a thousand domains', () => {
  it.each(['pv', 'translated'] as const)('%s: leave nothing behind', (type) => {
    const machine = createMachine({ memoryPages: 512, traceRecords: 0 });
    const before = freePages(machine);
    for (let n = 0; n < 1000; n++) {
      const domain = createDomain(machine, { pages: 8, type });
      new Hypercalls(domain).setupTable(2);
      destroyDomain(domain);
      expect(freePages(machine)).toBe(before);
    }
  });
});

describe('a creation that fails', () => {
  it.each(['pv', 'translated'] as const)(
    '%s: for want of memory, at any step, takes nothing and no id',
    (type) => {
      const options = { pages: 40, type, domid: 7, maxGrantFrames: 2 };
      const machine = createMachine({ memoryPages: 512, traceRecords: 0 });
      const whole = freePages(machine);
      const probe = createDomain(machine, options);
      const needed = whole - freePages(machine);
      destroyDomain(probe);
      const glutton = createDomain(machine, { pages: 0, maxPages: 512 });
      const calls = new Hypercalls(glutton);
      for (let left = 0; left <= needed; left++) {
        const taken = calls.increaseReservation(freePages(machine) - left);
        const attempt = () => createDomain(machine, options);
        if (left < needed) expect(attempt, `${left} frames are free`).toThrow(OutOfMemory);
        else destroyDomain(attempt());
        expect(freePages(machine)).toBe(left);
        expect(machine.domainById(options.domid) === undefined).toBe(true);
        expect(calls.decreaseReservation(taken)).toBe(taken.length);
      }
      destroyDomain(glutton);
      expect(freePages(machine)).toBe(whole);
    },
  );

  it.each([
    [{ pages: 9, maxPages: 8 }, /9 pages cannot have at most 8/],
    [{ maxGrantFrames: 0 }, /maxGrantFrames 0/],
    [{ maxMaptrackFrames: 1025 }, /maxMaptrackFrames 1025: allowed are 0 to 1024/],
    [{ domid: 0x7ff0 }, /domain id 32752 is not below 32752/],
    [{ domid: -1 }, /domain id -1/],
    [{ domid: 1.5 }, /domain id 1.5/],
    [{ domid: 3 }, /there is a domain 3 already/],
  ])('for a limit or id that cannot be: %o', (options, message) => {
    const machine = createMachine({ memoryPages: 512 });
    createDomain(machine, { pages: 4, domid: 3 });
    const before = freePages(machine);
    expect(() => createDomain(machine, { pages: 4, ...options })).toThrow(RangeError);
    expect(() => createDomain(machine, { pages: 4, ...options })).toThrow(message);
    expect(freePages(machine)).toBe(before);
  });
});

describe('domain ids', () => {
  it('are given out in order, and from the start again when all have been used', () => {
    const machine = createMachine({ memoryPages: 512, traceRecords: 0 });
    const create = () => createDomain(machine, { pages: 0, type: 'translated' });
    const dom0 = create();
    const stays = create();
    expect([dom0.id, stays.id]).toEqual([0, 1]);
    // Thirty thousand domains later.
    machine.heap.u32[machineHeader.offset.next_domid >>> 2] = 0x7fef;
    const last = create();
    expect(last.id).toBe(0x7fef);
    expect(create().id).toBe(2);
    destroyDomain(dom0);
    expect(create().id).toBe(3); // not 0: that is the control domain's
  });

  it('one used again is another domain, of whatever kind', () => {
    const world = new World();
    const old = world.domain({ type: 'pv', privileged: true });
    const { id } = old;
    old.destroy();
    const fresh = world.domain({ type: 'translated', domid: id });
    expect(fresh.domain).toMatchObject({ translated: true, privileged: false, alive: true });
    expect(old.domain.alive).toBe(false);
    old.destroy(); // says nothing to its namesake
    expect(fresh.domain.alive).toBe(true);
  });
});

describe('a granter’s death', () => {
  it.each(['pv', 'translated'] as const)(
    '%s: waits for a peer that was granted and maps its grant table',
    (type) => {
      const world = new World();
      const before = freePages(world.machine);
      const mapper = world.domain();
      const victim = world.domain({ type });
      const [frame] = victim.hypercalls.setupTable(1).frames;
      let name = frame!;
      if (type === 'translated') {
        name = 100;
        expect(victim.hypercalls.addToPhysmap(XENMAPSPACE_grant_table, 0, name)).toBe(0);
      }
      const mapping = grantTo(victim, mapper, name);
      victim.destroy();
      expect(world.exists(victim)).toBe(true);
      expect(mapper.peek(mapping.hostAddr + REF * 8)).toBe(
        GTF_permit_access | GTF_reading | GTF_writing,
      );
      expect(mapper.unmap(mapping)).toBe(GNTST_okay);
      expect(world.exists(victim)).toBe(false);
      mapper.destroy();
      expect(freePages(world.machine)).toBe(before);
    },
  );

  it('waits for a peer that maps its shared info page, even through the peer’s own death', () => {
    const world = new World();
    const before = freePages(world.machine);
    const [victim, mapper] = [world.domain(), world.domain()];
    grantTo(victim, mapper, victim.domain.sharedInfo);
    victim.destroy();
    expect(world.exists(victim)).toBe(true);
    mapper.destroy();
    expect([world.exists(victim), world.exists(mapper)]).toEqual([false, false]);
    expect(freePages(world.machine)).toBe(before);
  });

  it('is complete when a mapping of its last page is overwritten', () => {
    const world = new World();
    const [granter, mapper] = [world.domain(), world.domain()];
    const { hostAddr } = grantTo(granter, mapper, granter.mfn(0));
    granter.destroy();
    expect(world.exists(granter)).toBe(true);
    mapper.hypercalls.updateVaMapping(hostAddr, mapper.mfn(1), true);
    expect(world.exists(granter)).toBe(false);
  });

  it('several ghosts go with the one who held them all', () => {
    const world = new World();
    const before = freePages(world.machine);
    const mapper = world.domain();
    const ghosts = Array.from({ length: 5 }, () => world.domain());
    ghosts.forEach((ghost, n) => {
      ghost.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: ghost.mfn(0) });
      const hostAddr = windowOf(mapper.domain, n);
      mapper.map({ dom: ghost.id, ref: REF, flags: GNTMAP_host_map, hostAddr });
      ghost.destroy();
    });
    expect(ghosts.every((ghost) => world.exists(ghost))).toBe(true);
    mapper.destroy();
    expect(ghosts.some((ghost) => world.exists(ghost))).toBe(false);
    expect(freePages(world.machine)).toBe(before);
  });

  it('frees nothing that a live peer still reads, and the next domain gets none of it', () => {
    const world = new World(512);
    const [granter, mapper] = [world.domain(), world.domain()];
    granter.bytes(granter.mfn(0)).fill(0x5a);
    const frame = granter.mfn(0);
    const { hostAddr } = grantTo(granter, mapper, frame);
    granter.destroy();
    const next = world.domain({ pages: 0, maxPages: 512 });
    expect(next.hypercalls.increaseReservation(512)).not.toContain(frame);
    expect(mapper.peek(hostAddr)).toBe(0x5a);
  });
});

describe('a handle whose granter is gone', () => {
  it('belongs to nobody who comes to have that id', () => {
    const world = new World();
    const [granter, mapper, third] = [world.domain(), world.domain(), world.domain()];
    const { handle, hostAddr } = grantTo(granter, mapper, granter.mfn(0));
    mapper.hypercalls.updateVaMapping(hostAddr, null, false);
    granter.destroy();
    const fresh = world.domain({ domid: granter.id });
    // The namesake's entry of that number is somebody else's, and in use.
    const live = grantTo(fresh, third, fresh.mfn(0));
    expect(mapper.unmap({ handle, hostAddr })).toBe(GNTST_bad_domain);
    mapper.destroy();
    expect(fresh.pin(REF)).toEqual({ hstw: 1, hstr: 0, devw: 0, devr: 0 });
    expect(third.unmap(live)).toBe(GNTST_okay);
    expect(fresh.pin(REF).hstw).toBe(0);
  });
});

describe('what Xen shares with a domain is not the domain’s to give away', () => {
  it.each(['pv', 'translated'] as const)('%s: decrease_reservation stops at it', (type) => {
    const world = new World();
    const guest = world.domain({ type });
    const free = freePages(world.machine);
    if (type === 'translated') guest.hypercalls.addToPhysmap(XENMAPSPACE_grant_table, 0, 200);
    const name = guest.hypercalls.setupTable(1).frames[0]!;
    expect(guest.hypercalls.decreaseReservation([name])).toBe(0);
    expect(freePages(world.machine)).toBe(free);
    expect(guest.domain.totPages).toBe(16);
    expect(guest.hypercalls.setupTable(1).frames).toEqual([name]);
  });

  it('a translated domain cannot free its page through a second name for it', () => {
    const world = new World();
    const guest = world.domain({ type: 'translated' });
    grantTo(guest, guest, 0);
    const alias = windowOf(guest.domain) / PAGE_SIZE;
    expect(guest.hypercalls.decreaseReservation([alias])).toBe(0);
    expect(guest.domain.totPages).toBe(16);
  });

  describe('a gfn that maps another domain’s grant', () => {
    function mapping() {
      const world = new World();
      const granter = world.domain();
      const guest = world.domain({ type: 'translated' });
      const { hostAddr } = grantTo(granter, guest, granter.mfn(0));
      expect(granter.extraReferences(0)).toBe(1);
      return { granter, guest, gfn: hostAddr / PAGE_SIZE };
    }

    it('given a frame of Xen’s: refused', () => {
      const { granter, guest, gfn } = mapping();
      const result = guest.hypercalls.addToPhysmap(XENMAPSPACE_grant_table, 0, gfn);
      expect(result).toBe(-XEN_ENXIO);
      expect(granter.extraReferences(0)).toBe(1);
    });

    it('populated: the end of the domain, whose mapping goes with it', () => {
      const { granter, guest, gfn } = mapping();
      expect(guest.hypercalls.populatePhysmap([gfn])).toBe(0);
      expect(guest.domain.crashed).toBe(true);
      expect(guest.domain.totPages).toBe(16);
      expect(granter.extraReferences(0)).toBe(1);
      guest.destroy();
      expect(granter.extraReferences(0)).toBe(0);
    });
  });
});

it('a frame of Xen’s that a translated domain puts at another gfn leaves the old one', () => {
  const guest = new World().domain({ type: 'translated' });
  const frame = sharedFrameAt(guest.domain, 0);
  for (const gfn of [100, 110, 110]) {
    expect(guest.hypercalls.addToPhysmap(XENMAPSPACE_grant_table, 0, gfn)).toBe(0);
    expect([100, 110].filter((at) => guest.mfn(at) === frame)).toEqual([gfn]);
  }
});

describe('a second handle on the same memory', () => {
  const attach = (world: World) => new Machine(world.machine.share());

  it('knows the domains, and their hypercalls change the one world', () => {
    const world = new World();
    const granter = world.domain();
    const mapper = world.domain();
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.mfn(0) });
    const there = attach(world).domainById(mapper.id)!;
    const elsewhere = new Actor(there);
    const hostAddr = windowOf(there);
    const { handle, status } = elsewhere.map({
      dom: granter.id,
      ref: REF,
      flags: GNTMAP_host_map,
      hostAddr,
    });
    expect(status).toBe(GNTST_okay);
    expect(granter.pin(REF).hstw).toBe(1);
    expect(mapper.pte()?.frame).toBe(granter.mfn(0));
    mapper.poke(hostAddr, 7);
    expect(elsewhere.peek(hostAddr)).toBe(7);
    expect(mapper.unmap({ handle, hostAddr })).toBe(GNTST_okay);
    expect(mapper.domain.counters().maps).toBe(1);
  });

  it('creates and destroys domains that the first one sees come and go', () => {
    const world = new World();
    const before = freePages(world.machine);
    const second = attach(world);
    const domain = createDomain(second, { pages: 4, type: 'translated' });
    expect(world.machine.domainById(domain.id)?.translated).toBe(true);
    expect(freePages(world.machine)).toBeLessThan(before);
    destroyDomain(domain);
    expect(world.machine.domainById(domain.id) === undefined).toBe(true);
    expect(freePages(world.machine)).toBe(before);
  });

  it('that never created a domain buries one all the same', () => {
    const world = new World();
    const before = freePages(world.machine);
    const [granter, mapper] = [world.domain(), world.domain()];
    const mapping = grantTo(granter, mapper, granter.mfn(0));
    const second = attach(world);
    destroyDomain(second.domainById(granter.id)!);
    expect(new Actor(second.domainById(mapper.id)!).unmap(mapping)).toBe(GNTST_okay);
    expect(world.exists(granter)).toBe(false);
    destroyDomain(attach(world).domainById(mapper.id)!);
    expect(freePages(world.machine)).toBe(before);
  });

  it('is not deceived by a new domain at an old one’s place', () => {
    const world = new World();
    const second = attach(world);
    const old = world.domain({ type: 'pv' });
    expect(second.domainById(old.id)?.translated).toBe(false);
    old.destroy();
    const fresh = world.domain({ type: 'translated', domid: old.id });
    expect(fresh.domain.base).toBe(old.domain.base);
    expect(second.domainById(old.id)?.translated).toBe(true);
  });
});

it('a page that was another’s is empty when it is handed out again', () => {
  const world = new World(512);
  const old = world.domain();
  for (let gfn = 0; gfn < 16; gfn++) old.bytes(old.mfn(gfn)).fill(0xee);
  old.destroy();
  const fresh = world.domain({ pages: 32 });
  for (let gfn = 0; gfn < 32; gfn++) {
    expect(fresh.bytes(fresh.mfn(gfn)).every((byte) => byte === 0)).toBe(true);
  }
});

it('a domain that was destroyed makes no hypercalls: its memory may be another’s by now', () => {
  const world = new World();
  const [granter, dead] = [world.domain(), world.domain()];
  const mapping = grantTo(granter, dead, granter.mfn(0));
  dead.destroy();
  const heir = world.domain();
  const before = heir.domain.counters();
  const attempts = [
    () => dead.unmap(mapping),
    () => dead.copy({ gmfn: 1 }, { gmfn: 2 }, 8),
    () => dead.hypercalls.evtchnSend(1),
    () => dead.hypercalls.increaseReservation(1),
  ];
  for (const attempt of attempts) expect(attempt).toThrow(`domain ${dead.id}, which was destroyed`);
  expect(heir.domain.counters()).toEqual(before);
});
