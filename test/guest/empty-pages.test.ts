/**
 * Pages without a frame behind them: given away by transfer, or given back to Xen. Nobody can be granted one, and who tries
 * has lost nothing: no reference is taken, no entry written, nothing given back.
 */
import { GnttabTransfer, GrantError, type GrantRef, type GuestPage } from '@ringside/gnttab-core';
import { GTF_permit_access } from '@ringside/gnttab-core/abi';
import { sharedEntryOf } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { freeIn, kinds, type Pair, pair } from './guests.ts';

/** What a grant would have changed. */
function stateOf({ guest, machine }: Pair, pages: readonly GuestPage[]) {
  const flags = Array.from(
    { length: guest.grants.freeCount },
    (_, n) => machine.heap.u16[sharedEntryOf(guest.domain, 8 + n) >>> 1],
  );
  return {
    free: guest.grants.freeCount,
    written: flags.filter((word) => word !== 0).length,
    shared: pages.filter((page) => guest.memory.isShared(page)).length,
    grants: guest.domain.counters().grants,
    frames: guest.domain.totPages,
    records: machine.trace.records().filter(({ name }) => name.startsWith('grant_')).length,
  };
}

/** The calls that grant `pages`, of which the one with an error to it is empty. */
const calls: [string, (all: Pair, pages: readonly GuestPage[], empty: GuestPage) => unknown][] = [
  [
    'grantForeignAccess',
    ({ guest, peer }, _, page) => guest.grants.grantForeignAccess(peer.id, page),
  ],
  ['grantAccess', ({ guest, peer }, _, page) => guest.grants.grantAccess(peer.id, page)],
  [
    'grantForeignAccessBatch',
    ({ guest, peer }, pages) => guest.grants.grantForeignAccessBatch(peer.id, pages),
  ],
  ['acceptTransfers', ({ guest, peer }, pages) => guest.grants.acceptTransfers(peer.id, pages)],
];

describe.each(kinds)('a $type guest with version $grantVersion', (kind) => {
  /** Three pages, the last of them empty. */
  function ballooned() {
    const all = pair({ ...kind, maxGrantFrames: 1 });
    all.machine.trace.enabled = true;
    const pages = all.guest.memory.allocPages(3);
    const empty = pages[2]!;
    all.guest.memory.surrender([empty]);
    return { all, pages, empty };
  }

  it.each(calls)('%s of a page without a frame throws before a reference is taken', (_, call) => {
    const { all, pages, empty } = ballooned();
    const before = stateOf(all, pages);
    expect(() => call(all, pages, empty)).toThrow(GrantError);
    expect(() => call(all, pages, empty)).toThrow(/page 2: there is no frame behind it/);
    expect(stateOf(all, pages)).toEqual(before);
    all.guest.memory.write(pages[0]!.va, Uint8Array.of(1));
  });

  it('a claimed reference grants nothing then, and can be released', () => {
    const { all, empty } = ballooned();
    const { guest, peer } = all;
    const reserve = guest.grants.allocGrantReferences(1);
    const ref = reserve.claim();
    const frame = guest.memory.frameOf(empty);
    const grant = () => guest.grants.grantForeignAccessRef(ref, peer.id, frame, false);
    expect(grant).toThrow(GrantError);
    expect(grant).toThrow(/there is no frame behind it/);
    reserve.release(ref);
    expect(reserve.available).toBe(1);
  });

  it('a batch that finds too few references has taken none, and written nothing', () => {
    const { all, pages } = ballooned();
    const { guest, peer } = all;
    guest.grants.allocGrantReferences(freeIn(1, kind.grantVersion) - 1);
    const before = stateOf(all, pages);
    expect(() => guest.grants.grantForeignAccessBatch(peer.id, pages.slice(0, 2))).toThrow(
      /no grant reference is free for 1 of the 2/,
    );
    expect(stateOf(all, pages)).toEqual(before);
  });

  it('can be granted when Xen has put a frame there', () => {
    const { all, empty } = ballooned();
    const { guest, peer } = all;
    expect(guest.memory.refill([empty])).toBe(1);
    const ref = guest.grants.grantForeignAccess(peer.id, empty);
    expect(ref).toBe(8);
    peer.mappings.map(guest.id, ref).unmap();
  });
});

it('a page given away by transfer cannot be granted, before the transfer and after it', () => {
  const all = pair();
  const { guest, peer } = all;
  const page = guest.memory.allocPage();
  const [place] = peer.memory.allocPages(1);
  const [there] = peer.grants.acceptTransfers(guest.id, [place!]);
  const op = new GnttabTransfer();
  op.mfn = guest.memory.detachForTransfer(page);
  op.domid = peer.id;
  op.ref = there as GrantRef;
  const grant = () => guest.grants.grantForeignAccess(peer.id, page);
  expect(grant).toThrow(/page 0: there is no frame behind it/);
  guest.hypercalls.gnttabTransfer([op]);
  expect(op.status).toBe(0);
  expect(grant).toThrow(/page 0: there is no frame behind it/);
  expect(guest.grants.freeCount).toBe(freeIn(1));
});

it('a part of a page without a frame cannot be granted either', () => {
  const { guest, peer } = pair({ grantVersion: 2 });
  const page = guest.memory.allocPage();
  guest.memory.surrender([page]);
  const free = guest.grants.freeCount;
  expect(() => guest.grants.grantForeignAccessSubpage(peer.id, page, 0, 8)).toThrow(
    /page 0: there is no frame behind it/,
  );
  expect(guest.grants.freeCount).toBe(free);
  expect(guest.memory.isShared(page)).toBe(false);
});

it('the trace has a grant before its entry is valid: whoever is fast is not ahead of it', () => {
  const { guest, peer, machine } = pair();
  machine.trace.enabled = true;
  const page = guest.memory.allocPage();
  const flags = sharedEntryOf(guest.domain, 8) >>> 1;
  const { store } = Atomics;
  const seen: unknown[] = [];
  Atomics.store = ((words: Uint16Array, index: number, value: number) => {
    if (words === machine.heap.u16 && index === flags && value === GTF_permit_access) {
      seen.push(machine.trace.records().at(-1)?.name);
    }
    return store(words, index, value);
  }) as typeof Atomics.store;
  try {
    guest.grants.grantForeignAccess(peer.id, page);
  } finally {
    Atomics.store = store;
  }
  expect(seen).toEqual(['grant_access']);
});
