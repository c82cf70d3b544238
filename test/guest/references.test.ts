/** Grant references: taken singly, in batches and in runs; given back; and what says that one is misused. */
import { GrantError, type GrantRef, InvariantError } from '@ringside/gnttab-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { freeIn, pair, shared, versions } from './guests.ts';

describe.each(versions)('a table of version %i', (grantVersion) => {
  const small = (frames = 1) => pair({ grantVersion, maxGrantFrames: frames });
  const SHARED = freeIn(1, grantVersion);

  describe('a batch', () => {
    it('grants each page, in order, and ends them all', () => {
      const { guest, peer } = small();
      const pages = guest.memory.allocPages(5);
      const refs = guest.grants.grantForeignAccessBatch(peer.id, pages);
      expect(new Set(refs).size).toBe(5);
      {
        using mapping = peer.mappings.map(guest.id, refs);
        pages.forEach(({ va }, n) => guest.memory.write(va, Uint8Array.of(n + 1)));
        const seen = pages.map((_, n) => peer.memory.bytes(mapping.va + n * 4096, 1, 'read')[0]);
        expect(seen).toEqual([1, 2, 3, 4, 5]);
      }
      expect(guest.grants.endForeignAccessBatch(refs)).toEqual([]);
      expect(guest.grants.freeCount).toBe(SHARED);
    });

    it('is read-only if it says so', () => {
      const { guest, peer } = small();
      const [ref] = guest.grants.grantForeignAccessBatch(peer.id, guest.memory.allocPages(1), {
        readonly: true,
      });
      expect(() => peer.mappings.map(guest.id, ref!)).toThrow(GrantError);
      peer.mappings.map(guest.id, ref!, { readonly: true }).unmap();
    });

    it('ends what it can, and says which are busy', () => {
      const all = small();
      const { guest } = all;
      const [one, two, three] = [shared(all), shared(all), shared(all)];
      one.mapping.unmap();
      three.mapping.unmap();
      const refs = [one.ref, two.ref, three.ref];
      expect(guest.grants.endForeignAccessBatch(refs)).toEqual([two.ref]);
      two.mapping.unmap();
      expect(guest.grants.endForeignAccessBatch([two.ref])).toEqual([]);
      expect(guest.grants.freeCount).toBe(SHARED);
    });

    it('is all or none', () => {
      const { guest, peer } = small();
      const page = guest.memory.allocPage();
      guest.grants.allocGrantReferences(SHARED - 3);
      const attempt = () => guest.grants.grantForeignAccessBatch(peer.id, [page, page, page, page]);
      expect(attempt).toThrow(/no grant reference is free for 1 of the 4/);
      expect(guest.grants.freeCount).toBe(3);
      expect(guest.memory.isShared(page)).toBe(false);
    });

    it('has the table grow once, by as much as it needs', () => {
      const { guest } = small(4);
      guest.grants.allocGrantReferences(freeIn(3, grantVersion));
      expect(guest.hypercalls.querySize().nrFrames).toBe(3);
      expect(guest.grants.freeCount).toBe(0);
    });
  });

  describe('a run (gnttab_alloc_grant_reference_seq)', () => {
    it('is of neighbours, all claimed', () => {
      const { guest, peer } = small();
      const first = guest.grants.allocGrantReferenceSeq(7);
      const frame = guest.memory.frameOf(guest.memory.allocPage());
      for (let n = 0; n < 7; n++) {
        guest.grants.grantForeignAccessRef((first + n) as GrantRef, peer.id, frame, false);
      }
      expect(guest.grants.freeCount).toBe(SHARED - 7);
      expect(guest.grants.grantForeignAccess(peer.id, guest.memory.allocPage())).toBe(first + 7);
    });

    it('finds the gap that is long enough', () => {
      const { guest } = small();
      const first = guest.grants.allocGrantReferenceSeq(SHARED);
      guest.grants.freeGrantReferenceSeq((first + 10) as GrantRef, 3);
      guest.grants.freeGrantReferenceSeq((first + 20) as GrantRef, 4);
      expect(guest.grants.allocGrantReferenceSeq(4)).toBe(first + 20);
      expect(() => guest.grants.allocGrantReferenceSeq(4)).toThrow(
        /no 4 neighbouring grant references are free/,
      );
      expect(guest.grants.allocGrantReferenceSeq(3)).toBe(first + 10);
    });

    it('spans frames, and the end of the table is part of it when that grows', () => {
      const { guest } = small(2);
      const used = guest.grants.allocGrantReferenceSeq(SHARED - 2);
      const first = guest.grants.allocGrantReferenceSeq(freeIn(2, grantVersion) - SHARED + 2);
      expect(first).toBe(used + SHARED - 2);
      expect(guest.grants.freeCount).toBe(0);
    });

    it('over the limit changes nothing', () => {
      const { guest } = small(2);
      const most = freeIn(2, grantVersion);
      expect(() => guest.grants.allocGrantReferenceSeq(most + 1)).toThrow(GrantError);
      expect(guest.hypercalls.querySize().nrFrames).toBe(1);
      expect(guest.grants.allocGrantReferenceSeq(most)).toBe(8);
    });

    it('takes in what a peer has let go of unnoticed', () => {
      const all = small();
      const { guest } = all;
      const { ref, mapping } = shared(all);
      guest.grants.deferEnd(ref);
      mapping.unmap();
      expect(guest.grants.allocGrantReferenceSeq(SHARED)).toBe(8);
    });
  });
});

/** What is done to a reference, and what the error says. */
const misuses: [string, (all: ReturnType<typeof pair>) => void, RegExp][] = [
  [
    'a grant ended twice',
    ({ guest, peer }) => {
      const ref = guest.grants.grantForeignAccess(peer.id, guest.memory.allocPage());
      guest.grants.endForeignAccess(ref);
      guest.grants.endForeignAccess(ref);
    },
    /reference 8 is free; it should be granting access/,
  ],
  [
    'a claimed one ended twice',
    ({ guest, peer }) => {
      const ref = guest.grants.allocGrantReferences(1).claim();
      guest.grants.grantForeignAccessRef(ref, peer.id, 0, false);
      guest.grants.endForeignAccessRef(ref);
      guest.grants.endForeignAccessRef(ref);
    },
    /reference 8 is claimed, and grants nothing; it should be granting access/,
  ],
  [
    'granting through one in use',
    ({ guest, peer }) => {
      const page = guest.memory.allocPage();
      const ref = guest.grants.grantForeignAccess(peer.id, page);
      guest.grants.grantForeignAccessRef(ref, peer.id, guest.memory.frameOf(page), true);
    },
    /reference 8 is granting access \(page 0\); it should be claimed/,
  ],
  [
    'accepting through one in use',
    ({ guest, peer }) => {
      const page = guest.memory.allocPage();
      const ref = guest.grants.grantForeignAccess(peer.id, page);
      guest.grants.grantForeignTransferRef(ref, peer.id, page.gfn);
    },
    /reference 8 is granting access/,
  ],
  [
    'ending a transfer as access',
    ({ guest, peer }) => {
      guest.grants.endForeignAccess(
        guest.grants.grantForeignTransfer(peer.id, guest.memory.allocPage().gfn),
      );
    },
    /reference 8 is awaiting a transferred frame \(page 0\)/,
  ],
  [
    'ending access as a transfer',
    ({ guest, peer }) => {
      const page = guest.memory.allocPage();
      guest.grants.endForeignTransfer(guest.grants.grantForeignAccess(peer.id, page));
    },
    /reference 8 is granting access \(page 0\); it should be awaiting a transferred frame/,
  ],
  [
    'granting through one that was never claimed',
    ({ guest, peer }) => guest.grants.grantForeignAccessRef(20 as GrantRef, peer.id, 0, false),
    /reference 20 is free/,
  ],
  [
    "granting through one of the toolstack's",
    ({ guest, peer }) => guest.grants.grantForeignAccessRef(1 as GrantRef, peer.id, 0, false),
    /reference 1 is the toolstack's/,
  ],
  [
    'granting through one that is still in its reserve',
    ({ guest, peer }) => {
      guest.grants.allocGrantReferences(1);
      guest.grants.grantForeignAccessRef(8 as GrantRef, peer.id, 0, false);
    },
    /reference 8 is in a private reserve/,
  ],
  [
    'releasing one that still grants',
    ({ guest, peer }) => {
      const reserve = guest.grants.allocGrantReferences(1);
      const ref = reserve.claim();
      guest.grants.grantForeignAccessRef(ref, peer.id, 0, false);
      reserve.release(ref);
    },
    /reference 8 is granting access; it should be claimed/,
  ],
  [
    'releasing one that is not claimed',
    ({ guest }) => guest.grants.allocGrantReferences(1).release(30 as GrantRef),
    /reference 30 is free; it should be claimed/,
  ],
  [
    'ending one that waits on the deferred queue',
    (all) => {
      const { ref } = shared(all);
      all.guest.grants.deferEnd(ref);
      all.guest.grants.endForeignAccess(ref);
    },
    /reference 8 is ended already, and waiting for the peer to let go/,
  ],
  [
    'making an ended grant read-only',
    ({ guest, peer }) => {
      const ref = guest.grants.grantForeignAccess(peer.id, guest.memory.allocPage());
      guest.grants.endForeignAccess(ref);
      guest.grants.makeReadonly(ref);
    },
    /reference 8 is free; it should be granting access/,
  ],
];

it.each(misuses)('%s is found out', (_, misuse, words) => {
  const all = pair();
  expect(() => misuse(all)).toThrow(InvariantError);
  expect(() => misuse(pair())).toThrow(words);
});

it('a misused reference keeps its use: nothing is written, nothing counted', () => {
  const all = pair();
  const { guest, peer } = all;
  const { ref, page, mapping } = shared(all);
  const before = guest.grants.freeCount;
  const other = guest.memory.frameOf(guest.memory.allocPage());
  expect(() => guest.grants.grantForeignAccessRef(ref, peer.id, other, true)).toThrow(
    InvariantError,
  );
  peer.memory.write(mapping.va, Uint8Array.of(9));
  expect(guest.memory.bytes(page.va, 1, 'read')[0]).toBe(9);
  mapping.unmap();
  using again = peer.mappings.map(guest.id, ref);
  expect(peer.memory.bytes(again.va, 1, 'read')[0]).toBe(9);
  expect(guest.grants.freeCount).toBe(before);
});

it('no reference is ever in two hands, runs are of neighbours, and the counts are right', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('run' as const), n: fc.integer({ min: 1, max: 200 }) }),
    fc.record({ kind: fc.constant('batch' as const), n: fc.nat(100) }),
    fc.record({ kind: fc.constant('free' as const), n: fc.nat(1000) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.constantFrom(1, 2, 4), (steps, frames) => {
      const { guest } = pair({ maxGrantFrames: frames });
      const { grants } = guest;
      const most = freeIn(frames);
      /** Runs and single references in our hands. */
      const held: { first: GrantRef; count: number }[] = [];
      const taken = new Set<number>();
      const take = (first: GrantRef, count: number) => {
        for (let ref = first; ref < first + count; ref++) {
          expect(taken.has(ref)).toBe(false);
          expect(ref).toBeGreaterThanOrEqual(8);
          taken.add(ref);
        }
        held.push({ first, count });
      };
      const isThere = (count: number) => {
        let run = 0;
        for (let ref = 8; ref < most + 8; ref++) {
          run = taken.has(ref) ? 0 : run + 1;
          if (run === count) return true;
        }
        return false;
      };
      for (const { kind, n } of steps) {
        if (kind === 'run') {
          if (isThere(n)) take(grants.allocGrantReferenceSeq(n), n);
          else expect(() => grants.allocGrantReferenceSeq(n)).toThrow(GrantError);
        } else if (kind === 'batch') {
          const count = Math.min(n, most - taken.size);
          const reserve = grants.allocGrantReferences(count);
          for (let i = 0; i < count; i++) take(reserve.claim(), 1);
          reserve.free();
        } else if (held.length > 0) {
          const [run] = held.splice(n % held.length, 1);
          grants.freeGrantReferenceSeq(run!.first, run!.count);
          for (let i = 0; i < run!.count; i++) taken.delete(run!.first + i);
        }
        const there = freeIn(guest.hypercalls.querySize().nrFrames);
        expect(grants.freeCount).toBe(there - taken.size);
      }
    }),
    { numRuns: 60 },
  );
});
