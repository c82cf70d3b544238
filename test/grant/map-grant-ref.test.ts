/** GNTTABOP_map_grant_ref (grant_table.h): who may map what, in which order it is checked, and what a mapping changes. */
import { PageFault, PAGE_SIZE } from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_no_space,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_invalid,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transitive,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import { pteAddress } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { three, UNTOUCHED, windowOf, World } from './world.ts';
import { NOBODY, REF, exhaust, granted, ro, rw } from './map-world.ts';

describe('a successful map', () => {
  it.each([
    { name: 'host, writable', flags: rw, bits: 'rw', pin: { hstw: 1 }, references: 1, types: 1 },
    { name: 'host, read-only', flags: ro, bits: 'r', pin: { hstr: 1 }, references: 1, types: 0 },
    { name: 'device, writable', flags: 1, bits: 'rw', pin: { devw: 1 }, references: 1, types: 1 },
    { name: 'device, read-only', flags: 5, bits: 'r', pin: { devr: 1 }, references: 1, types: 0 },
    {
      name: 'both, writable',
      flags: 3,
      bits: 'rw',
      pin: { hstw: 1, devw: 1 },
      references: 2,
      types: 2,
    },
    {
      name: 'both, read-only',
      flags: 7,
      bits: 'r',
      pin: { hstr: 1, devr: 1 },
      references: 2,
      types: 0,
    },
  ])('$name: in-use bits, pins and references', ({ flags, bits, pin, references, types }) => {
    const { world, granter, mapper, map } = granted();
    const typesBefore = world.typeCount(granter.mfn(0));
    const op = map(flags);
    expect(op.status).toBe(GNTST_okay);
    expect(op.devBusAddr).toBe(granter.mfn(0) * PAGE_SIZE);
    const use = bits === 'rw' ? GTF_reading | GTF_writing : GTF_reading;
    expect(granter.seen(REF)).toEqual({
      flags: GTF_permit_access | use,
      domid: mapper.id,
      frame: granter.frame(0),
    });
    expect(granter.pin(REF)).toEqual({ hstw: 0, hstr: 0, devw: 0, devr: 0, ...pin });
    expect(granter.extraReferences(0)).toBe(references);
    expect(world.typeCount(granter.mfn(0)) - typesBefore).toBe(types);
    const host = (flags & GNTMAP_host_map) !== 0;
    expect(mapper.pte()).toEqual(
      host ? { frame: granter.mfn(0), writable: bits === 'rw', foreign: true } : undefined,
    );
  });

  it('is a mapping that sees the page and may write it only if writable', () => {
    const { granter, mapper, map } = granted();
    granter.bytes(granter.mfn(0))[5] = 55;
    map(rw, 0);
    map(ro, 1);
    const [writable, readonly] = [windowOf(mapper.domain, 0), windowOf(mapper.domain, 1)];
    expect(mapper.peek(writable + 5)).toBe(55);
    mapper.poke(writable + 6, 66);
    expect(mapper.peek(readonly + 6)).toBe(66);
    expect(() => mapper.poke(readonly + 6, 1)).toThrow(PageFault);
  });

  it('ignores the offset inside the page of host_addr', () => {
    const { granter, mapper } = granted();
    const hostAddr = windowOf(mapper.domain) + 123;
    expect(mapper.map({ dom: granter.id, ref: REF, flags: rw, hostAddr }).status).toBe(GNTST_okay);
    expect(mapper.pte()?.frame).toBe(granter.mfn(0));
  });

  it('of a domain’s own grant works by its own id', () => {
    const { granter } = three();
    granter.entry(REF, { flags: GTF_permit_access, domid: granter.id, frame: granter.frame(2) });
    const op = granter.map({
      dom: granter.id,
      ref: REF,
      flags: rw,
      hostAddr: windowOf(granter.domain),
    });
    expect(op.status).toBe(GNTST_okay);
    expect(granter.pte()).toEqual({ frame: granter.mfn(2), writable: true, foreign: false });
  });

  it.each([
    ['kernel only', 0, { user: 4, guestKernel: 1 << 20, global: 0, avail: 0 }],
    [
      'application too',
      GNTMAP_application_map,
      { user: 4, guestKernel: 0, global: 0x100, avail: 0 },
    ],
    ['guest_avail 5', 5 << 16, { user: 4, guestKernel: 1 << 20, global: 0, avail: 5 << 9 }],
    [
      'guest_avail has 3 bits here',
      0xfff8_0000,
      { user: 4, guestKernel: 1 << 20, global: 0, avail: 0 },
    ],
  ])('puts the entry of SEMANTICS 39 into the page table: %s', (_, extra, bits) => {
    const { granter, mapper, map } = granted();
    expect(map(rw | extra).status).toBe(GNTST_okay);
    const word = pteAddress(mapper.domain, windowOf(mapper.domain)) >>> 2;
    const { u32 } = mapper.machine.heap;
    const low = 0x61 | 2 | bits.user | bits.global | bits.avail;
    expect(u32[word]).toBe((granter.mfn(0) * PAGE_SIZE + low) % 2 ** 32);
    expect(u32[word + 1]).toBe((0x8000_0000 | bits.guestKernel) >>> 0);
  });
});

describe('statuses', () => {
  const base = { flags: GTF_permit_access, op: {} as Record<string, number>, frame: 0 };
  it.each([
    { name: 'neither half', ...base, op: { flags: 0 }, status: GNTST_bad_gntref },
    {
      name: 'neither half, only read-only',
      ...base,
      op: { flags: GNTMAP_readonly },
      status: GNTST_bad_gntref,
    },
    { name: 'no such domain', ...base, op: { dom: NOBODY }, status: GNTST_bad_domain },
    { name: 'DOMID_SELF', ...base, op: { dom: DOMID_SELF }, status: GNTST_bad_domain },
    { name: 'reference beyond the table', ...base, op: { ref: 512 }, status: GNTST_bad_gntref },
    { name: 'the highest reference', ...base, op: { ref: 0xffff_ffff }, status: GNTST_bad_gntref },
    { name: 'invalid entry', ...base, flags: GTF_invalid, status: GNTST_general_error },
    {
      name: 'entry for a transfer',
      ...base,
      flags: GTF_accept_transfer,
      status: GNTST_general_error,
    },
    {
      name: 'type 3 (transitive is of version 2)',
      ...base,
      flags: GTF_transitive,
      status: GNTST_general_error,
    },
    {
      name: 'sub-page entry',
      ...base,
      flags: GTF_permit_access | GTF_sub_page,
      status: GNTST_general_error,
    },
    {
      name: 'writable map of a read-only entry',
      ...base,
      flags: GTF_permit_access | GTF_readonly,
      status: GNTST_general_error,
    },
    { name: 'frame that does not exist', ...base, frame: 0xfff_ffff, status: GNTST_bad_page },
    { name: 'the frame of all ones', ...base, frame: 0xffff_ffff, status: GNTST_bad_page },
    {
      name: 'address without a page table',
      ...base,
      op: { hostAddr: 0x1000 },
      status: GNTST_general_error,
    },
    {
      name: 'address beyond every page table',
      ...base,
      op: { hostAddr: 2 ** 47 },
      status: GNTST_general_error,
    },
    {
      name: 'a machine address of no page table of ours',
      ...base,
      op: { flags: rw | GNTMAP_contains_pte },
      status: GNTST_general_error,
    },
  ])('$name', ({ flags, op, frame, status }) => {
    const { granter, mapper } = three();
    const entry = { flags, domid: mapper.id, frame: frame || granter.frame(0) };
    granter.entry(REF, entry);
    const hostAddr = windowOf(mapper.domain);
    const result = mapper.map({ dom: granter.id, ref: REF, flags: rw, hostAddr, ...op });
    expect(result.status).toBe(status);
    // Nothing happened: OUT fields, entry, pin, references and page table are as before.
    expect(result).toMatchObject({ handle: UNTOUCHED, devBusAddr: UNTOUCHED });
    expect(granter.seen(REF)).toEqual(entry);
    expect(granter.pin(REF)).toEqual({ hstw: 0, hstr: 0, devw: 0, devr: 0 });
    expect(granter.extraReferences(0)).toBe(0);
    expect(mapper.pte()).toBeUndefined();
  });

  it('a frame of somebody else’s is a bad page', () => {
    const { granter, mapper, other } = three();
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: other.frame(0) });
    const op = mapper.map({
      dom: granter.id,
      ref: REF,
      flags: rw,
      hostAddr: windowOf(mapper.domain),
    });
    expect(op.status).toBe(GNTST_bad_page);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
    expect(other.extraReferences(0)).toBe(0);
  });

  it('a domain that was not granted the page gets a general error', () => {
    const { granter, other } = granted();
    const op = other.map({
      dom: granter.id,
      ref: REF,
      flags: rw,
      hostAddr: windowOf(other.domain),
    });
    expect(op.status).toBe(GNTST_general_error);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
  });

  it('a frame number beyond 32 bits of page frames names nothing', () => {
    const { granter, mapper } = three();
    granter.entry(REF, {
      flags: GTF_permit_access,
      domid: mapper.id,
      frame: granter.mfn(0) + 2 ** 28,
    });
    const op = mapper.map({
      dom: granter.id,
      ref: REF,
      flags: rw,
      hostAddr: windowOf(mapper.domain),
    });
    expect(op.status).toBe(GNTST_bad_page);
  });
});

describe('the order of the checks', () => {
  /** Each row breaks one thing more than the row below; the first broken one decides. */
  const order = [
    ['flags', { flags: 0 }, GNTST_bad_gntref],
    ['domain', { dom: NOBODY }, GNTST_bad_domain],
    ['handle', 'exhaust', GNTST_no_space],
    ['reference', { ref: 512 }, GNTST_bad_gntref],
    ['entry', 'revoke', GNTST_general_error],
    ['frame', 'frame', GNTST_bad_page],
    ['host mapping', { hostAddr: 0x1000 }, GNTST_general_error],
  ] as const;
  it.each(order.map((row, i) => [row[0], i, row[2]] as const))('%s', (_, first, status) => {
    const world = new World();
    const granter = world.domain();
    const mapper = world.domain({ maxMaptrackFrames: 1 });
    const broken = order.slice(first).map(([, how]) => how);
    const does = (what: string) => broken.some((how) => how === what);
    granter.entry(9, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(1) });
    if (does('exhaust')) exhaust(mapper, granter, 9);
    granter.entry(REF, {
      flags: does('revoke') ? GTF_invalid : GTF_permit_access,
      domid: mapper.id,
      frame: does('frame') ? 0xfff_ffff : granter.frame(0),
    });
    const op = { dom: granter.id, ref: REF, flags: rw, hostAddr: windowOf(mapper.domain, 600) };
    for (const how of broken) if (typeof how === 'object') Object.assign(op, how);
    expect(mapper.map(op).status).toBe(status);
  });
});
