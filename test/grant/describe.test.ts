/** The grant tables as plain values, and why an end is refused: what a viewer shows must be what Xen knows. */
import { PAGE_SIZE } from '@ringside/gnttab-core';
import {
  GNTMAP_device_map,
  GNTMAP_readonly,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_invalid,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transfer_committed,
  GTF_transfer_completed,
  GTF_transitive,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import {
  describeGrants,
  limitUse,
  lookup,
  pteAddress,
  revokeUse,
} from '@ringside/gnttab-core/hypervisor';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { subPage, transitive, version2 } from './entries-v2.ts';
import { three, windowOf } from './world.ts';
import { grantOf, granted, REF, ro, rw, tableOf, whyOf } from './describe-world.ts';

describe('a table', () => {
  test('that nobody has used', () => {
    const { granter } = three();
    const table = tableOf(granter);
    expect(table).toMatchObject({
      domid: granter.id,
      type: 'pv',
      dying: false,
      version: 1,
      maxVersion: 2,
      maxFrames: 64,
      statusFrames: [],
      entries: { used: 0, total: 512, limit: 64 * 512 },
      handles: { used: 0, total: 0, limit: 256 * 256, vcpus: [{ used: 0, free: 0 }] },
      grants: [],
      looseMappings: [],
    });
    expect(table.sharedFrames).toEqual(granter.hypercalls.setupTable(1).frames);
  });

  test('of version 2 has half the entries, and status frames', () => {
    const { granter } = three();
    version2(granter);
    const table = tableOf(granter);
    expect(table).toMatchObject({ version: 2, entries: { total: 256, limit: 64 * 256 } });
    expect(table.statusFrames).toEqual(granter.hypercalls.getStatusFrames(1).frames);
  });

  test('counts handles by virtual CPU', () => {
    const { mapper, map } = granted();
    map(ro, 0);
    map(rw, 1);
    expect(tableOf(mapper).handles).toMatchObject({
      used: 2,
      total: 256,
      vcpus: [{ used: 2, free: 254 }],
    });
  });

  test('of a destroyed domain is there as long as somebody maps its pages', () => {
    const { granter, mapper, map, hex } = granted();
    const { handle } = map();
    granter.destroy();
    expect(tableOf(granter)).toMatchObject({ dying: true, entries: { used: 1 } });
    expect(whyOf(granter)).toEqual([
      `reference 8 of domain ${granter.id} cannot end: domain ${mapper.id} maps it writable at ${hex()} (handle ${handle})`,
    ]);
    expect(mapper.unmap({ handle, hostAddr: windowOf(mapper.domain) })).toBe(GNTST_okay);
    expect(describeGrants(mapper.machine).map(({ domid }) => domid)).toEqual([mapper.id]);
  });
});

describe('a shared entry', () => {
  test.each<[name: string, flags: number, expected: object]>([
    ['access', GTF_permit_access, { type: 'GTF_permit_access', flags: [] }],
    ['read-only', GTF_permit_access | GTF_readonly, { flags: ['GTF_readonly'] }],
    ['accepting', GTF_accept_transfer, { type: 'GTF_accept_transfer', transfer: 'posted' }],
    [
      'committed',
      GTF_accept_transfer | GTF_transfer_committed,
      { transfer: 'committed', flags: [], reading: false },
    ],
    [
      'completed',
      GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed,
      { transfer: 'completed', flags: [], reading: false },
    ],
    [
      'its own flags',
      GTF_permit_access | GTF_reading | GTF_writing,
      { reading: true, writing: true, flags: [] },
    ],
  ])('version 1: %s', (_, flags, expected) => {
    const { granter, mapper } = granted(flags);
    expect(grantOf(granter)).toMatchObject({
      ref: REF,
      domid: mapper.id,
      frame: granter.frame(0),
      mappings: [],
      ...expected,
    });
    expect(grantOf(granter)).not.toHaveProperty('pinned');
  });

  test('that is empty is not shown, whatever its other fields hold', () => {
    const { granter } = granted(GTF_invalid);
    expect(tableOf(granter).grants).toEqual([]);
  });

  test('version 2: part of a page, and what another domain granted', () => {
    const { granter, mapper, other } = three();
    version2(granter);
    const part = { pageOff: 100, length: 24, frame: granter.frame(1) };
    subPage(granter, REF, { flags: GTF_permit_access | GTF_sub_page, domid: mapper.id, ...part });
    transitive(granter, REF + 1, {
      flags: GTF_transitive,
      domid: mapper.id,
      transDomid: other.id,
      gref: 3,
    });
    expect(tableOf(granter).grants).toMatchObject([
      {
        flags: ['GTF_sub_page'],
        window: { offsetBytes: 100, lengthBytes: 24 },
        frame: part.frame,
      },
      { type: 'GTF_transitive', behind: { domid: other.id, ref: 3 } },
    ]);
    expect(grantOf(granter, REF + 1)).not.toHaveProperty('frame');
  });
});

describe('who maps it', () => {
  test.each<[type: 'pv' | 'translated', flags: number, expected: object]>([
    ['pv', rw, { readonly: false }],
    ['pv', ro, { readonly: true }],
    ['translated', rw, { readonly: false }],
    ['translated', ro, { readonly: true }],
  ])('%s, flags %i', (type, flags, expected) => {
    const { granter, mapper, map } = granted(GTF_permit_access, type);
    const { handle, status } = map(flags, 3);
    expect(status).toBe(GNTST_okay);
    const address = windowOf(mapper.domain, 3);
    const place =
      type === 'pv'
        ? { address, pte: pteAddress(mapper.domain, address) }
        : { address, gfn: address / PAGE_SIZE };
    expect(grantOf(granter)?.mappings).toEqual([
      {
        mapper: mapper.id,
        handle,
        granter: granter.id,
        ref: REF,
        host: true,
        device: false,
        state: 'mapped',
        frame: granter.mfn(0),
        place,
        ...expected,
      },
    ]);
  });

  test('each of its mappings, and the pins that they hold', () => {
    const { granter, map, mapper } = granted();
    map(ro, 0);
    map(rw, 1);
    map(rw | GNTMAP_device_map, 2);
    map(GNTMAP_device_map | GNTMAP_readonly);
    expect(grantOf(granter)).toMatchObject({
      reading: true,
      writing: true,
      pinned: {
        domid: mapper.id,
        frame: granter.mfn(0),
        gfn: granter.frame(0),
        pins: { hostReaders: 1, hostWriters: 2, deviceReaders: 1, deviceWriters: 1 },
        limited: false,
      },
      copies: { reading: 0, writing: 0 },
      mappings: [
        { readonly: true, place: { address: windowOf(mapper.domain, 0) } },
        { readonly: false, place: { address: windowOf(mapper.domain, 1) } },
        { host: true, device: true, place: { address: windowOf(mapper.domain, 2) } },
        { host: false, device: true, readonly: true, state: 'mapped' },
      ],
    });
  });

  test('each handle is where it was mapped, whatever the order of the addresses', () => {
    const { granter, mapper, map } = granted();
    const pages = [5, 2, 7];
    for (const page of pages) map(rw, page);
    mapper.hypercalls.updateVaMapping(windowOf(mapper.domain, 2), null, false);
    expect(grantOf(granter)?.mappings).toMatchObject([
      { state: 'mapped', place: { address: windowOf(mapper.domain, 5) } },
      { state: 'lost' },
      { state: 'mapped', place: { address: windowOf(mapper.domain, 7) } },
    ]);
  });

  test('a handle whose mapping was moved is found', () => {
    const { granter, mapper, map } = granted();
    const { handle } = map(rw, 0);
    const newAddr = windowOf(mapper.domain, 0);
    granter.entry(REF + 1, {
      ...granter.seen(REF),
      flags: GTF_permit_access,
      frame: granter.frame(1),
    });
    const hostAddr = windowOf(mapper.domain, 4);
    const other = mapper.map({ dom: granter.id, ref: REF + 1, flags: rw, hostAddr });
    expect(mapper.replace({ handle: other.handle, hostAddr, newAddr })).toBe(GNTST_okay);
    expect(grantOf(granter)?.mappings).toMatchObject([
      { handle, state: 'mapped', place: { address: hostAddr } },
    ]);
  });

  test('a mapping whose page table entry was overwritten is lost, and its pin is not', () => {
    const { granter, mapper, map } = granted();
    map(rw);
    mapper.hypercalls.updateVaMapping(windowOf(mapper.domain), null, false);
    expect(grantOf(granter)?.mappings).toMatchObject([{ state: 'lost' }]);
    expect(grantOf(granter)?.mappings[0]).not.toHaveProperty('place');
    expect(grantOf(granter)?.pinned?.pins.hostWriters).toBe(1);
  });

  test('what was taken back stands for no grant, and waits for its unmap', () => {
    for (const then of ['fault', 'private-copy'] as const) {
      const { granter, mapper, map } = granted();
      const { handle } = map(rw);
      revokeUse(granter.domain, REF, limitUse(granter.domain, REF), then);
      expect(tableOf(granter).grants).toEqual([]);
      const loose = { mapper: mapper.id, handle, granter: granter.id, state: 'revoked' };
      const copied = then === 'private-copy';
      expect(tableOf(mapper).looseMappings).toMatchObject([
        {
          ...loose,
          ...(copied && {
            frame: lookup(mapper.domain, windowOf(mapper.domain))!.frame,
            place: { address: windowOf(mapper.domain) },
          }),
        },
      ]);
      expect('place' in tableOf(mapper).looseMappings[0]!).toBe(copied);
      expect(mapper.unmap({ handle, hostAddr: windowOf(mapper.domain) })).toBe(GNTST_okay);
      expect(tableOf(mapper).looseMappings).toEqual([]);
    }
  });

  test('a mapping that was lost outlives its granter', () => {
    const { granter, mapper, map } = granted();
    map(rw);
    mapper.hypercalls.updateVaMapping(windowOf(mapper.domain), null, false);
    granter.destroy();
    granter.machine.reap();
    expect(tableOf(mapper).looseMappings).toMatchObject([
      { granter: granter.id, state: 'orphaned' },
    ]);
  });
});

test('mappings account for every pin, whatever was mapped, unmapped and overwritten', () => {
  const step = fc.record({
    what: fc.constantFrom('map', 'unmap', 'overwrite'),
    flags: fc.constantFrom(rw, ro, GNTMAP_device_map, rw | GNTMAP_device_map),
    page: fc.nat(3),
    ref: fc.constantFrom(REF, REF + 1),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { granter, mapper } = three();
      const entry = { flags: GTF_permit_access, domid: mapper.id };
      granter.entry(REF, { ...entry, frame: granter.frame(0) });
      granter.entry(REF + 1, { ...entry, frame: granter.frame(1) });
      const live = new Map<number, number>();
      for (const { what, flags, page, ref } of steps) {
        const hostAddr = windowOf(mapper.domain, page);
        if (what === 'map') {
          const { status, handle } = mapper.map({ dom: granter.id, ref, flags, hostAddr });
          if (status === GNTST_okay) live.set(handle, hostAddr);
        } else if (what === 'unmap') {
          for (const [handle, at] of live) {
            if (at !== hostAddr) continue;
            if (mapper.unmap({ handle, hostAddr }) === GNTST_okay) break;
          }
        } else mapper.hypercalls.updateVaMapping(hostAddr, null, false);
      }
      for (const { mappings, pinned, copies, ref } of tableOf(granter).grants) {
        const pins = (readonly: boolean, half: 'host' | 'device') =>
          mappings.filter((mapping) => mapping[half] && mapping.readonly === readonly).length;
        expect(granter.pin(ref)).toEqual({
          hstw: pins(false, 'host'),
          hstr: pins(true, 'host'),
          devw: pins(false, 'device'),
          devr: pins(true, 'device'),
        });
        expect(pinned === undefined).toBe(mappings.length === 0);
        expect(copies).toEqual({ reading: 0, writing: 0 });
        for (const { place, frame, readonly } of mappings) {
          if (place?.address === undefined) continue;
          const there = lookup(mapper.domain, place.address);
          expect(there).toEqual({ frame, writable: !readonly, foreign: true });
        }
      }
    }),
  );
});

test('describing changes nothing', () => {
  const { granter, map, mapper } = granted();
  map(ro, 0);
  map(rw, 1);
  mapper.hypercalls.updateVaMapping(windowOf(mapper.domain, 0), null, false);
  const { u8 } = granter.machine.heap;
  const before = u8.slice();
  describeGrants(granter.machine);
  whyOf(granter);
  expect(Buffer.compare(before, u8)).toBe(0);
});
