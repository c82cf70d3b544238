/** GNTMAP_device_map (grant_table.h): a mapping that devices use, alone or beside one for the host. */
import { PAGE_SIZE } from '@ringside/gnttab-core';
import {
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_writing,
  XEN_EBUSY,
} from '@ringside/gnttab-core/abi';
import { linkL1 } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { fullPage, statusOf, version2 } from './entries-v2.ts';
import { checkMaptrack } from './invariants.ts';
import { three, UNTOUCHED, windowOf } from './world.ts';

const REF = 8;
const host = GNTMAP_host_map;
const device = GNTMAP_device_map;
const readonly = GNTMAP_readonly;
const none = { hstw: 0, hstr: 0, devw: 0, devr: 0 };
const READ = GTF_reading;
const WRITE = GTF_reading | GTF_writing;

/** The granter's page 0 for the mapper, in a table of this version. */
function granted(version: 1 | 2 = 1, flags: number = GTF_permit_access) {
  const all = three();
  const { granter, mapper } = all;
  const entry = { flags, domid: mapper.id, frame: granter.frame(0) };
  if (version === 1) granter.entry(REF, entry);
  else fullPage(version2(granter), REF, entry);
  const map = (mapFlags: number, n = 0) =>
    mapper.map({
      dom: granter.id,
      ref: REF,
      flags: mapFlags,
      hostAddr: windowOf(mapper.domain, n),
    });
  const status = () =>
    version === 1 ? granter.flags(REF) & ~GTF_permit_access : statusOf(granter, REF);
  return { ...all, map, status };
}

describe.each([1, 2] as const)('version %i', (version) => {
  it.each([
    ['a device, writing', device, { devw: 1 }, WRITE, 1],
    ['a device, reading', device | readonly, { devr: 1 }, READ, 1],
    ['both, writing', host | device, { hstw: 1, devw: 1 }, WRITE, 2],
    ['both, reading', host | device | readonly, { hstr: 1, devr: 1 }, READ, 2],
  ])('%s: pins, status and references', (_, flags, pin, status, references) => {
    const all = granted(version);
    const { world, granter, mapper, map } = all;
    const op = map(flags);
    expect(op.status).toBe(GNTST_okay);
    expect(op.devBusAddr).toBe(granter.mfn(0) * PAGE_SIZE);
    expect(granter.pin(REF)).toEqual({ ...none, ...pin });
    expect(all.status()).toBe(status);
    expect(granter.extraReferences(0)).toBe(references);
    expect(world.typeCount(granter.mfn(0))).toBe(1 + (status === WRITE ? references : 0));
    expect(mapper.pte() !== undefined).toBe((flags & host) !== 0);
    mapper.unmap({
      handle: op.handle,
      hostAddr: windowOf(mapper.domain),
      devBusAddr: op.devBusAddr,
    });
    expect(granter.pin(REF)).toEqual(none);
    expect(all.status()).toBe(0);
    expect(granter.extraReferences(0)).toBe(0);
  });

  it('the last half clears what no other use needs', () => {
    const all = granted(version);
    const { granter, mapper, map } = all;
    const { handle, devBusAddr } = map(host | device);
    const reader = map(device | readonly, 1);
    expect(mapper.unmap({ handle, hostAddr: windowOf(mapper.domain) })).toBe(GNTST_okay);
    expect(all.status()).toBe(WRITE);
    expect(mapper.unmap({ handle, devBusAddr })).toBe(GNTST_okay);
    expect(all.status()).toBe(READ);
    expect(mapper.unmap({ handle: reader.handle, devBusAddr })).toBe(GNTST_okay);
    expect(all.status()).toBe(0);
    expect(granter.pin(REF)).toEqual(none);
  });
});

it('a device mapping looks at no address', () => {
  const { granter, mapper } = granted();
  const op = mapper.map({ dom: granter.id, ref: REF, flags: device, hostAddr: 1 });
  expect(op.status).toBe(GNTST_okay);
});

it('one of both needs a good address, or there is neither', () => {
  const { granter, mapper } = granted();
  const op = mapper.map({ dom: granter.id, ref: REF, flags: host | device, hostAddr: 1 });
  expect(op).toMatchObject({
    status: GNTST_general_error,
    handle: UNTOUCHED,
    devBusAddr: UNTOUCHED,
  });
  expect(granter.pin(REF)).toEqual(none);
  expect(granter.extraReferences(0)).toBe(0);
  expect(granter.flags(REF)).toBe(GTF_permit_access);
  checkMaptrack(mapper, []);
});

describe('each of the four counters ends at 128 (SEMANTICS 4)', () => {
  it.each([
    ['device, writing', device, 'devw', host],
    ['device, reading', device | readonly, 'devr', device],
    ['host, reading', host | readonly, 'hstr', device | readonly],
  ] as const)('%s; another still counts', (_, flags, counter, another) => {
    const { granter, mapper, map } = granted();
    for (let n = 0; n < 128; n++) expect(map(flags, n).status).toBe(GNTST_okay);
    expect(map(flags, 128).status).toBe(GNTST_general_error);
    expect(granter.pin(REF)).toEqual({ ...none, [counter]: 128 });
    expect(map(another, 129).status).toBe(GNTST_okay);
    // Both halves in one: if one counter is full, neither counts.
    const before = granter.pin(REF);
    expect(map(host | device | (flags & readonly), 130).status).toBe(GNTST_general_error);
    expect(granter.pin(REF)).toEqual(before);
    expect(mapper.pte(130)).toBeUndefined();
  });
});

describe('a device is a user like a CPU', () => {
  it('its writing makes the grant writable for good, until it ends (SEMANTICS 6)', () => {
    const { granter, mapper, map } = granted();
    const { handle, devBusAddr } = map(device);
    granter.setFlags(REF, granter.flags(REF) | GTF_readonly);
    expect(map(host).status).toBe(GNTST_okay);
    mapper.unmap({ handle: 1, hostAddr: windowOf(mapper.domain) });
    mapper.unmap({ handle, devBusAddr });
    expect(map(host).status).toBe(GNTST_general_error);
  });

  it('its reading does not', () => {
    const { granter, map } = granted();
    map(device | readonly);
    granter.setFlags(REF, granter.flags(REF) | GTF_readonly);
    expect(map(host).status).toBe(GNTST_general_error);
    expect(map(device).status).toBe(GNTST_general_error);
    expect(map(device | readonly).status).toBe(GNTST_okay);
  });

  it('a read-only grant is for reading devices', () => {
    const { map } = granted(1, GTF_permit_access | GTF_readonly);
    expect(map(device).status).toBe(GNTST_general_error);
    expect(map(device | readonly).status).toBe(GNTST_okay);
  });

  it('a page table is not written by one', () => {
    const { granter, map } = granted();
    linkL1(granter.domain, 0x8040_0000, granter.detach(0));
    expect(map(device).status).toBe(GNTST_general_error);
    expect(map(device | readonly).status).toBe(GNTST_okay);
  });

  it('a page that one uses is not given away', () => {
    const { granter, mapper, other, map } = granted();
    const mfn = granter.detach(0);
    const { handle, devBusAddr } = map(device | readonly);
    other.entry(REF, { flags: GTF_accept_transfer, domid: granter.id, frame: 0 });
    const give = () => granter.transfer({ mfn, domid: other.id, ref: REF });
    expect(give()).toBe(GNTST_bad_page);
    mapper.unmap({ handle, devBusAddr });
    expect(give()).toBe(GNTST_okay);
  });

  it('a table that one uses keeps its version', () => {
    const { granter, mapper, map } = granted(2);
    const { handle, devBusAddr } = map(device);
    expect(granter.hypercalls.setGrantVersion(1)).toBe(-XEN_EBUSY);
    mapper.unmap({ handle, devBusAddr });
    expect(granter.hypercalls.setGrantVersion(1)).toBe(0);
  });

  it('is over with its domain', () => {
    const { world, granter, mapper, map } = granted();
    for (const flags of [device, device | readonly, host | device]) map(flags);
    mapper.destroy();
    expect(granter.pin(REF)).toEqual(none);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
    expect(granter.extraReferences(0)).toBe(0);
    expect(world.exists(mapper)).toBe(false);
  });

  it('keeps the page of a granter that dies', () => {
    const { world, granter, mapper, map } = granted();
    const { handle, devBusAddr } = map(device);
    granter.destroy();
    expect(world.exists(granter)).toBe(true);
    expect(mapper.unmap({ handle, devBusAddr })).toBe(GNTST_okay);
    expect(world.exists(granter)).toBe(false);
  });
});
