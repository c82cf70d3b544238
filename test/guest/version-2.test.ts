/**
 * A guest with grant table version 2: what it does alike (the other files of this folder run for both versions), how its
 * entries are ended, and what only it can grant.
 */
import {
  bootGuest,
  createDomain,
  GnttabCopy,
  GrantError,
  type GrantRef,
  type Guest,
} from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  GNTCOPY_dest_gref,
  GNTCOPY_source_gref,
  GNTST_okay,
  grantEntryV2,
  GTF_invalid,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transitive,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import { sharedEntryOf, statusWordOf } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { pair, shared, types } from './guests.ts';

const two = (options: Parameters<typeof pair>[0] = {}) => pair({ grantVersion: 2, ...options });

/** An entry as Xen finds it. */
function entryOf({ machine, domain }: Guest, ref: number) {
  return grantEntryV2.x86_64.decode(machine.heap.view, sharedEntryOf(domain, ref));
}
const flagsOf = (guest: Guest, ref: number) => entryOf(guest, ref).hdr.flags;
const statusOf = ({ machine, domain }: Guest, ref: number) =>
  machine.heap.u16[statusWordOf(domain, ref) >>> 1];

/** Has `guest` copy `length` bytes between its own page and a grant of `from`; the status. */
function copy(
  guest: Guest,
  from: Guest,
  ref: GrantRef,
  { offset = 0, length = 1, write = false }: { offset?: number; length?: number; write?: boolean },
  own = guest.memory.allocPage(),
): number {
  const op = new GnttabCopy();
  const [theirs, ours] = write ? [op.dest, op.source] : [op.source, op.dest];
  theirs.ref = ref;
  theirs.domid = from.id;
  theirs.offset = offset;
  ours.gmfn = guest.memory.frameOf(own);
  ours.domid = DOMID_SELF;
  op.len = length;
  op.flags = write ? GNTCOPY_dest_gref : GNTCOPY_source_gref;
  guest.hypercalls.gnttabCopy([op]);
  return op.status;
}

describe('bootGuest', () => {
  it.each([
    [undefined, 1],
    [1, 1],
    [2, 2],
  ] as const)('with grantVersion %s has version %i', (grantVersion, version) => {
    const { guest } = pair(grantVersion && { grantVersion });
    expect([guest.grants.version, guest.hypercalls.getGrantVersion()]).toEqual([version, version]);
  });

  it('throws if the domain may not have version 2', () => {
    expect(() => two({ maxGrantVersion: 1 })).toThrow(GrantError);
    expect(() => two({ maxGrantVersion: 1 })).toThrow(/grant table version 2: refused/);
  });
});

describe.each(types)('a %s guest', (type) => {
  it('writes domid and frame before the flags, and reads its status words', () => {
    const { guest, peer } = two({ type });
    const page = guest.memory.allocPage();
    const ref = guest.grants.grantForeignAccess(peer.id, page, { readonly: true });
    const { full_page } = entryOf(guest, ref);
    expect(full_page.hdr).toEqual({
      flags: GTF_permit_access | GTF_readonly,
      domid: peer.id,
    });
    expect(full_page.frame).toBe(BigInt(guest.memory.frameOf(page)));
    expect(guest.grants.queryForeignAccess(ref)).toEqual({ reading: false, writing: false });
    using _mapping = peer.mappings.map(guest.id, ref, { readonly: true });
    expect(guest.grants.queryForeignAccess(ref)).toEqual({ reading: true, writing: false });
    expect(flagsOf(guest, ref)).toBe(GTF_permit_access | GTF_readonly);
  });

  it('finds the status of references in every frame', () => {
    const all = two({ type, maxGrantFrames: 10 });
    const { guest, peer } = all;
    guest.grants.allocGrantReferenceSeq(9 * 256);
    const { ref, mapping } = shared(all);
    expect(ref).toBeGreaterThanOrEqual(2048 + 8);
    expect(guest.grants.queryForeignAccess(ref)).toEqual({ reading: true, writing: true });
    expect(guest.grants.queryForeignAccess((ref - 2048) as GrantRef).reading).toBe(false);
    mapping.unmap();
    expect(guest.grants.endForeignAccess(ref)).toBe('ended');
    expect(peer.mappings.live).toBe(0);
  });
});

describe('ending a grant', () => {
  it('clears the flags, then looks at the status', () => {
    const { guest, peer } = two();
    const ref = guest.grants.grantForeignAccess(peer.id, guest.memory.allocPage());
    expect(guest.grants.endForeignAccess(ref)).toBe('ended');
    expect(flagsOf(guest, ref)).toBe(GTF_invalid);
    expect(() => peer.mappings.map(guest.id, ref)).toThrow(GrantError);
  });

  it('in use is busy, the flags stay cleared, and the use goes on; a later call ends it', () => {
    const all = two();
    const { guest, peer } = all;
    const { ref, page, mapping } = shared(all);
    for (let n = 0; n < 3; n++) {
      expect(guest.grants.endForeignAccess(ref)).toBe('busy');
      expect(flagsOf(guest, ref)).toBe(GTF_invalid);
      expect(statusOf(guest, ref)).toBe(GTF_reading | GTF_writing);
    }
    peer.memory.write(mapping.va, Uint8Array.of(4));
    expect(guest.memory.bytes(page.va, 1, 'read')[0]).toBe(4);
    mapping.unmap();
    expect(statusOf(guest, ref)).toBe(0);
    expect(() => peer.mappings.map(guest.id, ref)).toThrow(GrantError);
    expect(guest.grants.endForeignAccess(ref)).toBe('ended');
  });

  it('busy, the peer may add to what it has pinned; when it has let go of all it cannot come back', () => {
    const { guest, peer } = two();
    const ref = guest.grants.grantForeignAccess(peer.id, guest.memory.allocPage());
    const reader = peer.mappings.map(guest.id, ref, { readonly: true });
    expect(guest.grants.endForeignAccess(ref)).toBe('busy');
    const writer = peer.mappings.map(guest.id, ref);
    reader.unmap();
    expect(guest.grants.endForeignAccess(ref)).toBe('busy');
    writer.unmap();
    expect(() => peer.mappings.map(guest.id, ref)).toThrow(GrantError);
    expect(guest.grants.endForeignAccess(ref)).toBe('ended');
  });

  it.each([
    ['before', 'busy'],
    ['after', 'ended'],
  ] as const)('a peer that maps just %s the flags are cleared: %s', (when, result) => {
    const { guest, peer, machine } = two();
    const ref = guest.grants.grantForeignAccess(peer.id, guest.memory.allocPage());
    const at = sharedEntryOf(guest.domain, ref);
    const { store } = Atomics;
    let mapping: Disposable | undefined;
    const tryMap = () => {
      Atomics.store = store;
      if (when === 'before') mapping = peer.mappings.map(guest.id, ref);
      else expect(() => peer.mappings.map(guest.id, ref)).toThrow(GrantError);
    };
    Atomics.store = ((words: Uint16Array, index: number, value: number) => {
      const ours = words === machine.heap.u16 && index === at >>> 1;
      if (ours && when === 'before') tryMap();
      const stored = store(words, index, value);
      if (ours && when === 'after') tryMap();
      return stored;
    }) as typeof Atomics.store;
    try {
      expect(guest.grants.endForeignAccess(ref)).toBe(result);
    } finally {
      Atomics.store = store;
    }
    if (when === 'after') return;
    mapping![Symbol.dispose]();
    expect(guest.grants.endForeignAccess(ref)).toBe('ended');
  });
});

describe('changing between writable and read-only', () => {
  it('sets the flag, then looks whether somebody writes', () => {
    const all = two();
    const { guest, peer } = all;
    const { ref, mapping } = shared(all);
    expect(guest.grants.makeReadonly(ref)).toBe('busy');
    mapping.unmap();
    expect(() => peer.mappings.map(guest.id, ref)).toThrow(GrantError);
    expect(guest.grants.makeReadonly(ref)).toBe('changed');
    using _reader = peer.mappings.map(guest.id, ref, { readonly: true });
    expect(guest.grants.makeReadonly(ref)).toBe('changed');
    guest.grants.makeWritable(ref);
    expect(flagsOf(guest, ref)).toBe(GTF_permit_access);
    peer.mappings.map(guest.id, ref).unmap();
  });
});

describe.each(types)('a part of a page of a %s guest', (type) => {
  const part = (readonly: boolean) => {
    const all = two({ type });
    const page = all.guest.memory.allocPage();
    all.guest.memory.write(page.va + 100, Uint8Array.of(1, 2, 3, 4));
    const { grants } = all.guest;
    const ref = grants.grantForeignAccessSubpage(all.peer.id, page, 100, 4, { readonly });
    return { ...all, page, ref };
  };

  it('says where it is', () => {
    const { guest, page, ref } = part(false);
    const { sub_page } = entryOf(guest, ref);
    expect(sub_page).toMatchObject({
      hdr: { flags: GTF_permit_access | GTF_sub_page },
      page_off: 100,
      length: 4,
      frame: BigInt(guest.memory.frameOf(page)),
    });
  });

  it.each([
    ['all of it', { offset: 100, length: 4 }, true],
    ['a part of it', { offset: 102, length: 1 }, true],
    ['a byte before', { offset: 99, length: 2 }, false],
    ['a byte behind', { offset: 103, length: 2 }, false],
  ])('can be copied from: %s', (_, where, allowed) => {
    const { guest, peer, ref } = part(true);
    const own = peer.memory.allocPage();
    expect(copy(peer, guest, ref, where, own) === GNTST_okay).toBe(allowed);
    if (allowed) expect(peer.memory.bytes(own.va, 1, 'read')[0]).toBe(where.offset - 99);
    expect(guest.grants.endForeignAccess(ref)).toBe('ended');
  });

  it('can be copied to unless it is read-only', () => {
    for (const readonly of [true, false]) {
      const { guest, peer, ref } = part(readonly);
      const status = copy(peer, guest, ref, { offset: 100, write: true });
      expect(status === GNTST_okay).toBe(!readonly);
    }
  });

  it('cannot be mapped', () => {
    const { guest, peer, ref } = part(false);
    expect(() => peer.mappings.map(guest.id, ref)).toThrow(GrantError);
  });

  it('counts as a grant of the page', () => {
    const { guest, page, ref } = part(false);
    guest.memory.freePage(page);
    expect(guest.memory.quarantined).toBe(1);
    guest.grants.endForeignAccess(ref);
    expect(guest.memory.quarantined).toBe(0);
  });

  it('leaves nothing behind: its reference grants a whole page afterwards', () => {
    const { guest, peer, page, ref } = part(false);
    guest.grants.endForeignAccess(ref);
    expect(guest.grants.grantForeignAccess(peer.id, page)).toBe(ref);
    expect(copy(peer, guest, ref, { offset: 4000 })).toBe(GNTST_okay);
  });
});

it.each([
  [-1, 4],
  [0, 0],
  [0, 4097],
  [4000, 97],
  [NaN, 1],
])('%i + %i bytes are no part of a page', (offsetBytes, lengthBytes) => {
  const { guest, peer } = two();
  const page = guest.memory.allocPage();
  const free = guest.grants.freeCount;
  const grant = () =>
    guest.grants.grantForeignAccessSubpage(peer.id, page, offsetBytes, lengthBytes);
  expect(grant).toThrow(RangeError);
  expect(guest.grants.freeCount).toBe(free);
});

describe("another domain's grant", () => {
  /** `owner` grants a page to `guest`, and that passes the grant on to `peer`. */
  function passedOn(readonly: { owner: boolean; guest: boolean }) {
    const all = two();
    const { guest, peer, machine } = all;
    const owner = bootGuest(createDomain(machine, { pages: 16 }));
    const page = owner.memory.allocPage();
    owner.memory.write(page.va, Uint8Array.of(8));
    const viaRef = owner.grants.grantForeignAccess(guest.id, page, { readonly: readonly.owner });
    const ref = guest.grants.grantForeignAccessTransitive(peer.id, owner.id, viaRef, {
      readonly: readonly.guest,
    });
    return { ...all, owner, page, viaRef, ref };
  }
  const writable = { owner: false, guest: false };

  it('says whose it is', () => {
    const { guest, peer, owner, viaRef, ref } = passedOn(writable);
    expect(entryOf(guest, ref).transitive).toMatchObject({
      hdr: { flags: GTF_transitive, domid: peer.id },
      trans_domid: owner.id,
      gref: viaRef,
    });
  });

  it('can be copied from, and not mapped', () => {
    const { guest, peer, owner, viaRef, ref } = passedOn(writable);
    const own = peer.memory.allocPage();
    expect(copy(peer, guest, ref, {}, own)).toBe(GNTST_okay);
    expect(peer.memory.bytes(own.va, 1, 'read')[0]).toBe(8);
    expect(() => peer.mappings.map(guest.id, ref)).toThrow(GrantError);
    expect(guest.grants.endForeignAccess(ref)).toBe('ended');
    expect(owner.grants.endForeignAccess(viaRef)).toBe('ended');
  });

  it.each([
    [{ owner: false, guest: false }, true],
    [{ owner: true, guest: false }, false],
    [{ owner: false, guest: true }, false],
  ])('with read-only %o can be written: %s', (readonly, allowed) => {
    const { guest, peer, ref } = passedOn(readonly);
    expect(copy(peer, guest, ref, { write: true }) === GNTST_okay).toBe(allowed);
    expect(copy(peer, guest, ref, {})).toBe(GNTST_okay);
  });

  it('is gone when the owner ends it', () => {
    const { guest, peer, owner, viaRef, ref } = passedOn(writable);
    owner.grants.endForeignAccess(viaRef);
    expect(copy(peer, guest, ref, {})).not.toBe(GNTST_okay);
  });
});

it('a guest with version 1 can grant neither', () => {
  const { guest, peer } = pair();
  const page = guest.memory.allocPage();
  const free = guest.grants.freeCount;
  expect(() => guest.grants.grantForeignAccessSubpage(peer.id, page, 0, 1)).toThrow(
    /granting a part of a page: needs grant table version 2/,
  );
  expect(() => guest.grants.grantForeignAccessTransitive(peer.id, peer.id, 8 as GrantRef)).toThrow(
    /granting another domain's grant: needs grant table version 2/,
  );
  expect(guest.grants.freeCount).toBe(free);
});
