/**
 * What the usage document of grant tables leaves open: "Map a transferred frame", "Clear the used transfer reference".
 */
import { GnttabTransfer, GrantError, type GrantRef, type GuestPage } from '@ringside/gnttab-core';
import { describe, expect, it } from 'vitest';
import { exhaust, kinds, pair, type Pair, type PairOptions } from './guests.ts';

/** The peer gives away pages that begin with 1, 2, … through `refs`. */
function give({ guest, peer }: Pair, refs: readonly GrantRef[]): number[] {
  const ops = refs.map((ref, n) => {
    const page = peer.memory.allocPage();
    peer.memory.write(page.va, Uint8Array.of(n + 1));
    const op = new GnttabTransfer();
    op.mfn = peer.memory.detachForTransfer(page);
    op.domid = guest.id;
    op.ref = ref;
    return op;
  });
  peer.hypercalls.gnttabTransfer(ops);
  return ops.map(({ status }) => status);
}

function accepting(options: PairOptions, count: number) {
  const all = pair(options);
  const { guest, peer } = all;
  const places = guest.memory.allocPages(count);
  return { ...all, places, refs: guest.grants.acceptTransfers(peer.id, places) };
}

const firstByte = ({ guest }: Pair, { va }: GuestPage) => guest.memory.bytes(va, 1, 'read')[0];

describe.each(kinds)('a $type guest with version $grantVersion', (kind) => {
  it('posts a reference for each place, and gets each frame where it belongs', () => {
    const all = accepting(kind, 3);
    const { guest, refs, places } = all;
    const free = guest.grants.freeCount;
    expect(give(all, refs)).toEqual([0, 0, 0]);
    for (const n of [2, 0, 1]) {
      expect(guest.grants.acceptTransfer(refs[n]!, places[n]!)).toBe(places[n]);
    }
    expect(places.map((place) => firstByte(all, place))).toEqual([1, 2, 3]);
    expect(guest.grants.freeCount).toBe(free + 3);
    expect(guest.domain.totPages).toBe(32);
  });

  it('clears the used reference: a second frame does not come through it, and it serves for other things', () => {
    const all = accepting(kind, 1);
    const { guest, peer, refs, places } = all;
    give(all, refs);
    guest.grants.acceptTransfer(refs[0]!, places[0]!);
    expect(give(all, refs)).not.toEqual([0]);
    expect(guest.grants.grantForeignAccess(peer.id, places[0]!)).toBe(refs[0]);
    using mapping = peer.mappings.map(guest.id, refs[0]!);
    expect(peer.memory.bytes(mapping.va, 1, 'read')[0]).toBe(1);
  });

  it('withdraws an unused reference: the place stays empty, and can be filled by Xen', () => {
    const all = accepting(kind, 1);
    const { guest, refs, places } = all;
    expect(guest.grants.acceptTransfer(refs[0]!, places[0]!)).toBeUndefined();
    expect(() => firstByte(all, places[0]!)).toThrow(/not-present/);
    expect(give(all, refs)).not.toEqual([0]);
    expect(guest.memory.refill(places)).toBe(1);
    expect(firstByte(all, places[0]!)).toBe(0);
  });

  it('posts all or none, and gives nothing back before', () => {
    const all = pair({ ...kind, maxGrantFrames: 1 });
    const { guest, peer } = all;
    const places = guest.memory.allocPages(3);
    const first = exhaust(all);
    guest.grants.freeGrantReferenceSeq(first, 2);
    expect(() => guest.grants.acceptTransfers(peer.id, places)).toThrow(GrantError);
    expect([guest.grants.freeCount, guest.domain.totPages]).toEqual([2, 32]);
    guest.memory.write(places[0]!.va, Uint8Array.of(1));
  });
});

it('a place that awaits a frame is not handed out, even if it was freed', () => {
  const { guest, refs, places } = accepting({}, 1);
  guest.memory.freePage(places[0]!);
  expect(guest.memory.quarantined).toBe(1);
  guest.grants.endForeignTransfer(refs[0]!);
  expect(guest.memory.quarantined).toBe(0);
});
