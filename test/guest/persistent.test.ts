/** Grants and mappings that outlive a request, as in Linux's blkfront and blkback. */
import {
  GrantError,
  type GrantRef,
  GuestMemoryError,
  InvariantError,
  PageFault,
} from '@ringside/gnttab-core';
import { PersistentGrants, PersistentMappings } from '@ringside/gnttab-core';
import { GNTST_okay } from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { pair, pass, shared } from './guests.ts';

describe('PersistentGrants', () => {
  it('grants a page once, and uses the last that was released first', () => {
    const { guest, peer } = pair();
    const pool = new PersistentGrants(guest, peer.id, 4);
    const [a, b] = [pool.acquire()!, pool.acquire()!];
    const grants = guest.domain.counters().grants;
    pool.release(a);
    pool.release(b);
    expect(pool.idle).toBe(2);
    expect([pool.acquire(), pool.acquire()]).toEqual([b, a]);
    expect(guest.domain.counters().grants).toBe(grants);
  });

  it('shows the peer zeros at first, and is writable for it', () => {
    const { guest, peer } = pair();
    const dirty = guest.memory.allocPage();
    guest.memory.write(dirty.va, Uint8Array.of(7));
    guest.memory.freePage(dirty);
    const pool = new PersistentGrants(guest, peer.id, 1);
    const { ref, page } = pool.acquire()!;
    expect(page).toBe(dirty);
    using mapping = peer.mappings.map(guest.id, ref);
    expect(peer.memory.bytes(mapping.va, 1, 'read')[0]).toBe(0);
    peer.memory.write(mapping.va, Uint8Array.of(5));
    expect(guest.memory.bytes(page.va, 1, 'read')[0]).toBe(5);
  });

  it('has no more than its limit', () => {
    const { guest, peer } = pair();
    const pool = new PersistentGrants(guest, peer.id, 2);
    const a = pool.acquire()!;
    expect(pool.acquire()).toBeDefined();
    expect(pool.acquire()).toBeUndefined();
    pool.release(a);
    expect(pool.acquire()).toBe(a);
    expect(pool.size).toBe(2);
  });

  it.each([
    ['pages', { pages: 1 }, GuestMemoryError],
    ['references', { maxGrantFrames: 1 }, GrantError],
  ])('throws when the guest has no %s, and nothing is lost', (what, options, error) => {
    const { guest, peer } = pair(options);
    const pool = new PersistentGrants(guest, peer.id, 1000);
    if (what === 'references') guest.grants.allocGrantReferences(guest.grants.freeCount);
    else guest.memory.allocPage();
    const free = guest.memory.freeCount;
    expect(() => pool.acquire()).toThrow(error);
    expect([guest.memory.freeCount, pool.size]).toEqual([free, 0]);
  });

  it('drain ends idle grants now, lent ones when they come back, mapped ones when the peer lets go', async () => {
    const { guest, peer, machine } = pair();
    const before = [guest.grants.freeCount, guest.memory.freeCount];
    const pool = new PersistentGrants(guest, peer.id, 4);
    const [idle, lent, mapped] = [pool.acquire()!, pool.acquire()!, pool.acquire()!];
    const mapping = peer.mappings.map(guest.id, mapped.ref);
    pool.release(idle);
    pool.release(mapped);
    pool.drain();
    expect([pool.size, pool.idle, guest.grants.deferredEnds]).toEqual([1, 0, 1]);
    expect(pool.acquire()).toBeUndefined();
    pool.release(lent);
    expect(pool.size).toBe(0);
    mapping.unmap();
    await pass(machine, 1e9);
    expect([guest.grants.freeCount, guest.memory.freeCount]).toEqual(before);
  });

  it('refuses what is not lent', () => {
    const { guest, peer } = pair();
    const pool = new PersistentGrants(guest, peer.id, 4);
    const grant = pool.acquire()!;
    expect(() => new PersistentGrants(guest, peer.id, 4).release(grant)).toThrow(InvariantError);
    pool.release(grant);
    expect(() => pool.release(grant)).toThrow(InvariantError);
    expect(pool.idle).toBe(1);
  });
});

describe('PersistentMappings', () => {
  /** `count` grants of the guest's to the peer. */
  function granted(count: number, limit: number) {
    const all = pair();
    const { guest, peer } = all;
    const pages = guest.memory.allocPages(count);
    const refs = guest.grants.grantForeignAccessBatch(peer.id, pages);
    const cache = new PersistentMappings(peer.mappings, limit);
    const use = (n: number) => {
      const mapping = cache.acquire(guest.id, refs[n]!);
      cache.release(mapping);
      return mapping.va;
    };
    return { ...all, pages, refs, cache, use, maps: () => peer.domain.counters().maps };
  }

  it('maps once', () => {
    const { use, maps } = granted(1, 4);
    const va = use(0);
    expect([use(0), use(0), maps()]).toEqual([va, va, 1]);
  });

  it('unmaps the least recently used', () => {
    const { use, maps, cache, peer } = granted(4, 3);
    for (const n of [0, 1, 2, 0, 3]) use(n);
    expect([cache.size, peer.mappings.live, maps()]).toEqual([3, 3, 4]);
    for (const n of [0, 2, 3]) use(n);
    expect(maps()).toBe(4);
    use(1);
    expect(maps()).toBe(5);
  });

  it('never unmaps what is in use: over the limit while all is, and back when that ends', () => {
    const { guest, refs, cache, peer } = granted(3, 2);
    const used = refs.map((ref) => cache.acquire(guest.id, ref));
    expect(cache.size).toBe(3);
    for (const { va } of used) peer.memory.write(va, Uint8Array.of(1));
    cache.release(used[0]!);
    expect(cache.size).toBe(2);
    expect(() => peer.memory.bytes(used[0]!.va, 1, 'read')).toThrow(PageFault);
    cache.release(used[1]!);
    cache.release(used[2]!);
    expect(cache.size).toBe(2);
  });

  it('has one mapping for several users of a reference, in use until the last is done', () => {
    const { guest, refs, cache, use } = granted(3, 1);
    const [one, two] = [cache.acquire(guest.id, refs[0]!), cache.acquire(guest.id, refs[0]!)];
    expect(one.va).toBe(two.va);
    cache.release(one);
    use(1);
    use(2);
    expect(cache.acquire(guest.id, refs[0]!).va).toBe(one.va);
  });

  it('tells domains apart', () => {
    const { guest, refs, cache, peer } = granted(1, 4);
    const own = peer.grants.grantForeignAccess(peer.id, peer.memory.allocPage());
    expect(own).toBe(refs[0]);
    const [a, b] = [cache.acquire(guest.id, refs[0]!), cache.acquire(peer.id, own)];
    expect(a.va).not.toBe(b.va);
    cache.release(a);
    cache.drop(guest.id);
    expect(cache.size).toBe(1);
  });

  it('drop unmaps now, or when the last user is done', () => {
    const { guest, refs, cache, peer, use } = granted(2, 4);
    use(0);
    const used = cache.acquire(guest.id, refs[1]!);
    cache.drop();
    expect(peer.mappings.live).toBe(1);
    cache.release(used);
    expect([cache.size, peer.mappings.live]).toEqual([0, 0]);
    expect(guest.grants.endForeignAccessBatch(refs)).toEqual([]);
  });

  it('says what cannot be mapped, and what is not in use', () => {
    const { guest, cache, refs } = granted(1, 4);
    expect(() => cache.acquire(guest.id, 400 as GrantRef)).toThrow(/mapping reference 400/);
    const mapping = cache.acquire(guest.id, refs[0]!);
    cache.release(mapping);
    expect(() => cache.release(mapping)).toThrow(InvariantError);
    expect(cache.size).toBe(1);
  });
});

describe('mapBatch', () => {
  it('has a status for each, and maps what can be mapped', () => {
    const all = pair();
    const { guest, peer } = all;
    const [a, b] = [shared(all), shared(all)];
    guest.memory.write(b.page.va, Uint8Array.of(3));
    const readonly = guest.grants.grantForeignAccess(peer.id, guest.memory.allocPage(), {
      readonly: true,
    });
    const batch = peer.mappings.mapBatch(guest.id, [a.ref, readonly, 400 as GrantRef, b.ref]);
    expect(batch.statuses.map((status) => status === GNTST_okay)).toEqual([
      true,
      false,
      false,
      true,
    ]);
    expect(peer.mappings.live).toBe(4);
    expect(peer.memory.bytes(batch.va + 3 * 4096, 1, 'read')[0]).toBe(3);
    expect(() => peer.memory.bytes(batch.va + 4096, 1, 'read')).toThrow(PageFault);
    batch.unmap();
    batch.unmap();
    expect(peer.mappings.live).toBe(2);
  });

  it('of none maps none', () => {
    const { guest, peer } = pair();
    using batch = peer.mappings.mapBatch(guest.id, []);
    expect([batch.pages, batch.statuses]).toEqual([0, []]);
  });
});
