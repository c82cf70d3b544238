/** GNTMAP_contains_pte (grant_table.h): `host_addr` is the machine address of the page table entry to write. */
import { freePages, ownerOf, PAGE_SIZE, PV_VA_BASE } from '@ringside/gnttab-core';
import {
  GNTMAP_application_map,
  _GNTMAP_guest_avail0,
  GNTMAP_contains_pte,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_permit_access,
} from '@ringside/gnttab-core/abi';
import { linkL1, pteAddress } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { three, windowOf, World } from './world.ts';

const REF = 8;
const byPte = GNTMAP_host_map | GNTMAP_contains_pte;
const L1_GFN = 5;
/** Beyond the window that every domain of a World has tables for. */
const TABLE_VA = PV_VA_BASE + 0x4040_0000;

/** The mapper brings a page table of its own; the granter's page 0 is for it. */
function withTable() {
  const all = three();
  const { granter, mapper } = all;
  const l1 = mapper.detach(L1_GFN);
  expect(linkL1(mapper.domain, TABLE_VA, l1)).toBe(true);
  granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
  /** Machine address of entry `n` of that table. */
  const pte = (n: number) => l1 * PAGE_SIZE + n * 8;
  const map = (hostAddr: number, flags: number = byPte) =>
    mapper.map({ dom: granter.id, ref: REF, flags, hostAddr });
  const entry = (n: number) => mapper.machine.heap.view.getBigUint64(pte(n), true);
  return { ...all, l1, pte, map, entry };
}

describe('mapping', () => {
  it('puts the frame where that entry is looked up', () => {
    const { granter, mapper, pte, map } = withTable();
    granter.bytes(granter.mfn(0))[3] = 33;
    expect(map(pte(7)).status).toBe(GNTST_okay);
    expect(mapper.peek(TABLE_VA + 7 * PAGE_SIZE + 3)).toBe(33);
    mapper.poke(TABLE_VA + 7 * PAGE_SIZE, 1);
    expect(granter.bytes(granter.mfn(0))[0]).toBe(1);
    expect(granter.extraReferences(0)).toBe(1);
  });

  it.each([
    ['writable', byPte, 0x67n | (1n << 52n)],
    ['read-only', byPte | GNTMAP_readonly, 0x65n | (1n << 52n)],
    ['for applications', byPte | GNTMAP_application_map, 0x167n],
    ['with the guest’s own bits', byPte | (5 << _GNTMAP_guest_avail0), 0xa67n | (1n << 52n)],
  ])('writes this entry: %s (SEMANTICS 39)', (_, flags, bits) => {
    const { granter, pte, map, entry } = withTable();
    expect(map(pte(0), flags).status).toBe(GNTST_okay);
    expect(entry(0)).toBe((BigInt(granter.mfn(0)) << 12n) | bits | (1n << 63n));
  });

  const addresses: [string, (all: ReturnType<typeof withTable>) => number][] = [
    ['not aligned to 8', ({ pte }) => pte(1) + 4],
    ['by one byte', ({ pte }) => pte(1) + 1],
    ['an ordinary page of the caller', ({ mapper }) => mapper.mfn(1) * PAGE_SIZE],
    ['another domain’s page', ({ granter }) => granter.mfn(1) * PAGE_SIZE],
    ['a table that is Xen’s', ({ mapper }) => pteAddress(mapper.domain, windowOf(mapper.domain))],
    ['no memory', () => 0x7fff_ffff_f000],
    ['0', () => 0],
    ['a virtual address', ({ mapper }) => windowOf(mapper.domain)],
  ];
  it.each(addresses)('an address that is no entry of the caller’s is refused: %s', (_, where) => {
    const all = withTable();
    expect(all.map(where(all)).status).toBe(GNTST_general_error);
    expect(all.granter.flags(REF)).toBe(GTF_permit_access);
    expect(all.granter.extraReferences(0)).toBe(0);
    expect(all.granter.pin(REF).hstw).toBe(0);
  });

  it('another domain’s table is none of the caller’s', () => {
    const { granter, other, pte } = withTable();
    granter.entry(9, { flags: GTF_permit_access, domid: other.id, frame: granter.frame(0) });
    const op = { dom: granter.id, ref: 9, flags: byPte, hostAddr: pte(0) };
    expect(other.map(op).status).toBe(GNTST_general_error);
  });
});

describe('the handle remembers the mode (SEMANTICS 40)', () => {
  it.each([
    ['mapped by entry, unmapped by entry', true, true, GNTST_okay],
    ['mapped by entry, unmapped by address', true, false, GNTST_general_error],
    ['mapped by address, unmapped by entry', false, true, GNTST_general_error],
    ['mapped by address, unmapped by address', false, false, GNTST_okay],
  ])('%s', (_, mapByPte, unmapByPte, status) => {
    const { granter, mapper, pte, map } = withTable();
    const address = (entry: boolean) => (entry ? pte(3) : TABLE_VA + 3 * PAGE_SIZE);
    const { handle } = map(address(mapByPte), mapByPte ? byPte : GNTMAP_host_map);
    expect(mapper.unmap({ handle, hostAddr: address(unmapByPte) })).toBe(status);
    const left = status === GNTST_okay ? 0 : 1;
    expect(granter.pin(REF).hstw).toBe(left);
    expect(granter.extraReferences(0)).toBe(left);
  });

  it('unmap_and_replace has no entry to put there: the other mapping stays where it is', () => {
    const { mapper, pte, map, entry } = withTable();
    const { handle } = map(pte(3));
    expect(map(TABLE_VA, GNTMAP_host_map).status).toBe(GNTST_okay);
    const before = [entry(0), entry(3)];
    const op = { handle, hostAddr: pte(3), newAddr: TABLE_VA };
    expect(mapper.replace(op)).toBe(GNTST_general_error);
    expect([entry(0), entry(3)]).toEqual(before);
    expect(mapper.replace({ ...op, newAddr: 0 })).toBe(GNTST_okay);
    expect(entry(3)).toBe(0n);
  });
});

describe('a frame that is a page table (SEMANTICS 16)', () => {
  it('can be granted to read, and not to write', () => {
    const { mapper, other, l1 } = withTable();
    mapper.entry(REF, { flags: GTF_permit_access, domid: other.id, frame: l1 });
    const map = (flags: number) =>
      other.map({ dom: mapper.id, ref: REF, flags, hostAddr: windowOf(other.domain) }).status;
    expect(map(GNTMAP_host_map)).toBe(GNTST_general_error);
    expect(mapper.flags(REF)).toBe(GTF_permit_access);
    expect(map(GNTMAP_host_map | GNTMAP_readonly)).toBe(GNTST_okay);
  });

  it('can be copied from, and not to: a copy shows its entries', () => {
    const { mapper, other, granter, l1, pte, map } = withTable();
    mapper.entry(REF, { flags: GTF_permit_access, domid: other.id, frame: l1 });
    map(pte(2));
    const table = { ref: REF, domid: mapper.id };
    const own = { gmfn: other.mfn(1) };
    expect(other.copy(table, own, PAGE_SIZE)).toBe(GNTST_okay);
    const view = new DataView(other.bytes(own.gmfn).slice().buffer);
    expect(view.getBigUint64(16, true) & 0xf_ffff_f000n).toBe(BigInt(granter.mfn(0)) << 12n);
    expect(other.copy(own, table, PAGE_SIZE)).toBe(GNTST_general_error);
  });

  it('is not given away', () => {
    const { mapper, other, l1 } = withTable();
    other.entry(REF, { flags: GTF_accept_transfer, domid: mapper.id, frame: 0 });
    expect(mapper.transfer({ mfn: l1, domid: other.id, ref: REF })).toBe(GNTST_bad_page);
    expect(ownerOf(mapper.machine, l1)).toBe(mapper.id);
  });

  it('may not be mapped writable by its own domain', () => {
    const { mapper, l1 } = withTable();
    expect(mapper.hypercalls.updateVaMapping(TABLE_VA, l1, true)).not.toBe(0);
    expect(mapper.hypercalls.updateVaMapping(TABLE_VA, l1, false)).toBe(0);
  });

  it('is free with its domain, and so is what it mapped', () => {
    const world = new World();
    const before = freePages(world.machine);
    const [granter, mapper] = [world.domain(), world.domain()];
    const l1 = mapper.detach(L1_GFN);
    linkL1(mapper.domain, TABLE_VA, l1);
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    const op = { dom: granter.id, ref: REF, flags: byPte, hostAddr: l1 * PAGE_SIZE };
    expect(mapper.map(op).status).toBe(GNTST_okay);
    mapper.destroy();
    expect(granter.extraReferences(0)).toBe(0);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
    granter.destroy();
    expect(freePages(world.machine)).toBe(before);
  });
});
