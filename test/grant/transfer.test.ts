/** GNTTABOP_transfer (grant_table.h): giving a frame away, and when it is lost. */
import { freePages, GnttabTransfer, INVALID_MFN, ownerOf } from '@ringside/gnttab-core';
import {
  DOMID_INVALID,
  DOMID_SELF,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTST_bad_domain,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_invalid,
  GTF_permit_access,
  GTF_transfer_committed,
  GTF_transfer_completed,
} from '@ringside/gnttab-core/abi';
import { domainAddressSpace, gfnToMfn, pageInfo } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { beforeExchange, three, windowOf, World } from './world.ts';

const NOBODY = 999;
const REF = 8;
const done = GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed;

/** The receiver accepts a frame from the giver, whose page 3 nothing refers to any more. */
function accepting(flags: number = GTF_accept_transfer) {
  const { world, granter: giver, mapper: receiver, other } = three();
  const mfn = giver.detach(3);
  giver.bytes(mfn).fill(0x77);
  receiver.entry(REF, { flags, domid: giver.id, frame: 5 });
  return { world, giver, receiver, other, mfn };
}

describe('a successful transfer', () => {
  it('hands over the frame with its contents, and says so in the entry', () => {
    const { world, giver, receiver, mfn } = accepting();
    expect(giver.transfer({ mfn, domid: receiver.id, ref: REF })).toBe(GNTST_okay);
    expect(ownerOf(world.machine, mfn)).toBe(receiver.id);
    expect([giver.domain.totPages, receiver.domain.totPages]).toEqual([15, 17]);
    expect(receiver.seen(REF)).toEqual({ flags: done, domid: giver.id, frame: mfn });
    expect(receiver.hypercalls.updateVaMapping(windowOf(receiver.domain), mfn, true)).toBe(0);
    expect(receiver.peek(windowOf(receiver.domain) + 9)).toBe(0x77);
    expect(giver.hypercalls.updateVaMapping(windowOf(giver.domain), mfn, true)).toBeLessThan(0);
  });

  it('to oneself works by number, not by DOMID_SELF', () => {
    const { giver } = accepting();
    giver.entry(REF, { flags: GTF_accept_transfer, domid: giver.id, frame: 0 });
    expect(giver.transfer({ mfn: giver.mfn(3), domid: giver.id, ref: REF })).toBe(GNTST_okay);
    expect(giver.domain.totPages).toBe(16);
    const again = giver.detach(4);
    giver.entry(9, { flags: GTF_accept_transfer, domid: giver.id, frame: 0 });
    expect(giver.transfer({ mfn: again, domid: DOMID_SELF, ref: 9 })).toBe(GNTST_bad_domain);
  });

  it('to a full domain that is oneself has headroom: the page is taken first', () => {
    const world = new World();
    const full = world.domain({ pages: 16, maxPages: 16 });
    full.entry(REF, { flags: GTF_accept_transfer, domid: full.id, frame: 0 });
    const mfn = full.detach(0);
    expect(full.transfer({ mfn, domid: full.id, ref: REF })).toBe(GNTST_okay);
  });

  it('gives a translated receiver the page at the gfn that its entry names', () => {
    const world = new World();
    const giver = world.domain();
    const receiver = world.domain({ type: 'translated' });
    const mfn = giver.detach(3);
    giver.bytes(mfn)[0] = 0x42;
    receiver.hypercalls.decreaseReservation([5]);
    receiver.entry(REF, { flags: GTF_accept_transfer, domid: giver.id, frame: 5 });
    expect(giver.transfer({ mfn, domid: receiver.id, ref: REF })).toBe(GNTST_okay);
    expect(receiver.seen(REF)).toEqual({ flags: done, domid: giver.id, frame: 5 });
    expect(gfnToMfn(receiver.domain, 5)).toBe(mfn);
    expect(receiver.peek(5 * 4096)).toBe(0x42);
  });

  it('of a page that is merely granted leaves the old grant without a page (SEMANTICS 34)', () => {
    const { giver, receiver, mfn } = accepting();
    giver.entry(9, { flags: GTF_permit_access, domid: receiver.id, frame: mfn });
    expect(giver.transfer({ mfn, domid: receiver.id, ref: REF })).toBe(GNTST_okay);
    const hostAddr = windowOf(receiver.domain);
    const op = { dom: giver.id, ref: 9, flags: GNTMAP_host_map, hostAddr };
    expect(receiver.map(op).status).toBe(GNTST_bad_page);
  });
});

describe('GNTST_bad_page: the page stays the caller’s', () => {
  const stays = [
    ['a frame that does not exist', () => ({ mfn: 0xfff_ffff })],
    ['the frame of all ones', () => ({ mfn: INVALID_MFN })],
    [
      'a number that is a frame of ours but for its bits above 32',
      (all) => ({ mfn: all.mfn + 2 ** 32 }),
    ],
    ['a number that is a frame of ours but for bit 52', (all) => ({ mfn: all.mfn + 2 ** 52 })],
    ['another domain’s page', (all) => ({ mfn: all.other.mfn(0) })],
    ['an own page that is mapped', (all) => ({ mfn: all.giver.mfn(0) })],
    ['the own grant table', (all) => ({ mfn: all.giver.hypercalls.setupTable(1).frames[0]! })],
    ['the own shared info page', (all) => ({ mfn: all.giver.domain.sharedInfo })],
    ['a page of the hypervisor', () => ({ mfn: 0 })],
  ] satisfies [string, (all: ReturnType<typeof accepting>) => { mfn: number }][];
  it.each(stays)('%s', (_, choose) => {
    const all = accepting();
    const { world, giver, receiver } = all;
    const { mfn } = choose(all);
    const free = freePages(world.machine);
    const owner = ownerOf(world.machine, mfn);
    expect(giver.transfer({ mfn, domid: receiver.id, ref: REF })).toBe(GNTST_bad_page);
    expect(ownerOf(world.machine, mfn)).toBe(owner);
    expect(freePages(world.machine)).toBe(free);
    expect(giver.domain.totPages).toBe(16);
    expect(receiver.seen(REF)).toEqual({ flags: GTF_accept_transfer, domid: giver.id, frame: 5 });
  });

  it.each([
    ['for the host', GNTMAP_host_map],
    ['for a device', GNTMAP_device_map],
  ])('a page that a third domain maps %s (GT-24, GT-58)', (_, flags) => {
    const { giver, receiver, other, mfn } = accepting();
    giver.entry(9, { flags: GTF_permit_access, domid: other.id, frame: mfn });
    const hostAddr = windowOf(other.domain);
    const { handle, devBusAddr } = other.map({ dom: giver.id, ref: 9, flags, hostAddr });
    expect(giver.transfer({ mfn, domid: receiver.id, ref: REF })).toBe(GNTST_bad_page);
    expect(other.unmap({ handle, hostAddr, devBusAddr })).toBe(GNTST_okay);
    expect(giver.transfer({ mfn, domid: receiver.id, ref: REF })).toBe(GNTST_okay);
  });

  it('comes before the receiver is looked at', () => {
    const { giver } = accepting();
    expect(giver.transfer({ mfn: giver.mfn(0), domid: NOBODY, ref: 512 })).toBe(GNTST_bad_page);
  });

  it('a page given away cannot be given again', () => {
    const { giver, receiver, mfn } = accepting();
    receiver.entry(9, { flags: GTF_accept_transfer, domid: giver.id, frame: 0 });
    expect(giver.transfer({ mfn, domid: receiver.id, ref: REF })).toBe(GNTST_okay);
    expect(giver.transfer({ mfn, domid: receiver.id, ref: 9 })).toBe(GNTST_bad_page);
  });
});

describe('every other failure loses the page', () => {
  it.each([
    ['no such domain', { domid: NOBODY }, GNTST_bad_domain],
    ['DOMID_SELF', { domid: DOMID_SELF }, GNTST_bad_domain],
    ['a reference beyond the table', { ref: 512 }, GNTST_general_error],
    ['the highest reference', { ref: 0xffff_ffff }, GNTST_general_error],
    ['an entry that nobody posted', { ref: 9 }, GNTST_general_error],
  ])('%s', (_, change, status) => {
    const { world, giver, receiver, mfn } = accepting();
    const free = freePages(world.machine);
    expect(giver.transfer({ mfn, domid: receiver.id, ref: REF, ...change })).toBe(status);
    expect(giver.domain.totPages).toBe(15);
    expect(ownerOf(world.machine, mfn)).toBe(DOMID_INVALID);
    expect(freePages(world.machine)).toBe(free + 1);
    expect(receiver.domain.totPages).toBe(16);
    expect(receiver.seen(REF)).toEqual({ flags: GTF_accept_transfer, domid: giver.id, frame: 5 });
  });

  it.each([
    ['invalid', GTF_invalid],
    ['a grant of access', GTF_permit_access],
    ['type 3', 3],
    ['committed already', GTF_accept_transfer | GTF_transfer_committed],
    ['completed already', done],
    ['any further bit', GTF_accept_transfer | 0x20],
    ['a bit of version 2', GTF_accept_transfer | 0x100],
  ])('flags that are not exactly accept_transfer: %s', (_, flags) => {
    const { world, giver, receiver, mfn } = accepting(flags);
    const free = freePages(world.machine);
    expect(giver.transfer({ mfn, domid: receiver.id, ref: REF })).toBe(GNTST_general_error);
    expect(receiver.seen(REF)).toEqual({ flags, domid: giver.id, frame: 5 });
    expect(freePages(world.machine)).toBe(free + 1);
  });

  it('an entry for another giver', () => {
    const { giver, receiver, other, mfn } = accepting();
    receiver.entry(REF, { flags: GTF_accept_transfer, domid: other.id, frame: 0 });
    expect(giver.transfer({ mfn, domid: receiver.id, ref: REF })).toBe(GNTST_general_error);
    expect(receiver.flags(REF)).toBe(GTF_accept_transfer);
  });

  it('a receiver at its maximum (GT-57)', () => {
    const world = new World();
    const giver = world.domain();
    const full = world.domain({ pages: 16, maxPages: 16 });
    full.entry(REF, { flags: GTF_accept_transfer, domid: giver.id, frame: 0 });
    const transfer = (gfn: number) =>
      giver.transfer({ mfn: giver.detach(gfn), domid: full.id, ref: REF });
    expect(transfer(0)).toBe(GNTST_general_error);
    expect(full.domain.totPages).toBe(16);
    expect(full.flags(REF)).toBe(GTF_accept_transfer);
    full.hypercalls.decreaseReservation([full.detach(0)]);
    expect(transfer(1)).toBe(GNTST_okay);
    expect(full.domain.totPages).toBe(16);
  });

  it('a receiver that is dying', () => {
    const { world, giver, receiver, other, mfn } = accepting();
    receiver.entry(9, { flags: GTF_permit_access, domid: other.id, frame: receiver.mfn(0) });
    const hostAddr = windowOf(other.domain);
    other.map({ dom: receiver.id, ref: 9, flags: GNTMAP_host_map, hostAddr });
    receiver.destroy();
    const free = freePages(world.machine);
    expect(giver.transfer({ mfn, domid: receiver.id, ref: REF })).toBe(GNTST_general_error);
    expect(freePages(world.machine)).toBe(free + 1);
    expect(receiver.domain.totPages).toBe(1);
  });

  it('the receiver withdraws it at the last moment', () => {
    const { giver, receiver, mfn } = accepting();
    using _race = beforeExchange(receiver, REF, () => receiver.setFlags(REF, GTF_invalid));
    expect(giver.transfer({ mfn, domid: receiver.id, ref: REF })).toBe(GNTST_general_error);
    expect(receiver.flags(REF)).toBe(GTF_invalid);
    expect(receiver.domain.totPages).toBe(16);
  });
});

it('the frame is written before the transfer is complete, and after it is committed', () => {
  const { giver, receiver, mfn } = accepting();
  const seen: number[][] = [];
  const { native } = giver.machine;
  const or16 = native.or16.bind(native);
  // The receiver watches its entry: at the moment of completion the frame is there.
  native.or16 = (word, bits) => {
    const entry = receiver.seen(REF);
    seen.push([entry.flags, entry.frame, bits]);
    or16(word, bits);
  };
  giver.transfer({ mfn, domid: receiver.id, ref: REF });
  expect(seen).toEqual([
    [GTF_accept_transfer | GTF_transfer_committed, mfn, GTF_transfer_completed],
  ]);
});

it('a translated caller has no machine frame to name, and loses nothing', () => {
  const world = new World();
  const giver = world.domain({ type: 'translated' });
  const receiver = world.domain();
  receiver.entry(REF, { flags: GTF_accept_transfer, domid: giver.id, frame: 0 });
  const give = (mfn: number) => giver.transfer({ mfn, domid: receiver.id, ref: REF });
  expect(give(0)).toBe(GNTST_general_error);
  // What it names is a gfn: this one has nothing behind it.
  expect(give(giver.mfn(0))).toBe(GNTST_bad_page);
  expect(giver.domain.totPages).toBe(16);
  expect(receiver.flags(REF)).toBe(GTF_accept_transfer);
});

it('a batch goes on after a failing element', () => {
  const { giver, receiver, mfn } = accepting();
  receiver.entry(9, { flags: GTF_accept_transfer, domid: giver.id, frame: 0 });
  const ops = [
    { mfn: giver.mfn(0), ref: REF },
    { mfn, ref: REF },
    { mfn, ref: 9 },
    { mfn: giver.detach(4), ref: REF },
    { mfn: giver.detach(5), ref: 9 },
  ].map((op) => Object.assign(new GnttabTransfer(), { domid: receiver.id, ...op }));
  giver.hypercalls.gnttabTransfer(ops);
  expect(ops.map(({ status }) => status)).toEqual([
    GNTST_bad_page,
    GNTST_okay,
    GNTST_bad_page,
    GNTST_general_error,
    GNTST_okay,
  ]);
  expect([giver.domain.totPages, receiver.domain.totPages]).toEqual([13, 18]);
});

it('a page that was flipped to and fro a thousand times costs nothing', () => {
  const world = new World();
  const [a, b] = [world.domain(), world.domain()];
  const mfn = a.detach(0);
  const free = freePages(world.machine);
  for (let n = 0; n < 1000; n++) {
    const [from, to] = n % 2 === 0 ? [a, b] : [b, a];
    to.entry(REF, { flags: GTF_accept_transfer, domid: from.id, frame: 0 });
    expect(from.transfer({ mfn, domid: to.id, ref: REF })).toBe(GNTST_okay);
  }
  expect(freePages(world.machine)).toBe(free);
  expect([a.domain.totPages, b.domain.totPages]).toEqual([16, 16]);
  const space = domainAddressSpace(a.domain);
  a.hypercalls.updateVaMapping(windowOf(a.domain), mfn, true);
  expect(Math.floor(space.translate(windowOf(a.domain), 'write') / 4096)).toBe(mfn);
});

it('to a translated domain, where a page stands already: that page is not lost', () => {
  const world = new World();
  const giver = world.domain();
  const receiver = world.domain({ type: 'translated', maxPages: 32 });
  const mfn = giver.detach(3);
  const displaced = receiver.mfn(5);
  receiver.entry(REF, { flags: GTF_accept_transfer, domid: giver.id, frame: 5 });
  expect(giver.transfer({ mfn, domid: receiver.id, ref: REF })).toBe(GNTST_okay);
  expect(receiver.mfn(5)).toBe(mfn);
  expect(ownerOf(world.machine, displaced)).toBe(receiver.id);
  // No gfn leads to it, and it knows of none.
  const gfn = (world.machine.pageInfo(displaced) + pageInfo.offset.gfn) >>> 2;
  expect(world.machine.heap.u32[gfn]).toBe(0xffff_ffff);
});
