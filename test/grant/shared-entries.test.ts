/**
 * The guidelines at the head of grant_table.h, "accessing and updating grant-table entries in a concurrency-safe
 * manner", sentence by sentence: what the guest does to an entry, and what may happen to it meanwhile.
 */
import { GnttabTransfer, type GrantRef } from '@ringside/gnttab-core';
import {
  GNTST_general_error,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_invalid,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_transfer_committed,
  GTF_transfer_completed,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import { sharedEntryOf } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { pair } from './guests.ts';
import { type Actor, beforeExchange, type Entry } from './world.ts';

/** What an entry was at each atomic store to its flags, and what was stored. */
function watchStores(bare: Actor, ref: number) {
  const stores: { before: Entry; flags: number }[] = [];
  const { store } = Atomics;
  const at = sharedEntryOf(bare.domain, ref);
  Atomics.store = ((words: Uint16Array, index: number, value: number) => {
    if (words.buffer === bare.machine.heap.u8.buffer && index * words.BYTES_PER_ELEMENT === at) {
      stores.push({ before: bare.seen(ref), flags: value });
    }
    return store(words, index, value);
  }) as typeof Atomics.store;
  return { stores, [Symbol.dispose]: () => void (Atomics.store = store) };
}

describe('Introducing a valid entry into the grant table', () => {
  it.each([
    ['access', {}, GTF_permit_access],
    ['read-only access', { readonly: true }, GTF_permit_access | GTF_readonly],
  ])(
    '%s: domid and frame are there before the flags with their valid type',
    (_, options, flags) => {
      const { guest, peer, bare } = pair();
      const page = guest.memory.allocPage();
      const next = guest.grants.grantForeignAccess(peer.id, page);
      guest.grants.endForeignAccess(next);
      using watch = watchStores(bare, next);
      const ref = guest.grants.grantForeignAccess(peer.id, page, options);
      expect(ref).toBe(next);
      const frame = guest.memory.frameOf(page);
      expect(watch.stores).toEqual([
        { before: { flags: GTF_invalid, domid: peer.id, frame }, flags },
      ]);
      expect(bare.seen(ref)).toEqual({ flags, domid: peer.id, frame });
    },
  );

  it('a transfer: the frame field holds the pseudo-physical slot that is being filled', () => {
    const { guest, peer, bare } = pair();
    const place = guest.memory.allocPage();
    guest.memory.surrender([place]);
    const ref = guest.grants.grantForeignTransfer(peer.id, place.gfn);
    expect(bare.seen(ref)).toEqual({
      flags: GTF_accept_transfer,
      domid: peer.id,
      frame: place.gfn,
    });
  });
});

describe('Invalidating an unused GTF_permit_access entry', () => {
  it('needs !(GTF_reading | GTF_writing), and clears the flags', () => {
    const { guest, peer, bare } = pair();
    const ref = guest.grants.grantForeignAccess(peer.id, guest.memory.allocPage());
    expect(guest.grants.endForeignAccess(ref)).toBe('ended');
    expect(bare.flags(ref)).toBe(GTF_invalid);
    expect(() => peer.mappings.map(guest.id, ref)).toThrow(/undefined error/);
  });

  it('checks the result of the exchange: a peer that maps between the look and the exchange wins', () => {
    const { guest, peer, bare } = pair();
    const ref = guest.grants.grantForeignAccess(peer.id, guest.memory.allocPage());
    let mapping: Disposable | undefined;
    {
      let looks = 0;
      // The first exchange is the guest's; those inside are Xen's on the peer's behalf.
      using _race = beforeExchange(bare, ref, () => {
        looks += 1;
        if (looks === 1) mapping = peer.mappings.map(guest.id, ref);
      });
      expect(guest.grants.endForeignAccess(ref)).toBe('busy');
    }
    expect(bare.flags(ref)).toBe(GTF_permit_access | GTF_reading | GTF_writing);
    mapping![Symbol.dispose]();
    expect(guest.grants.endForeignAccess(ref)).toBe('ended');
  });

  it('looks again when the word changed and nobody uses it after all', () => {
    const { guest, peer, bare } = pair();
    const ref = guest.grants.grantForeignAccess(peer.id, guest.memory.allocPage());
    let looks = 0;
    using _race = beforeExchange(bare, ref, () => {
      looks += 1;
      if (looks === 1) bare.setFlags(ref, GTF_permit_access | GTF_readonly);
    });
    expect(guest.grants.endForeignAccess(ref)).toBe('ended');
    expect(looks).toBe(2);
    expect(bare.flags(ref)).toBe(GTF_invalid);
  });
});

describe('Invalidating an in-use GTF_permit_access entry', () => {
  it.each([
    ['reading', true, { reading: true, writing: false }],
    ['writing', false, { reading: true, writing: true }],
  ])('cannot be done directly: busy while %s, and nothing has changed', (_, readonly, use) => {
    const { guest, peer, bare } = pair();
    const page = guest.memory.allocPage();
    const ref = guest.grants.grantForeignAccess(peer.id, page);
    const mapping = peer.mappings.map(guest.id, ref, { readonly });
    const before = bare.seen(ref);
    expect(guest.grants.queryForeignAccess(ref)).toEqual(use);
    for (let n = 0; n < 3; n++) expect(guest.grants.endForeignAccess(ref)).toBe('busy');
    expect(bare.seen(ref)).toEqual(before);
    // The reference is not given out meanwhile.
    const others = Array.from({ length: 20 }, () => guest.grants.grantForeignAccess(peer.id, page));
    expect(others).not.toContain(ref);
    mapping.unmap();
    expect(guest.grants.queryForeignAccess(ref)).toEqual({ reading: false, writing: false });
    expect(guest.grants.endForeignAccess(ref)).toBe('ended');
  });
});

/** The guest accepts a frame from the peer; `transfer` hands one over. */
function accepting() {
  const all = pair();
  const { guest, peer } = all;
  const place = guest.memory.allocPage();
  guest.memory.surrender([place]);
  const ref = guest.grants.grantForeignTransfer(peer.id, place.gfn);
  const transfer = () => {
    const op = new GnttabTransfer();
    op.mfn = peer.memory.detachForTransfer(peer.memory.allocPage());
    op.domid = guest.id;
    op.ref = ref;
    peer.hypercalls.gnttabTransfer([op]);
    return op;
  };
  return { ...all, place, ref, transfer };
}

describe('Invalidating an unused GTF_accept_transfer entry', () => {
  it('withdraws it: a later transfer fails', () => {
    const { guest, bare, ref, transfer } = accepting();
    expect(guest.grants.endForeignTransfer(ref)).toBeUndefined();
    expect(bare.flags(ref)).toBe(GTF_invalid);
    expect(transfer().status).toBe(GNTST_general_error);
  });

  it('checks the result of the exchange: a transfer that was committed meanwhile is accepted', () => {
    const { guest, bare, place, ref, transfer } = accepting();
    let looks = 0;
    let mfn = 0;
    using _race = beforeExchange(bare, ref, () => {
      looks += 1;
      if (looks === 1) ({ mfn } = transfer());
    });
    expect(guest.grants.endForeignTransfer(ref)).toBe(mfn);
    expect(bare.flags(ref)).toBe(GTF_invalid);
    guest.memory.adopt(place, mfn);
    expect(guest.memory.mfnOf(place)).toBe(mfn);
  });
});

describe('Invalidating a committed GTF_accept_transfer entry', () => {
  it('waits for GTF_transfer_completed, and modifies nothing before', () => {
    const { guest, bare, ref } = accepting();
    const committed = GTF_accept_transfer | GTF_transfer_committed;
    bare.setFlags(ref, committed);
    const { load } = Atomics;
    const at = sharedEntryOf(bare.domain, ref);
    const seen: number[] = [];
    Atomics.load = ((words: Uint16Array, index: number) => {
      if (words.buffer === bare.machine.heap.u8.buffer && index * words.BYTES_PER_ELEMENT === at) {
        seen.push(bare.flags(ref));
        // Xen, on another processor: the frame first, then the flag.
        if (seen.length === 5) {
          bare.entry(ref, {
            ...bare.seen(ref),
            frame: 0x123,
            flags: committed | GTF_transfer_completed,
          });
        }
      }
      return load(words, index);
    }) as typeof Atomics.load;
    try {
      expect(guest.grants.endForeignTransfer(ref)).toBe(0x123);
    } finally {
      Atomics.load = load;
    }
    expect(seen.slice(0, 5)).toEqual([committed, committed, committed, committed, committed]);
    expect(bare.flags(ref)).toBe(GTF_invalid);
  });
});

describe('Changing a GTF_permit_access from writable to read-only', () => {
  it('uses an exchange while checking !GTF_writing', () => {
    const { guest, peer, bare } = pair();
    const ref = guest.grants.grantForeignAccess(peer.id, guest.memory.allocPage());
    expect(guest.grants.makeReadonly(ref)).toBe('changed');
    expect(bare.flags(ref)).toBe(GTF_permit_access | GTF_readonly);
    expect(() => peer.mappings.map(guest.id, ref)).toThrow(/undefined error/);
    using _mapping = peer.mappings.map(guest.id, ref, { readonly: true });
  });

  it('a writer that comes between the look and the exchange keeps it writable', () => {
    const { guest, peer, bare } = pair();
    const ref = guest.grants.grantForeignAccess(peer.id, guest.memory.allocPage());
    let looks = 0;
    using _race = beforeExchange(bare, ref, () => {
      looks += 1;
      if (looks === 1) peer.mappings.map(guest.id, ref);
    });
    expect(guest.grants.makeReadonly(ref)).toBe('busy');
    expect(bare.flags(ref)).toBe(GTF_permit_access | GTF_reading | GTF_writing);
  });

  it('readers do not matter, and their mark stays', () => {
    const { guest, peer, bare } = pair();
    const ref = guest.grants.grantForeignAccess(peer.id, guest.memory.allocPage());
    using _mapping = peer.mappings.map(guest.id, ref, { readonly: true });
    expect(guest.grants.makeReadonly(ref)).toBe('changed');
    expect(bare.flags(ref)).toBe(GTF_permit_access | GTF_readonly | GTF_reading);
  });
});

describe('Changing a GTF_permit_access from read-only to writable', () => {
  it('is one step that loses no in-use bit', () => {
    const { guest, peer, bare } = pair();
    const page = guest.memory.allocPage();
    const ref = guest.grants.grantForeignAccess(peer.id, page, { readonly: true });
    using reader = peer.mappings.map(guest.id, ref, { readonly: true });
    guest.grants.makeWritable(ref);
    expect(bare.flags(ref)).toBe(GTF_permit_access | GTF_reading);
    using writer = peer.mappings.map(guest.id, ref);
    peer.memory.write(writer.va, Uint8Array.of(5));
    expect(peer.memory.bytes(reader.va, 1, 'read')[0]).toBe(5);
  });
});

it('a reference beyond the table is said to be, not written to', () => {
  const { guest, peer } = pair();
  const ref = 512 as GrantRef;
  expect(() => guest.grants.grantForeignAccessRef(ref, peer.id, 0, false)).toThrow(
    /reference 512: beyond the grant table/,
  );
});

it('the status of a map and of a copy are of the same entry', () => {
  const { guest, peer } = pair();
  const page = guest.memory.allocPage();
  const ref = guest.grants.grantForeignAccess(peer.id, page);
  const [first, second] = [peer.mappings.map(guest.id, ref), peer.mappings.map(guest.id, ref)];
  first.unmap();
  first.unmap(); // a second call does nothing
  expect(guest.grants.endForeignAccess(ref)).toBe('busy');
  second.unmap();
  expect(guest.grants.endForeignAccess(ref)).toBe('ended');
  expect(GNTST_okay).toBe(0);
});
