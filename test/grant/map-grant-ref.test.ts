/** GNTTABOP_map_grant_ref (grant_table.h): who may map what, in which order it is checked, and what a mapping changes. */
import { createDomain, PageFault, PAGE_SIZE } from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
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
import { nrMaptrackEntries, pteAddress } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { type Actor, beforeExchange, three, UNTOUCHED, windowOf, World } from './world.ts';

const NOBODY = 999;
const REF = 8;
const ro = GNTMAP_host_map | GNTMAP_readonly;
const rw = GNTMAP_host_map;

/** The granter's page 0 for the mapper, at REF. */
function granted(flags: number = GTF_permit_access) {
  const all = three();
  const { granter, mapper } = all;
  granter.entry(REF, { flags, domid: mapper.id, frame: granter.frame(0) });
  const map = (mapFlags = rw, n = 0) =>
    mapper.map({
      dom: granter.id,
      ref: REF,
      flags: mapFlags,
      hostAddr: windowOf(mapper.domain, n),
    });
  const unmap = (handle: number, n = 0) =>
    mapper.unmap({ handle, hostAddr: windowOf(mapper.domain, n) });
  return { ...all, map, unmap };
}

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

/** Uses up every handle of a mapper that has one maptrack frame. */
function exhaust(mapper: Actor, granter: Actor, ref: number): number[] {
  const handles: number[] = [];
  for (let n = 0; n < 255; n++) {
    // A counter takes 128 references, so half are of the other kind.
    const flags = n % 2 ? ro : rw;
    const op = mapper.map({ dom: granter.id, ref, flags, hostAddr: windowOf(mapper.domain, n) });
    expect(op.status).toBe(GNTST_okay);
    handles.push(op.handle);
  }
  return handles;
}

describe('handles', () => {
  it('n frames of map track entries make 256n - 1 handles; the next map has no space', () => {
    const world = new World();
    const granter = world.domain();
    const mapper = world.domain({ maxMaptrackFrames: 1 });
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    const handles = exhaust(mapper, granter, REF);
    expect(new Set(handles).size).toBe(255);
    expect(nrMaptrackEntries(mapper.domain)).toBe(256);
    const again = { dom: granter.id, ref: REF, flags: GNTMAP_device_map };
    const flags = granter.flags(REF);
    expect(mapper.map(again).status).toBe(GNTST_no_space);
    expect(granter.flags(REF)).toBe(flags);
    expect(mapper.unmap({ handle: handles[7]!, hostAddr: windowOf(mapper.domain, 7) })).toBe(
      GNTST_okay,
    );
    expect(mapper.map(again).status).toBe(GNTST_okay);
    expect(mapper.map(again).status).toBe(GNTST_no_space);
  });

  it('the table of handles grows by a frame at a time', () => {
    const world = new World();
    const mapper = world.domain({ maxMaptrackFrames: 2 });
    const granter = world.domain();
    let maps = 0;
    for (let ref = 8; ref < 16; ref++) {
      granter.entry(ref, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
      for (let n = 0; n < 128; n++) {
        const op = mapper.map({ dom: granter.id, ref, flags: GNTMAP_device_map });
        if (op.status === GNTST_okay) maps += 1;
        else expect(op.status).toBe(GNTST_no_space);
      }
    }
    expect(maps).toBe(511);
  });

  it('a failed map gives its handle back', () => {
    const world = new World();
    const granter = world.domain();
    const mapper = world.domain({ maxMaptrackFrames: 1 });
    for (let n = 0; n < 1000; n++) {
      expect(mapper.map({ dom: granter.id, ref: REF, flags: rw }).status).toBe(GNTST_general_error);
    }
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    exhaust(mapper, granter, REF);
  });

  it('of two domains are counted apart', () => {
    const { granter, mapper, other, map } = granted();
    granter.entry(9, { flags: GTF_permit_access, domid: other.id, frame: granter.frame(0) });
    const mine = map();
    const theirs = other.map({
      dom: granter.id,
      ref: 9,
      flags: rw,
      hostAddr: windowOf(other.domain),
    });
    expect(theirs.handle).toBe(mine.handle);
    expect(mapper.unmap({ handle: mine.handle, hostAddr: windowOf(mapper.domain) })).toBe(
      GNTST_okay,
    );
    expect(other.pte()?.frame).toBe(granter.mfn(0));
  });
});

describe('pin counts', () => {
  it('a counter takes 128 references; the other kind is counted apart (GT-38)', () => {
    const { granter, map, unmap } = granted();
    const handles = Array.from({ length: 128 }, (_, n) => map(rw, n).handle);
    expect(granter.pin(REF).hstw).toBe(128);
    const flags = granter.flags(REF);
    expect(map(rw, 200).status).toBe(GNTST_general_error);
    expect(granter.pin(REF).hstw).toBe(128);
    expect(granter.flags(REF)).toBe(flags);
    expect(map(ro, 201).status).toBe(GNTST_okay);
    expect(map(GNTMAP_device_map).status).toBe(GNTST_okay);
    expect(unmap(handles[0]!, 0)).toBe(GNTST_okay);
    expect(map(rw, 200).status).toBe(GNTST_okay);
  });

  it.each([
    ['hstr', ro],
    ['devw', GNTMAP_device_map],
    ['devr', GNTMAP_device_map | GNTMAP_readonly],
  ] as const)('%s stops at 128 as well', (counter, flags) => {
    const { granter, map } = granted();
    for (let n = 0; n < 128; n++) expect(map(flags, n).status).toBe(GNTST_okay);
    expect(granter.pin(REF)[counter]).toBe(128);
    expect(map(flags, 200).status).toBe(GNTST_general_error);
  });

  it('a map of both halves needs room in both counters', () => {
    const { granter, map } = granted();
    for (let n = 0; n < 128; n++) map(GNTMAP_device_map);
    expect(map(rw | GNTMAP_device_map).status).toBe(GNTST_general_error);
    expect(granter.pin(REF)).toEqual({ hstw: 0, hstr: 0, devw: 128, devr: 0 });
  });

  it('a copy needs room in the host counters too', () => {
    const { granter, mapper, map } = granted();
    for (let n = 0; n < 128; n++) map(ro, n);
    const dest = { gmfn: mapper.frame(0) };
    expect(mapper.copy({ ref: REF, domid: granter.id }, dest, 1)).toBe(GNTST_general_error);
    const source = { gmfn: mapper.frame(0) };
    expect(mapper.copy(source, { ref: REF, domid: granter.id }, 1)).toBe(GNTST_okay);
  });
});

describe('an entry that is in use', () => {
  it.each([
    ['revoked', { flags: GTF_invalid }],
    ['made a transfer', { flags: GTF_accept_transfer }],
    ['pointed at another frame', { frame: 1 }],
    ['given to somebody else', { domid: NOBODY }],
    ['made sub-page', { flags: GTF_permit_access | GTF_sub_page }],
  ])('and %s is still mapped as it was first granted', (_, change) => {
    const { granter, mapper, map } = granted();
    map(rw);
    granter.entry(REF, { ...granter.seen(REF), ...change });
    expect(map(rw, 1).status).toBe(GNTST_okay);
    expect(mapper.pte(1)?.frame).toBe(granter.mfn(0));
  });

  it('is nobody else’s to map, whatever the guest writes', () => {
    const { granter, other, map } = granted();
    map(rw);
    granter.entry(REF, { flags: GTF_permit_access, domid: other.id, frame: granter.frame(0) });
    const op = other.map({
      dom: granter.id,
      ref: REF,
      flags: rw,
      hostAddr: windowOf(other.domain),
    });
    expect(op.status).toBe(GNTST_general_error);
  });

  it('is looked at again by the first writer: a read-only flag stops it', () => {
    const { granter, map } = granted();
    map(ro);
    granter.setFlags(REF, GTF_permit_access | GTF_readonly | GTF_reading);
    expect(map(rw, 1).status).toBe(GNTST_general_error);
    expect(granter.flags(REF)).toBe(GTF_permit_access | GTF_readonly | GTF_reading);
    granter.setFlags(REF, GTF_permit_access | GTF_reading);
    expect(map(rw, 1).status).toBe(GNTST_okay);
    granter.setFlags(REF, granter.flags(REF) | GTF_readonly);
    expect(map(rw, 2).status).toBe(GNTST_okay);
  });

  it('a device writer counts as one', () => {
    const { granter, map } = granted();
    map(GNTMAP_device_map);
    granter.setFlags(REF, granter.flags(REF) | GTF_readonly);
    expect(map(rw).status).toBe(GNTST_okay);
  });

  it('shows the first writer in its flags even if they are invalid now', () => {
    const { granter, map } = granted();
    map(ro);
    granter.setFlags(REF, 0);
    expect(map(rw, 1).status).toBe(GNTST_okay);
    expect(granter.flags(REF)).toBe(GTF_reading | GTF_writing);
  });
});

describe('while the guest writes at the same time', () => {
  it('flags and domid are looked at together: a word that changed is looked at anew (GT-43)', () => {
    const { granter, other, map } = granted();
    const entry = { flags: GTF_permit_access, domid: other.id, frame: granter.frame(0) };
    using _race = beforeExchange(granter, REF, () => granter.entry(REF, entry));
    expect(map().status).toBe(GNTST_general_error);
    expect(granter.seen(REF)).toEqual(entry);
  });

  it('a read-only flag that appears stops the writer', () => {
    const { granter, map } = granted();
    using _race = beforeExchange(granter, REF, () =>
      granter.setFlags(REF, GTF_permit_access | GTF_readonly),
    );
    expect(map(rw).status).toBe(GNTST_general_error);
    expect(granter.flags(REF)).toBe(GTF_permit_access | GTF_readonly);
  });

  it('a word that never holds still is refused after a few looks (XSA-295)', () => {
    const { granter, map } = granted();
    let looks = 0;
    {
      using _race = beforeExchange(granter, REF, () => {
        looks += 1;
        granter.setFlags(REF, granter.flags(REF) ^ 0x20);
      });
      expect(map().status).toBe(GNTST_general_error);
    }
    expect(looks).toBeGreaterThan(1);
    expect(looks).toBeLessThan(10);
    expect(granter.flags(REF) & (GTF_reading | GTF_writing)).toBe(0);
    expect(map().status).toBe(GNTST_okay);
  });
});

describe('a batch', () => {
  it('goes on after a failing element; each has its own status (GT-52)', () => {
    const { granter, mapper, map } = granted();
    const ops = Array.from({ length: 16 }, (_, n) => {
      const op = map(0, n);
      op.flags = rw;
      if (n === 3) op.ref = 512;
      if (n === 9) op.dom = NOBODY;
      return op;
    });
    mapper.hypercalls.gnttabMap(ops);
    const expected = Array.from({ length: 16 }, () => GNTST_okay as number);
    expected[3] = GNTST_bad_gntref;
    expected[9] = GNTST_bad_domain;
    expect(ops.map(({ status }) => status)).toEqual(expected);
    expect(granter.pin(REF).hstw).toBe(14);
  });

  it('of `count` elements touches no more', () => {
    const { granter, mapper, map } = granted();
    const ops = [map(0, 0), map(0, 1)];
    for (const op of ops) op.flags = rw;
    mapper.hypercalls.gnttabMap(ops, 1);
    expect(granter.pin(REF).hstw).toBe(1);
    expect(mapper.pte(1)).toBeUndefined();
  });
});

describe('over a mapping that is there', () => {
  it('the new one replaces the old, whose handle can then never be unmapped (SEMANTICS 14)', () => {
    const { granter, mapper, map, unmap } = granted();
    granter.entry(9, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(1) });
    const old = map();
    const hostAddr = windowOf(mapper.domain);
    const fresh = mapper.map({ dom: granter.id, ref: 9, flags: rw, hostAddr });
    expect(fresh.status).toBe(GNTST_okay);
    expect(mapper.pte()?.frame).toBe(granter.mfn(1));
    expect(granter.extraReferences(0)).toBe(0);
    expect(granter.pin(REF).hstw).toBe(1);
    expect(unmap(old.handle)).toBe(GNTST_general_error);
    expect(unmap(fresh.handle)).toBe(GNTST_okay);
    expect(unmap(old.handle)).toBe(GNTST_general_error);
    expect(granter.flags(REF)).toBe(GTF_permit_access | GTF_reading | GTF_writing);
  });
});

describe('a granter that dies', () => {
  it('keeps what is mapped alive: the pinned entry can be mapped again, an unpinned one of that page too (SEMANTICS 36)', () => {
    const { world, granter, mapper, map, unmap } = granted();
    granter.entry(9, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    granter.entry(10, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(1) });
    const first = map();
    granter.destroy();
    expect(granter.domain.totPages).toBe(1);
    const second = map(ro, 1);
    expect(second.status).toBe(GNTST_okay);
    const op = { dom: granter.id, flags: rw };
    const third = mapper.map({ ...op, ref: 9, hostAddr: windowOf(mapper.domain, 2) });
    expect(third.status).toBe(GNTST_okay);
    expect(mapper.map({ ...op, ref: 10 }).status).toBe(GNTST_bad_page);
    expect(unmap(first.handle, 0)).toBe(GNTST_okay);
    expect(unmap(second.handle, 1)).toBe(GNTST_okay);
    expect(world.exists(granter)).toBe(true);
    expect(unmap(third.handle, 2)).toBe(GNTST_okay);
    expect(world.exists(granter)).toBe(false);
    expect(map().status).toBe(GNTST_bad_domain);
  });
});

it('a domain that may have no map track frame maps nothing', () => {
  const world = new World();
  const granter = world.domain();
  const mapper = world.domain({ maxMaptrackFrames: 0 });
  granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
  const op = { dom: granter.id, ref: REF, flags: rw, hostAddr: windowOf(mapper.domain) };
  expect(mapper.map(op).status).toBe(GNTST_no_space);
  expect(mapper.map({ ...op, dom: NOBODY }).status).toBe(GNTST_bad_domain);
});

describe('a translated mapper', () => {
  function translated() {
    const world = new World();
    const granter = world.domain();
    const mapper = world.domain({ type: 'translated' });
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    const map = (op = {}) =>
      mapper.map({
        dom: granter.id,
        ref: REF,
        flags: rw,
        hostAddr: windowOf(mapper.domain),
        ...op,
      });
    return { world, granter, mapper, map };
  }

  it('has the frame at a guest frame number', () => {
    const { granter, mapper, map } = translated();
    granter.bytes(granter.mfn(0))[9] = 99;
    expect(map().status).toBe(GNTST_okay);
    expect(mapper.peek(windowOf(mapper.domain) + 9)).toBe(99);
    expect(granter.extraReferences(0)).toBe(1);
    mapper.poke(windowOf(mapper.domain), 1);
    expect(granter.bytes(granter.mfn(0))[0]).toBe(1);
  });

  it('cannot write a read-only mapping', () => {
    const { mapper, map } = translated();
    map({ flags: ro });
    expect(() => mapper.poke(windowOf(mapper.domain), 1)).toThrow(PageFault);
  });

  it.each([
    ['device', GNTMAP_device_map, NOBODY],
    ['host and device', rw | GNTMAP_device_map, NOBODY],
    ['application', rw | GNTMAP_application_map, NOBODY],
    ['contains_pte', rw | GNTMAP_contains_pte, NOBODY],
    ['an unknown flag', rw | 0x40, undefined],
    ['guest_avail', rw | (1 << 16), undefined],
  ])('is refused %s; what only PV has, before the domain is looked at', (_, flags, dom) => {
    const { granter, mapper, map } = translated();
    expect(map(dom === undefined ? { flags } : { flags, dom }).status).toBe(GNTST_general_error);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
    expect(granter.pin(REF).hstw).toBe(0);
    expect(granter.extraReferences(0)).toBe(0);
    expect(() => mapper.peek(windowOf(mapper.domain))).toThrow(PageFault);
  });

  it('that maps its own grant has the page there, and no longer at its gfn (SEMANTICS 17)', () => {
    const { mapper, map } = translated();
    mapper.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: 3 });
    const frame = mapper.mfn(3);
    const hostAddr = windowOf(mapper.domain);
    expect(map({ dom: mapper.id }).status).toBe(GNTST_okay);
    expect(mapper.mfn(hostAddr / PAGE_SIZE)).toBe(frame);
    expect(() => mapper.peek(3 * PAGE_SIZE)).toThrow(PageFault);
    expect(mapper.unmap({ handle: 0, hostAddr })).toBe(GNTST_okay);
    expect(() => mapper.peek(3 * PAGE_SIZE)).toThrow(PageFault);
    expect(mapper.domain.totPages).toBe(16);
  });

  it('cannot map beyond its address space', () => {
    const { granter, map } = translated();
    expect(map({ hostAddr: 2 ** 40 }).status).toBe(GNTST_general_error);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
  });
});

describe('a translated granter', () => {
  it('names its frames by gfn; a gfn without a page of its own is a bad page', () => {
    const world = new World();
    const granter = world.domain({ type: 'translated' });
    const mapper = world.domain();
    const map = (frame: number) => {
      granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame });
      return mapper.map({
        dom: granter.id,
        ref: REF,
        flags: rw,
        hostAddr: windowOf(mapper.domain),
      });
    };
    expect(map(granter.mfn(3)).status).toBe(GNTST_bad_page);
    const op = map(3);
    expect(op.status).toBe(GNTST_okay);
    expect(mapper.pte()?.frame).toBe(granter.mfn(3));
    expect(op.devBusAddr).toBe(granter.mfn(3) * PAGE_SIZE);
  });

  it('cannot grant on what was granted to it', () => {
    const world = new World();
    const [owner, middle, mapper] = [
      world.domain(),
      world.domain({ type: 'translated' }),
      world.domain(),
    ];
    owner.entry(REF, { flags: GTF_permit_access, domid: middle.id, frame: owner.frame(0) });
    const hostAddr = windowOf(middle.domain);
    expect(middle.map({ dom: owner.id, ref: REF, flags: rw, hostAddr }).status).toBe(GNTST_okay);
    middle.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: hostAddr / PAGE_SIZE });
    const op = mapper.map({
      dom: middle.id,
      ref: REF,
      flags: rw,
      hostAddr: windowOf(mapper.domain),
    });
    expect(op.status).toBe(GNTST_bad_page);
  });
});

it('a domain id used again is another domain: its entries owe nothing to the old one’s (GT-51)', () => {
  const { world, granter, mapper, map } = granted();
  map();
  mapper.unmap({ handle: 0, hostAddr: windowOf(mapper.domain) });
  const domid = granter.id;
  granter.destroy();
  createDomain(world.machine, { pages: 4, domid });
  expect(map().status).toBe(GNTST_general_error);
});
