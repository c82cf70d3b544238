/**
 * Ending a grant that the peer still uses: the queue, the page that nobody gets meanwhile (XSA-396), and `released$`.
 */
import {
  destroyDomain,
  GrantError,
  type GrantRef,
  GuestMemoryError,
  type GuestPage,
  InvariantError,
  type Released,
} from '@ringside/gnttab-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { exhaust, freeIn, type Pair, pair, pass, shared, versions } from './guests.ts';

/** The emissions of `released$`. */
function released({ guest }: Pair): (readonly Released[])[] {
  const seen: (readonly Released[])[] = [];
  guest.grants.released$.subscribe((batch) => seen.push(batch));
  return seen;
}

/** Every page that the guest has to give. */
function allPages({ guest }: Pair): GuestPage[] {
  return Array.from({ length: guest.memory.freeCount }, () => guest.memory.allocPage());
}

describe.each(versions)('version %i', (grantVersion) => {
  const small = () => pair({ grantVersion, maxGrantFrames: 1 });
  const SHARED = freeIn(1, grantVersion);

  describe('deferEnd', () => {
    it('ends at once what nobody uses, and frees the page', () => {
      const { guest, peer } = small();
      const page = guest.memory.allocPage();
      const ref = guest.grants.grantForeignAccess(peer.id, page);
      const free = guest.memory.freeCount;
      expect(guest.grants.deferEnd(ref, page)).toBe('ended');
      expect(guest.memory.freeCount).toBe(free + 1);
      expect([guest.grants.deferredEnds, guest.grants.freeCount]).toEqual([0, SHARED]);
    });

    it('queues what the peer uses: neither reference nor page is given out', async () => {
      const all = small();
      const { guest, machine } = all;
      const { ref, page, mapping } = shared(all);
      expect(guest.grants.deferEnd(ref, page)).toBe('deferred');
      expect([guest.grants.deferredEnds, guest.memory.quarantined]).toEqual([1, 1]);
      await pass(machine, 1e9);
      expect(allPages(all)).not.toContain(page);
      expect(() => guest.memory.allocPage()).toThrow(GuestMemoryError);
      const first = exhaust(all);
      expect(first).toBeGreaterThan(ref);
      expect(() => guest.grants.allocGrantReferences(1)).toThrow(GrantError);
      mapping.unmap();
      expect(guest.grants.retryDeferredEnds()).toBe(0);
      expect(guest.memory.allocPage()).toBe(page);
      expect(guest.grants.allocGrantReferences(1).claim()).toBe(ref);
    });

    it('looks again by itself', async () => {
      const all = small();
      const { guest, machine } = all;
      const { ref, page, mapping } = shared(all);
      guest.grants.deferEnd(ref, page);
      await pass(machine, 100e6);
      expect(guest.grants.deferredEnds).toBe(1);
      mapping.unmap();
      await pass(machine, 300e6);
      expect([guest.grants.deferredEnds, guest.memory.quarantined]).toEqual([0, 0]);
      expect(guest.grants.freeCount).toBe(SHARED);
    });

    it('gives up looking after a while, so that a run can end; a call, or the next on the queue, looks again', async () => {
      const all = small();
      const { guest, machine } = all;
      const [one, two] = [shared(all), shared(all)];
      guest.grants.deferEnd(one.ref, one.page);
      await pass(machine, 60e9);
      one.mapping.unmap();
      await pass(machine, 60e9);
      expect(guest.grants.deferredEnds).toBe(1);
      guest.grants.deferEnd(two.ref, two.page);
      await pass(machine, 1e9);
      expect(guest.grants.deferredEnds).toBe(1); // the first is gone, the second is mapped
      two.mapping.unmap();
      expect(guest.grants.retryDeferredEnds()).toBe(0);
    });

    it('looks no more when its domain is gone', async () => {
      const all = small();
      const { guest, machine } = all;
      const { ref, page, mapping } = shared(all);
      guest.grants.deferEnd(ref, page);
      destroyDomain(guest.domain);
      mapping.unmap();
      await pass(machine, 60e9);
      expect(guest.grants.deferredEnds).toBe(1);
    });
  });

  it('tryEndForeignAccess ends and frees, or leaves it', () => {
    const all = small();
    const { guest } = all;
    const { ref, mapping } = shared(all);
    expect(guest.grants.tryEndForeignAccess(ref)).toBe(false);
    expect([guest.grants.freeCount, guest.grants.deferredEnds]).toEqual([SHARED - 1, 0]);
    mapping.unmap();
    expect(guest.grants.tryEndForeignAccess(ref)).toBe(true);
    expect(guest.grants.freeCount).toBe(SHARED);
    expect(() => guest.grants.tryEndForeignAccess(ref)).toThrow(InvariantError);
  });

  describe('released$', () => {
    it('tells of references and pages that are free again, once for each look', async () => {
      const all = small();
      const { guest, machine } = all;
      const seen = released(all);
      const [one, two, three] = [shared(all), shared(all), shared(all)];
      guest.grants.deferEnd(one.ref, one.page);
      guest.grants.deferEnd(two.ref);
      guest.grants.deferEnd(three.ref, three.page);
      one.mapping.unmap();
      two.mapping.unmap();
      expect(guest.grants.retryDeferredEnds()).toBe(1);
      expect(seen).toEqual([]); // in a task of its own
      await pass(machine);
      expect(seen).toEqual([
        [
          { ref: one.ref, page: one.page },
          { ref: two.ref, page: undefined },
        ],
      ]);
      three.mapping.unmap();
      await pass(machine, 2e9);
      expect(seen[1]).toEqual([{ ref: three.ref, page: three.page }]);
      expect(seen.length).toBe(2);
    });

    it('says nothing of grants that ended at once', async () => {
      const all = small();
      const { guest, peer, machine } = all;
      const seen = released(all);
      const page = guest.memory.allocPage();
      guest.grants.deferEnd(guest.grants.grantForeignAccess(peer.id, page), page);
      await pass(machine, 2e9);
      expect(seen).toEqual([]);
    });

    it('lets who hears of it grant and end again', async () => {
      const all = small();
      const { guest, machine, peer } = all;
      const again: GrantRef[] = [];
      guest.grants.released$.subscribe((batch) => {
        for (const { ref, page } of batch) {
          expect(guest.memory.allocPage()).toBe(page);
          again.push(guest.grants.grantForeignAccess(peer.id, page!));
          expect(again.at(-1)).toBe(ref);
        }
      });
      const { ref, page, mapping } = shared(all);
      guest.grants.deferEnd(ref, page);
      mapping.unmap();
      await pass(machine, 1e9);
      expect(again).toEqual([ref]);
    });
  });
});

describe('a page that is freed while it is granted', () => {
  it('is handed out when its last grant has ended', () => {
    const { guest, peer } = pair();
    const page = guest.memory.allocPage();
    const refs = [1, 2].map(() => guest.grants.grantForeignAccess(peer.id, page));
    guest.memory.freePage(page);
    expect([guest.memory.quarantined, guest.memory.isShared(page)]).toEqual([1, true]);
    expect(() => guest.memory.freePage(page)).toThrow(/page 0 is free already/);
    guest.grants.endForeignAccess(refs[0]!);
    expect(guest.memory.quarantined).toBe(1);
    guest.grants.endForeignAccess(refs[1]!);
    expect([guest.memory.quarantined, guest.memory.isShared(page)]).toEqual([0, false]);
    expect(guest.memory.allocPage()).toBe(page);
  });

  it('may be freed with either of its grants', () => {
    const all = pair();
    const { guest, peer } = all;
    const { page, ref, mapping } = shared(all);
    const other = guest.grants.grantForeignAccess(peer.id, page);
    guest.grants.deferEnd(other, page);
    expect(guest.memory.quarantined).toBe(1);
    guest.grants.deferEnd(ref);
    mapping.unmap();
    guest.grants.retryDeferredEnds();
    expect(guest.memory.quarantined).toBe(0);
  });

  it.each(['pv', 'translated'] as const)(
    'is known by its frame too, in a %s guest: a grant by frame counts',
    (type) => {
      const { guest, peer } = pair({ type });
      const [page, other] = [guest.memory.allocPage(), guest.memory.allocPage()];
      const ref = guest.grants.allocGrantReferences(1).claim();
      guest.grants.grantForeignAccessRef(ref, peer.id, guest.memory.frameOf(page), false);
      expect([guest.memory.isShared(page), guest.memory.isShared(other)]).toEqual([true, false]);
      guest.memory.freePage(page);
      expect(guest.memory.quarantined).toBe(1);
      guest.grants.endForeignAccessRef(ref);
      expect(guest.memory.quarantined).toBe(0);
    },
  );

  it('a frame that is none of our pages harms none of them', () => {
    const { guest, peer } = pair();
    const foreign = peer.memory.frameOf(peer.memory.allocPage());
    const reserve = guest.grants.allocGrantReferences(3);
    for (const frame of [foreign, 2 ** 28, 2 ** 32 + 1]) {
      const ref = reserve.claim();
      guest.grants.grantForeignAccessRef(ref, peer.id, frame, false);
      for (const page of allPages({ guest } as Pair)) {
        expect(guest.memory.isShared(page)).toBe(false);
        guest.memory.freePage(page);
      }
      guest.grants.endForeignAccessRef(ref);
    }
    expect(guest.memory.quarantined).toBe(0);
  });
});

it('whatever is granted, mapped, unmapped, given up and looked at: what is reachable is never handed out', () => {
  const steps = fc.array(fc.tuple(fc.nat(4), fc.nat(100)), { maxLength: 80 });
  fc.assert(
    fc.property(steps, (list) => {
      const all = pair({ maxGrantFrames: 1, pages: 12 });
      const { guest, peer } = all;
      const { memory, grants } = guest;
      const total = memory.freeCount;
      const live: { page: GuestPage; ref: GrantRef }[] = [];
      const deferred: typeof live = [];
      const mapped = new Map<GrantRef, Disposable>();
      const pick = <T>(from: T[], n: number) => from.splice(n % from.length, 1)[0];
      const letGo = (n: number) => {
        const ref = pick([...mapped.keys()], n)!;
        mapped.get(ref)![Symbol.dispose]();
        mapped.delete(ref);
      };
      for (const [step, n] of list) {
        if (step === 0 && memory.freeCount > 0) {
          const page = memory.allocPage();
          live.push({ page, ref: grants.grantForeignAccess(peer.id, page) });
        } else if (step === 1 && live.length > 0) {
          const { ref } = live[n % live.length]!;
          if (!mapped.has(ref)) mapped.set(ref, peer.mappings.map(guest.id, ref));
        } else if (step === 2 && mapped.size > 0) letGo(n);
        else if (step === 3 && live.length > 0) {
          const grant = pick(live, n)!;
          const busy = mapped.has(grant.ref);
          expect(grants.deferEnd(grant.ref, grant.page)).toBe(busy ? 'deferred' : 'ended');
          if (busy) deferred.push(grant);
        } else if (step === 4) {
          const left = deferred.filter(({ ref }) => mapped.has(ref));
          expect(grants.retryDeferredEnds()).toBe(left.length);
          deferred.splice(0, deferred.length, ...left);
        }
        expect(grants.deferredEnds).toBe(deferred.length);
        expect(memory.quarantined).toBe(deferred.length);
        expect(memory.freeCount).toBe(total - live.length - deferred.length);
        expect(grants.freeCount).toBe(freeIn(1) - live.length - deferred.length);
      }
      while (mapped.size > 0) letGo(0);
      expect(grants.retryDeferredEnds()).toBe(0);
      expect(grants.endForeignAccessBatch(live.map(({ ref }) => ref))).toEqual([]);
      expect([grants.freeCount, memory.quarantined]).toEqual([freeIn(1), 0]);
    }),
    { numRuns: 100 },
  );
});
