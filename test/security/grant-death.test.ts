/** Security catalogue, grant tables: domains that die, and grants that are taken back, while somebody uses them. */
import {
  bootGuest,
  createDomain,
  createMachine,
  freePages,
  GuestMemoryError,
  ownerOf,
  PageFault,
} from '@ringside/gnttab-core';
import {
  DOMID_INVALID,
  GNTMAP_device_map,
  GNTST_bad_handle,
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
} from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { checkFrames, checkPageList, taken } from '../grant/invariants.ts';
import { Actor, windowOf, World } from '../grant/world.ts';
import {
  domainOf,
  granted,
  permit,
  permitTransitive,
  probe,
  REF,
  rw,
  versions,
} from './grant-world.ts';
import { atEveryStep, watchSteps } from './interleave.ts';

describe('a granter that dies in the middle of a copy', () => {
  const cases = versions.flatMap((version) =>
    (['from', 'to'] as const).map((direction) => ({ version, direction })),
  );
  it.each(cases)(
    'GT-20: its page lasts as long as the copy $direction it (version $version)',
    ({ version, direction }) => {
      const { world, machine, granter, mapper, remote, local } = granted(version);
      mapper.bytes(mapper.mfn(0)).fill(0x33);
      const page = granter.mfn(0);
      const owners: number[] = [];
      {
        using _watch = watchSteps(machine, (step) => {
          if (step !== 'copy') return;
          granter.destroy();
          owners.push(ownerOf(machine, page));
          expect(world.exists(granter)).toBe(true);
        });
        const [from, to] = direction === 'from' ? [remote, local] : [local, remote];
        expect(mapper.copy(from, to, 64)).toBe(GNTST_okay);
      }
      expect(owners).toEqual([granter.id]);
      expect(mapper.bytes(mapper.mfn(0))[0]).toBe(direction === 'from' ? 0x11 : 0x33);
      expect([world.exists(granter), ownerOf(machine, page)]).toEqual([false, DOMID_INVALID]);
    },
  );

  it('GT-20: so does the page behind a grant of a grant, whichever of the two dies', () => {
    for (const victim of ['middle', 'owner'] as const) {
      const world = new World(1024);
      const actors = { middle: domainOf(world, 2), owner: domainOf(world, 2) };
      const { middle, owner } = actors;
      const copier = world.domain();
      const page = owner.mfn(0);
      owner.bytes(page).fill(0x11);
      permit(owner, REF, { flags: GTF_permit_access, domid: middle.id, frame: page });
      permitTransitive(middle, REF, copier.id, owner, REF);
      {
        using _watch = watchSteps(world.machine, (step) => {
          if (step === 'copy') actors[victim].destroy();
        });
        const from = { ref: REF, domid: middle.id };
        expect(copier.copy(from, { gmfn: copier.mfn(0) }, 64)).toBe(GNTST_okay);
      }
      expect(copier.bytes(copier.mfn(0))[0]).toBe(0x11);
      expect(world.exists(actors[victim])).toBe(false);
      const left = victim === 'middle' ? owner : middle;
      expect(left.pin(REF).hstr).toBe(0);
      probe(left, copier);
    }
  });

  // Dropping the page before the pin is what XSA-236 was about.
  it.each(cases)(
    'GT-20: at any step of a copy $direction it, as long as it is pinned, its page is there (version $version)',
    ({ version, direction }) => {
      let pinned = 0;
      atEveryStep(() => {
        const { world, machine, granter, mapper, other, remote, local } = granted(
          version,
          GTF_permit_access,
          512,
        );
        const page = granter.mfn(0);
        const [from, to] = direction === 'from' ? [remote, local] : [local, remote];
        let status = 1;
        return {
          machine,
          op: () => (status = mapper.copy(from, to, 64)),
          race: () => {
            const { hstr, hstw } = granter.pin(REF);
            if (hstr + hstw === 0) return;
            pinned += 1;
            granter.destroy();
            expect([world.exists(granter), ownerOf(machine, page)]).toEqual([true, granter.id]);
          },
          check: () => {
            expect(status).toBe(GNTST_okay);
            if (granter.domain.isDying) expect(world.exists(granter)).toBe(false);
            probe(other, mapper);
          },
        };
      });
      expect(pinned).toBeGreaterThan(3);
    },
  );
});

describe('a grant that is taken back while it is mapped', () => {
  const kinds = versions.flatMap((grantVersion) =>
    (['pv', 'translated'] as const).map((type) => ({ grantVersion, type })),
  );
  it.each(kinds)(
    'GT-50: stays, and its page is kept back until it is let go (version $grantVersion, $type)',
    ({ grantVersion, type }) => {
      const machine = createMachine({ memoryPages: 1024, seed: 1 });
      const front = bootGuest(createDomain(machine, { pages: 32, type }), { grantVersion });
      const back = bootGuest(createDomain(machine, { pages: 32 }));
      const page = front.memory.allocPage();
      const ref = front.grants.grantForeignAccess(back.id, page);
      const mapping = back.mappings.map(front.id, ref);

      expect(front.grants.endForeignAccess(ref)).toBe('busy');
      expect(front.grants.deferEnd(ref, page)).toBe('deferred');
      // Everything else can be had; that page and that reference cannot.
      const pages = Array.from({ length: front.memory.freeCount }, () => front.memory.allocPage());
      expect(pages.map(({ gfn }) => gfn)).not.toContain(page.gfn);
      expect(() => front.memory.allocPage()).toThrow(GuestMemoryError);
      const refs = pages.map((other) => front.grants.grantForeignAccess(back.id, other));
      expect(refs).not.toContain(ref);
      expect([front.memory.quarantined, front.grants.deferredEnds]).toEqual([1, 1]);

      mapping[Symbol.dispose]();
      expect(front.grants.retryDeferredEnds()).toBe(0);
      expect(front.memory.quarantined).toBe(0);
      expect(front.memory.allocPage().gfn).toBe(page.gfn);
    },
  );
});

describe('a granter that dies while it is mapped', () => {
  it.each(versions)(
    'GT-51: is a ghost until it is let go; its id and its pages are nobody else’s (version %i)',
    (version) => {
      const { world, machine, granter, mapper, entry, unmap, map } = granted(version);
      for (const n of [1, 2]) permit(granter, REF + n, { ...entry, frame: granter.mfn(n) });
      const mapped = [0, 1, 2].map((n) => map(rw, n, REF + n));
      expect(mapped.map(({ status }) => status)).toEqual([0, 0, 0]);
      const va = (n: number) => windowOf(mapper.domain, n);
      const domid = granter.id;
      const pages = [0, 1, 2].map((n) => granter.mfn(n));
      granter.destroy();
      expect([world.exists(granter), granter.domain.totPages]).toEqual([true, 3]);
      expect(() => createDomain(machine, { pages: 4, domid })).toThrow(RangeError);
      const bystander = world.domain({ pages: 200, maxPages: 200 });
      const theirs = new Set(Array.from({ length: 200 }, (_, gfn) => bystander.mfn(gfn)));
      for (const page of pages) expect(theirs.has(page)).toBe(false);

      [0, 1, 2].forEach((n) => mapper.poke(va(n), 0x60 + n));
      expect([0, 1, 2].map((n) => mapper.peek(va(n)))).toEqual([0x60, 0x61, 0x62]);
      mapped.forEach(({ handle }, n) => {
        expect(world.exists(granter)).toBe(true);
        expect(unmap(handle, n)).toBe(GNTST_okay);
      });
      expect(world.exists(granter)).toBe(false);

      const namesake = new Actor(createDomain(machine, { pages: 16, domid }));
      expect(namesake.id).toBe(domid);
      for (const n of [0, 1, 2]) expect(() => mapper.peek(va(n))).toThrow(PageFault);
      expect(map(rw, 0, REF).status).toBe(GNTST_general_error);
      for (const { handle } of mapped) expect(unmap(handle, 0)).toBe(GNTST_bad_handle);
      probe(namesake, mapper);
    },
  );

  it('GT-51: a handle without a view does not outlive it: its namesake owes it nothing', () => {
    const { world, machine, granter, mapper, map } = granted();
    const { handle } = map(rw);
    const hostAddr = windowOf(mapper.domain);
    // The mapper drops its view by hand; pin and handle stay, and no reference to the page.
    expect(mapper.hypercalls.updateVaMapping(hostAddr, null, false)).toBe(0);
    const domid = granter.id;
    granter.destroy();
    expect(world.exists(granter)).toBe(false);
    const namesake = new Actor(createDomain(machine, { pages: 16, domid }));
    permit(namesake, REF, { flags: GTF_permit_access, domid: mapper.id, frame: namesake.mfn(0) });
    const fresh = map(rw, 1);
    expect(fresh.status).toBe(GNTST_okay);
    expect(mapper.unmap({ handle, hostAddr })).toBeLessThan(0);
    expect([namesake.pin(REF).hstw, namesake.extraReferences(0)]).toEqual([1, 1]);
    probe(namesake, mapper);
  });

  it('GT-51: nothing is lost when both die, in either order', () => {
    for (const order of [
      ['granter', 'mapper'],
      ['mapper', 'granter'],
    ] as const) {
      const world = new World(1024);
      taken(world.machine);
      const free = freePages(world.machine);
      const actors = { granter: world.domain(), mapper: world.domain() };
      const { granter, mapper } = actors;
      permit(granter, REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.mfn(0) });
      const op = { dom: granter.id, ref: REF, hostAddr: windowOf(mapper.domain) };
      expect(mapper.map({ ...op, flags: rw | GNTMAP_device_map }).status).toBe(GNTST_okay);
      checkPageList(granter);
      for (const who of order) actors[who].destroy();
      expect([world.exists(granter), world.exists(mapper)]).toEqual([false, false]);
      expect(freePages(world.machine)).toBe(free);
      checkFrames(world.machine);
    }
  });
});
