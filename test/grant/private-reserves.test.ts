/**
 * "Using a private reserve of grant references" (the usage document), and grants that end with their block: references
 * are never lost and never in two hands.
 */
import { GrantError, InvariantError } from '@ringside/gnttab-core';
import { GTF_accept_transfer, GTF_invalid, GTF_permit_access } from '@ringside/gnttab-core/abi';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Pair, pair } from './guests.ts';

/** References of one frame: the first eight are the toolstack's. */
const SHARED = 512 - 8;
const small = () => pair({ maxGrantFrames: 1 });
const grantOf = ({ guest, peer }: Pair) => {
  const page = guest.memory.allocPage();
  return () => guest.grants.grantForeignAccess(peer.id, page);
};

describe('To reserve a private batch', () => {
  it('takes that many from the shared pool', () => {
    const { guest } = small();
    expect(guest.grants.freeCount).toBe(SHARED);
    const reserve = guest.grants.allocGrantReferences(100);
    expect([reserve.available, guest.grants.freeCount]).toEqual([100, SHARED - 100]);
  });

  it('fails as a whole if there are not as many', () => {
    const { guest } = small();
    expect(() => guest.grants.allocGrantReferences(SHARED + 1)).toThrow(GrantError);
    expect(() => guest.grants.allocGrantReferences(SHARED + 1)).toThrow(
      /no grant reference is free/,
    );
    expect(guest.grants.freeCount).toBe(SHARED);
    expect(guest.grants.allocGrantReferences(SHARED).available).toBe(SHARED);
  });

  it('lets the table grow', () => {
    const { guest } = pair({ maxGrantFrames: 3 });
    expect(guest.grants.allocGrantReferences(1200).available).toBe(1200);
    expect(guest.hypercalls.querySize().nrFrames).toBe(3);
  });

  it('of none is empty', () => {
    const { guest } = small();
    const none = guest.grants.allocGrantReferences(0);
    expect(() => none.claim()).toThrow(/all its references are claimed/);
    none.free();
    expect(guest.grants.freeCount).toBe(SHARED);
  });
});

describe('To claim a reserved reference', () => {
  it('gives each once, and throws when all are claimed', () => {
    const { guest } = small();
    const reserve = guest.grants.allocGrantReferences(3);
    const claimed = [reserve.claim(), reserve.claim(), reserve.claim()];
    expect(new Set(claimed).size).toBe(3);
    expect(() => reserve.claim()).toThrow(GrantError);
  });

  it('works when the shared pool is exhausted: that is what it is for', () => {
    const all = small();
    const reserve = all.guest.grants.allocGrantReferences(2);
    const grant = grantOf(all);
    for (let n = 0; n < SHARED - 2; n++) grant();
    expect(grant).toThrow(GrantError);
    const page = all.guest.memory.allocPage();
    const ref = reserve.claim();
    all.guest.grants.grantForeignAccessRef(ref, all.peer.id, all.guest.memory.frameOf(page), false);
    using _mapping = all.peer.mappings.map(all.guest.id, ref);
  });
});

describe('To release a claimed reference back to the reserve pool', () => {
  it('makes it claimable again', () => {
    const { guest } = small();
    const reserve = guest.grants.allocGrantReferences(1);
    const ref = reserve.claim();
    reserve.release(ref);
    expect(reserve.available).toBe(1);
    expect(reserve.claim()).toBe(ref);
  });

  it('twice is refused: two holders would share it', () => {
    const { guest } = small();
    const reserve = guest.grants.allocGrantReferences(2);
    const ref = reserve.claim();
    reserve.release(ref);
    expect(() => reserve.release(ref)).toThrow(InvariantError);
    expect(reserve.available).toBe(2);
  });

  it('after the reserve was freed gives it to the shared pool', () => {
    const { guest } = small();
    const reserve = guest.grants.allocGrantReferences(2);
    const ref = reserve.claim();
    reserve.free();
    expect(guest.grants.freeCount).toBe(SHARED - 1);
    reserve.release(ref);
    expect(guest.grants.freeCount).toBe(SHARED);
    expect(reserve.available).toBe(0);
  });
});

describe('To release a batch back to the shared pool', () => {
  it('gives back what is not claimed', () => {
    const { guest } = small();
    const reserve = guest.grants.allocGrantReferences(10);
    reserve.claim();
    reserve.free();
    expect([reserve.available, guest.grants.freeCount]).toEqual([0, SHARED - 1]);
    reserve.free();
    expect(guest.grants.freeCount).toBe(SHARED - 1);
  });
});

describe('To use a claimed reference', () => {
  it('gnttab_grant_foreign_access_ref and _transfer_ref take it; its end keeps it', () => {
    const { guest, peer, bare } = small();
    const reserve = guest.grants.allocGrantReferences(1);
    const page = guest.memory.allocPage();
    const ref = reserve.claim();
    guest.grants.grantForeignAccessRef(ref, peer.id, guest.memory.frameOf(page), false);
    expect(bare.flags(ref)).toBe(GTF_permit_access);
    expect(guest.grants.endForeignAccessRef(ref)).toBe('ended');
    expect(guest.grants.freeCount).toBe(SHARED - 1);
    guest.grants.grantForeignTransferRef(ref, peer.id, page.gfn);
    expect(bare.flags(ref)).toBe(GTF_accept_transfer);
    expect(guest.grants.endForeignTransferRef(ref)).toBeUndefined();
    expect(bare.flags(ref)).toBe(GTF_invalid);
    reserve.release(ref);
    reserve.free();
    expect(guest.grants.freeCount).toBe(SHARED);
  });
});

describe('a reference is never in two hands', () => {
  it('a grant ended twice is refused the second time', () => {
    const all = small();
    const grant = grantOf(all);
    const ref = grant();
    expect(all.guest.grants.endForeignAccess(ref)).toBe('ended');
    expect(() => all.guest.grants.endForeignAccess(ref)).toThrow(InvariantError);
    expect(all.guest.grants.freeCount).toBe(SHARED);
    expect(new Set([grant(), grant(), grant()]).size).toBe(3);
  });

  it('so is a transfer', () => {
    const { guest, peer } = small();
    const ref = guest.grants.grantForeignTransfer(peer.id, guest.memory.allocPage().gfn);
    guest.grants.endForeignTransfer(ref);
    expect(() => guest.grants.endForeignTransfer(ref)).toThrow(InvariantError);
    expect(guest.grants.freeCount).toBe(SHARED);
  });

  it('whatever is granted, ended, reserved, claimed and released, in any order', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(6), fc.nat(100)), { maxLength: 60 }), (steps) => {
        const all = small();
        const { grants } = all.guest;
        const grant = grantOf(all);
        const reserve = grants.allocGrantReferences(5);
        const granted: ReturnType<typeof grant>[] = [];
        const claimed: ReturnType<typeof grant>[] = [];
        const pick = <T>(list: T[], n: number) => list.splice(n % list.length, 1)[0]!;
        for (const [step, n] of steps) {
          if (step <= 1) granted.push(grant());
          else if (step <= 3 && granted.length > 0) grants.endForeignAccess(pick(granted, n));
          else if (step === 4 && reserve.available > 0) claimed.push(reserve.claim());
          else if (step >= 5 && claimed.length > 0) reserve.release(pick(claimed, n));
          expect(new Set([...granted, ...claimed]).size).toBe(granted.length + claimed.length);
          expect(grants.freeCount + granted.length + reserve.available + claimed.length).toBe(
            SHARED,
          );
        }
      }),
      { numRuns: 40 },
    );
  });
});

describe('a grant that ends with its block', () => {
  it('is gone after it', () => {
    const { guest, peer, bare } = small();
    let seen = 0;
    {
      using grant = guest.grants.grantAccess(peer.id, guest.memory.allocPage());
      seen = grant.ref;
      expect(bare.flags(seen)).toBe(GTF_permit_access);
    }
    expect(bare.flags(seen)).toBe(GTF_invalid);
    expect([guest.grants.freeCount, guest.grants.deferredEnds]).toEqual([SHARED, 0]);
  });

  it('is gone even if the block throws', () => {
    const { guest, peer } = small();
    expect(() => {
      using _grant = guest.grants.grantAccess(peer.id, guest.memory.allocPage());
      throw new Error('in the middle');
    }).toThrow('in the middle');
    expect(guest.grants.freeCount).toBe(SHARED);
  });

  it('says busy while the peer maps it, may be ended early, and is ended once', () => {
    const { guest, peer } = small();
    {
      using grant = guest.grants.grantAccess(peer.id, guest.memory.allocPage(), { readonly: true });
      const mapping = peer.mappings.map(guest.id, grant.ref, { readonly: true });
      expect(grant.end()).toBe('busy');
      mapping.unmap();
      expect(grant.end()).toBe('ended');
      expect(grant.end()).toBe('ended');
    }
    expect([guest.grants.freeCount, guest.grants.deferredEnds]).toEqual([SHARED, 0]);
  });

  it('is deferred if the peer still maps it: its reference is not given out until the peer lets go', () => {
    const all = small();
    const { guest, peer } = all;
    let seen = 0;
    let mapping: Disposable;
    {
      using grant = guest.grants.grantAccess(peer.id, guest.memory.allocPage());
      seen = grant.ref;
      mapping = peer.mappings.map(guest.id, grant.ref);
    }
    expect([guest.grants.freeCount, guest.grants.deferredEnds]).toEqual([SHARED - 1, 1]);
    expect(guest.grants.retryDeferredEnds()).toBe(1);
    const grant = grantOf(all);
    const others = Array.from({ length: SHARED - 1 }, grant);
    expect(others).not.toContain(seen);
    expect(grant).toThrow(GrantError);
    mapping[Symbol.dispose]();
    expect(grant()).toBe(seen); // the pool looks at the deferred ends before it says no
    expect(guest.grants.deferredEnds).toBe(0);
  });
});

describe('mappings that end with their block', () => {
  it('map all or none', () => {
    const all = small();
    const { guest, peer } = all;
    const grant = grantOf(all);
    const refs = [grant(), grant(), grant()];
    guest.grants.endForeignAccessRef(refs[1]!);
    expect(() => peer.mappings.map(guest.id, refs)).toThrow(
      `mapping reference ${refs[1]} of domain`,
    );
    expect(peer.mappings.live).toBe(0);
    for (const ref of [refs[0]!, refs[2]!])
      expect(guest.grants.endForeignAccess(ref)).toBe('ended');
  });

  it('have consecutive addresses, and use the same again', () => {
    const all = small();
    const { guest, peer } = all;
    const refs = Array.from({ length: 4 }, grantOf(all));
    const seen = new Set<number>();
    for (let n = 0; n < 100; n++) {
      using mapping = peer.mappings.map(guest.id, refs);
      seen.add(mapping.va);
      for (let i = 0; i < 4; i++) peer.memory.write(mapping.va + i * 4096, Uint8Array.of(n));
      expect(peer.mappings.live).toBe(4);
    }
    expect(seen.size).toBe(1);
    expect(peer.mappings.live).toBe(0);
  });
});
