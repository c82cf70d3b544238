/** GNTTABOP_unmap_grant_ref (grant_table.h): which address and handle destroy which half of a mapping. */
import { GnttabUnmapGrantRef, PageFault, PAGE_SIZE } from '@ringside/gnttab-core';
import {
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_dev_addr,
  GNTST_bad_handle,
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
  GTF_reading,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { checkMaptrack } from './invariants.ts';
import { type Actor, three, windowOf, World } from './world.ts';

const REF = 8;
const rw = GNTMAP_host_map;
const ro = GNTMAP_host_map | GNTMAP_readonly;
const both = GNTMAP_host_map | GNTMAP_device_map;
const inUse = GTF_permit_access | GTF_reading | GTF_writing;

function mapped(flags: number) {
  const all = three();
  const { granter, mapper } = all;
  granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
  const map = (mapFlags: number, n = 0, ref = REF) =>
    mapper.map({ dom: granter.id, ref, flags: mapFlags, hostAddr: windowOf(mapper.domain, n) });
  const { handle, devBusAddr } = map(flags);
  return { ...all, map, handle, devBusAddr, hostAddr: windowOf(mapper.domain) };
}

const counts = (granter: Actor) => ({
  ...granter.pin(REF),
  flags: granter.flags(REF),
  references: granter.extraReferences(0),
});
const unused = { hstw: 0, hstr: 0, devw: 0, devr: 0, flags: GTF_permit_access, references: 0 };

describe('a whole mapping', () => {
  it.each([
    ['host, writable', rw],
    ['host, read-only', ro],
    ['device, writable', GNTMAP_device_map],
    ['device, read-only', GNTMAP_device_map | GNTMAP_readonly],
    ['both, writable', both],
    ['both, read-only', both | GNTMAP_readonly],
  ])('%s: everything is as before the map', (_, flags) => {
    const { world, granter, mapper, handle, hostAddr, devBusAddr } = mapped(flags);
    expect(mapper.unmap({ handle, hostAddr, devBusAddr })).toBe(GNTST_okay);
    expect(counts(granter)).toEqual(unused);
    expect(world.typeCount(granter.mfn(0))).toBe(1); // its owner's own mapping
    expect(mapper.pte()).toBeUndefined();
    expect(() => mapper.peek(hostAddr)).toThrow(PageFault);
    expect(mapper.unmap({ handle, hostAddr, devBusAddr })).toBe(GNTST_bad_handle);
  });

  it('only GTF_reading and GTF_writing ever change: the domid beside them does not (GT-42)', () => {
    const { granter, mapper, map, handle, hostAddr } = mapped(rw);
    granter.entry(REF, { flags: inUse, domid: 0x1234, frame: 0x5678_9abc });
    map(rw, 1);
    mapper.unmap({ handle, hostAddr });
    mapper.unmap({ handle: 1, hostAddr: windowOf(mapper.domain, 1) });
    expect(granter.seen(REF)).toEqual({
      flags: GTF_permit_access,
      domid: 0x1234,
      frame: 0x5678_9abc,
    });
  });
});

describe('the halves of one handle', () => {
  const host = 'host' as const;
  const device = 'device' as const;
  it.each([
    ['host first', host, device, { devw: 1 }],
    ['device first', device, host, { hstw: 1 }],
  ])('can be released apart: %s (GT-09)', (_, first, second, pin) => {
    const { granter, mapper, handle, hostAddr, devBusAddr } = mapped(both);
    const release = (half: 'host' | 'device') =>
      mapper.unmap({ handle, ...(half === 'host' ? { hostAddr } : { devBusAddr }) });
    expect(release(first)).toBe(GNTST_okay);
    expect(counts(granter)).toEqual({ ...unused, ...pin, flags: inUse, references: 1 });
    expect(release(first)).toBe(GNTST_okay); // that half is not there any more: nothing is done
    expect(counts(granter)).toEqual({ ...unused, ...pin, flags: inUse, references: 1 });
    expect(release(second)).toBe(GNTST_okay);
    expect(counts(granter)).toEqual(unused);
    expect(release(second)).toBe(GNTST_bad_handle);
  });

  it('without an address nothing happens, and the handle lives (GT-10, GT-31)', () => {
    const { granter, mapper, handle, hostAddr, devBusAddr } = mapped(both);
    const before = counts(granter);
    for (let n = 0; n < 100; n++) expect(mapper.unmap({ handle })).toBe(GNTST_okay);
    expect(counts(granter)).toEqual(before);
    expect(mapper.unmap({ handle, hostAddr, devBusAddr })).toBe(GNTST_okay);
    expect(counts(granter)).toEqual(unused);
  });

  it('an address for a half that is not mapped is ignored', () => {
    const hostOnly = mapped(rw);
    expect(hostOnly.mapper.unmap({ handle: hostOnly.handle, devBusAddr: 0xdead_b000 })).toBe(
      GNTST_okay,
    );
    expect(hostOnly.granter.pin(REF).hstw).toBe(1);
    const deviceOnly = mapped(GNTMAP_device_map);
    expect(deviceOnly.mapper.unmap({ handle: deviceOnly.handle, hostAddr: 0x123 })).toBe(
      GNTST_okay,
    );
    expect(deviceOnly.granter.pin(REF).devw).toBe(1);
  });
});

describe('statuses', () => {
  it.each([
    { name: 'a handle beyond the table', op: { handle: 256 }, status: GNTST_bad_handle },
    { name: 'the highest handle', op: { handle: 0xffff_ffff }, status: GNTST_bad_handle },
    { name: 'a handle never given out', op: { handle: 77 }, status: GNTST_bad_handle },
    {
      name: 'an address where nothing is mapped',
      op: { hostAddr: 1 },
      status: GNTST_general_error,
    },
    { name: 'an address without page table', op: { hostAddr: -1 }, status: GNTST_general_error },
    { name: 'an own mapping', op: { hostAddr: 'own' }, status: GNTST_general_error },
    { name: 'another device address', op: { devBusAddr: PAGE_SIZE }, status: GNTST_bad_dev_addr },
    { name: 'a device address with an offset', op: { devBusAddr: 1 }, status: GNTST_bad_dev_addr },
    {
      name: 'a good host and a bad device address',
      op: { both: PAGE_SIZE },
      status: GNTST_bad_dev_addr,
    },
    {
      name: 'both bad: the device is looked at first',
      op: { hostAddr: 1, devBusAddr: 1 },
      status: GNTST_bad_dev_addr,
    },
    {
      name: 'a good device and a bad host address',
      op: { hostAddr: 1, devBusAddr: 0 },
      status: GNTST_general_error,
    },
  ])('$name: nothing is released (GT-11)', ({ op, status }) => {
    const { granter, mapper, handle, hostAddr, devBusAddr } = mapped(both);
    const before = counts(granter);
    const full = { handle, hostAddr: 0, devBusAddr: 0 };
    if (op.handle !== undefined) Object.assign(full, { handle: op.handle, hostAddr });
    if (op.both !== undefined) Object.assign(full, { hostAddr, devBusAddr: devBusAddr + op.both });
    if (op.hostAddr === 1) full.hostAddr = windowOf(mapper.domain, 5);
    if (op.hostAddr === -1) full.hostAddr = 0x1000;
    if (op.hostAddr === 'own') full.hostAddr = 0x4000_0000;
    if (op.devBusAddr !== undefined) full.devBusAddr = devBusAddr + op.devBusAddr;
    expect(mapper.unmap(full)).toBe(status);
    expect(counts(granter)).toEqual(before);
    expect(mapper.pte()).toEqual({ frame: granter.mfn(0), writable: true, foreign: true });
    expect(mapper.unmap({ handle, hostAddr, devBusAddr })).toBe(GNTST_okay);
  });

  it('a mapping of the same frame but the other access is not the one', () => {
    const { granter, mapper, map, handle, hostAddr } = mapped(rw);
    const readonly = map(ro, 1);
    const second = windowOf(mapper.domain, 1);
    expect(mapper.unmap({ handle, hostAddr: second })).toBe(GNTST_general_error);
    expect(mapper.unmap({ handle: readonly.handle, hostAddr })).toBe(GNTST_general_error);
    expect(counts(granter)).toMatchObject({ hstw: 1, hstr: 1, references: 2 });
  });

  it('a domain has only its own handles', () => {
    const { granter, other, handle, hostAddr } = mapped(rw);
    expect(other.unmap({ handle, hostAddr })).toBe(GNTST_bad_handle);
    expect(granter.pin(REF).hstw).toBe(1);
  });
});

describe('what is compared is frame and access, not the address that was mapped (SEMANTICS 11)', () => {
  it('handles and addresses of equal mappings may be crossed', () => {
    const { granter, mapper, map, handle, hostAddr } = mapped(rw);
    const second = map(rw, 1);
    expect(mapper.unmap({ handle, hostAddr: windowOf(mapper.domain, 1) })).toBe(GNTST_okay);
    expect(mapper.pte()?.frame).toBe(granter.mfn(0));
    expect(mapper.unmap({ handle: second.handle, hostAddr })).toBe(GNTST_okay);
    expect(counts(granter)).toEqual(unused);
  });

  it('the offset inside the page is ignored', () => {
    const { mapper, handle, hostAddr } = mapped(rw);
    expect(mapper.unmap({ handle, hostAddr: hostAddr + 77 })).toBe(GNTST_okay);
  });
});

describe('in-use bits', () => {
  it('writing goes with the last writer, reading with the last of all (GT-06)', () => {
    const { granter, mapper, map, handle, hostAddr } = mapped(rw);
    const at = (n: number) => windowOf(mapper.domain, n);
    const writer = map(rw, 1).handle;
    const reader = map(ro, 2).handle;
    mapper.unmap({ handle, hostAddr });
    expect(granter.flags(REF)).toBe(inUse);
    mapper.unmap({ handle: writer, hostAddr: at(1) });
    expect(granter.flags(REF)).toBe(GTF_permit_access | GTF_reading);
    mapper.unmap({ handle: reader, hostAddr: at(2) });
    expect(granter.flags(REF)).toBe(GTF_permit_access);
  });

  it('a device that writes keeps the writing bit', () => {
    const { granter, mapper, handle, hostAddr } = mapped(both);
    mapper.unmap({ handle, hostAddr });
    expect(granter.flags(REF)).toBe(inUse);
  });

  it('a reader does not clear a writing bit that the guest put there (SEMANTICS 8)', () => {
    const { granter, mapper, handle, hostAddr } = mapped(ro);
    granter.setFlags(REF, GTF_permit_access | GTF_reading | GTF_writing | 0x20);
    mapper.unmap({ handle, hostAddr });
    expect(granter.flags(REF)).toBe(GTF_permit_access | GTF_writing | 0x20);
  });
});

describe('handles', () => {
  it('one that was released is given out again only once (GT-07)', () => {
    const { mapper, map, handle, hostAddr, devBusAddr } = mapped(both);
    const halves = [{ hostAddr }, { devBusAddr }, { hostAddr }, { devBusAddr }].map((half) =>
      Object.assign(new GnttabUnmapGrantRef(), { handle, ...half }),
    );
    mapper.hypercalls.gnttabUnmap(halves);
    expect(halves.map(({ status }) => status)).toEqual([
      GNTST_okay,
      GNTST_okay,
      GNTST_bad_handle,
      GNTST_bad_handle,
    ]);
    const handles = Array.from({ length: 256 }, (_, n) => map(n % 2 ? ro : rw, n).handle);
    expect(new Set(handles).size).toBe(256);
    checkMaptrack(mapper, handles);
  });

  it('many maps and unmaps use no more of them', () => {
    const world = new World();
    const granter = world.domain();
    const mapper = world.domain({ maxMaptrackFrames: 1 });
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    const hostAddr = windowOf(mapper.domain);
    for (let n = 0; n < 2000; n++) {
      const op = mapper.map({ dom: granter.id, ref: REF, flags: n % 3 ? ro : rw, hostAddr });
      expect(op.status).toBe(GNTST_okay);
      expect(mapper.unmap({ handle: op.handle, hostAddr })).toBe(GNTST_okay);
    }
    expect(counts(granter)).toEqual(unused);
  });
});

describe('a batch', () => {
  it('goes on after a failing element', () => {
    const { granter, mapper, map, handle, hostAddr } = mapped(rw);
    const second = map(rw, 1);
    const ops = [
      { handle, hostAddr: windowOf(mapper.domain, 5) },
      { handle: second.handle, hostAddr: windowOf(mapper.domain, 1) },
      { handle, hostAddr },
      { handle, hostAddr },
    ].map((op) => Object.assign(new GnttabUnmapGrantRef(), op));
    mapper.hypercalls.gnttabUnmap(ops);
    expect(ops.map(({ status }) => status)).toEqual([
      GNTST_general_error,
      GNTST_okay,
      GNTST_okay,
      GNTST_bad_handle,
    ]);
    expect(counts(granter)).toEqual(unused);
  });
});

describe('a translated mapper', () => {
  it('loses the guest frame; another gfn, or the other access, is not the one', () => {
    const world = new World();
    const granter = world.domain();
    const mapper = world.domain({ type: 'translated' });
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    const hostAddr = windowOf(mapper.domain);
    const { handle } = mapper.map({ dom: granter.id, ref: REF, flags: ro, hostAddr });
    const writable = mapper.map({
      dom: granter.id,
      ref: REF,
      flags: rw,
      hostAddr: windowOf(mapper.domain, 1),
    });
    expect(mapper.unmap({ handle, hostAddr: windowOf(mapper.domain, 1) })).toBe(
      GNTST_general_error,
    );
    expect(mapper.unmap({ handle, hostAddr: windowOf(mapper.domain, 2) })).toBe(
      GNTST_general_error,
    );
    expect(mapper.unmap({ handle, hostAddr: 0 + 3 * PAGE_SIZE })).toBe(GNTST_general_error);
    expect(mapper.unmap({ handle, hostAddr: 2 ** 40 })).toBe(GNTST_general_error);
    expect(mapper.unmap({ handle, hostAddr: hostAddr + 5 })).toBe(GNTST_okay);
    expect(() => mapper.peek(hostAddr)).toThrow(PageFault);
    expect(mapper.unmap({ handle: writable.handle, hostAddr: windowOf(mapper.domain, 1) })).toBe(
      GNTST_okay,
    );
    expect(counts(granter)).toEqual(unused);
    expect(world.typeCount(granter.mfn(0))).toBe(1);
  });
});

describe('a mapper that dies', () => {
  it.each(['pv', 'translated'] as const)(
    '%s: drops its pins, in-use bits and references',
    (type) => {
      const world = new World();
      const granter = world.domain();
      const mapper = world.domain({ type });
      granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
      const map = (flags: number, n: number) =>
        mapper.map({ dom: granter.id, ref: REF, flags, hostAddr: windowOf(mapper.domain, n) })
          .status;
      expect([map(rw, 0), map(ro, 1), map(ro, 2)]).toEqual([0, 0, 0]);
      if (type === 'pv') expect(map(both, 3)).toBe(0);
      mapper.destroy();
      expect(counts(granter)).toEqual(unused);
      expect(world.typeCount(granter.mfn(0))).toBe(1);
      expect(world.exists(mapper)).toBe(false);
    },
  );

  it.each(['pv', 'translated'] as const)('%s: takes the ghost of its granter along', (type) => {
    const world = new World();
    const granter = world.domain();
    const mapper = world.domain({ type });
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    mapper.map({ dom: granter.id, ref: REF, flags: rw, hostAddr: windowOf(mapper.domain) });
    granter.destroy();
    expect(world.exists(granter)).toBe(true);
    mapper.destroy();
    expect(world.exists(granter)).toBe(false);
  });

  it('while both die, nobody waits for the other', () => {
    const world = new World();
    const [a, b] = [world.domain(), world.domain()];
    for (const [granter, mapper] of [
      [a, b],
      [b, a],
    ] as const) {
      granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
      const hostAddr = windowOf(mapper.domain);
      expect(mapper.map({ dom: granter.id, ref: REF, flags: rw, hostAddr }).status).toBe(
        GNTST_okay,
      );
    }
    a.destroy();
    b.destroy();
    expect([world.exists(a), world.exists(b)]).toEqual([false, false]);
  });
});
