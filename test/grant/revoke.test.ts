/**
 * Taking back a grant in use. grant_table.h, "Invalidating an in-use GTF_permit_access entry": "request assistance from the
 * domain controller which can set a timeout on the use of a grant entry and take necessary action".
 */
import { freePages, type GrantLimit, limitGrant, PageFault, TRACE } from '@ringside/gnttab-core';
import {
  GNTMAP_device_map,
  GNTST_general_error,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_reading,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { fullPage, seenV2, statusOf, version2 } from './entries-v2.ts';
import { taken } from './invariants.ts';
import { MS, world } from './limit-world.ts';
import { none, REF, ro, rw } from './revoke-world.ts';
import type { Actor } from './world.ts';

const INVALID = { flags: 0, domid: 0, frame: 0 };

const revocations = ({ domain }: Actor) => domain.counters().revocations;

describe('a limit', () => {
  it('is over: the mapping faults, the entry is invalid, the granter has its page', async () => {
    const { granter, mapper, at, map, limit, watch, sleep } = world();
    const { handle } = map();
    const seen = watch(limit());
    await sleep(9);
    expect(mapper.peek(at())).toBe(0);
    expect(seen.outcome).toBeUndefined();
    await sleep(2);
    expect(seen.outcome).toBe('revoked');
    expect(() => mapper.peek(at())).toThrow(PageFault);
    expect(granter.seen(REF).flags).toBe(0);
    expect(granter.pin(REF)).toEqual(none);
    expect(granter.extraReferences(0)).toBe(0);
    expect(mapper.unmap({ handle, hostAddr: at() })).toBe(GNTST_okay);
  });

  it.each([
    ['the use ends in time', 'unmapped'],
    ['there is no use', 'never mapped'],
    ['the mapper dies in time', 'mapper dead'],
    ['the granter dies and is gone', 'both dead'],
  ] as const)('is met: %s', async (_, story) => {
    const { granter, mapper, map, unmap, limit, watch, sleep } = world();
    const handle = story === 'never mapped' ? undefined : map().handle;
    const seen = watch(limit());
    await sleep(5);
    if (story === 'unmapped') unmap(handle!);
    if (story === 'mapper dead' || story === 'both dead') mapper.destroy();
    if (story === 'both dead') granter.destroy();
    else expect(granter.flags(REF)).toBe(0);
    await sleep(6);
    expect(seen.outcome).toBe('released');
    if (story !== 'both dead') {
      expect(granter.flags(REF)).toBe(0);
      expect(revocations(granter)).toBe(0);
    }
  });

  it('is for this use: what its granter grants anew by the same reference is another', async () => {
    const { granter, mapper, grant, at, map, unmap, limit, watch, sleep } = world();
    const { handle } = map();
    const seen = watch(limit());
    await sleep(5);
    unmap(handle);
    grant();
    map();
    await sleep(20);
    expect(seen.outcome).toBe('released');
    expect(mapper.peek(at())).toBe(0);
    expect(granter.pin(REF)).toEqual({ ...none, hstw: 1 });
    expect(granter.flags(REF)).toBe(GTF_permit_access | GTF_reading | GTF_writing);
  });

  it('holds for a use that goes on with other mappings', async () => {
    const { granter, map, unmap, limit, watch, sleep } = world();
    const first = map();
    const seen = watch(limit());
    map(ro, 1);
    unmap(first.handle);
    await sleep(11);
    expect(seen.outcome).toBe('revoked');
    expect(granter.pin(REF)).toEqual(none);
  });

  it('is not lifted by a later one: the first that is over counts', async () => {
    const { granter, map, limit, watch, sleep } = world();
    map();
    const [short, long] = [watch(limit()), watch(limit({ timeoutNs: 100 * MS }))];
    await sleep(11);
    expect(granter.pin(REF)).toEqual(none);
    expect(short.outcome).toBe('revoked');
    await sleep(100);
    expect(long.outcome).toBe('released');
    expect(revocations(granter)).toBe(1);
  });

  it('is not for a domain that came to have the same id', async () => {
    const { all, granter, mapper, map, unmap, limit, watch, sleep } = world();
    const { handle } = map();
    const seen = watch(limit());
    granter.destroy();
    unmap(handle);
    const heir = all.domain({ domid: granter.id });
    heir.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: heir.frame(0) });
    map();
    await sleep(11);
    expect(seen.outcome).toBe('released');
    expect(heir.pin(REF).hstw).toBe(1);
  });

  it('frees a granter that is dead already and only waits for its mapper', async () => {
    const { all, granter, mapper, at, map, unmap, limit, watch, sleep } = world();
    const { handle } = map();
    const seen = watch(limit());
    granter.destroy();
    expect(all.exists(granter)).toBe(true);
    await sleep(11);
    expect(seen.outcome).toBe('revoked');
    expect(all.exists(granter)).toBe(false);
    expect(() => mapper.peek(at())).toThrow(PageFault);
    expect(unmap(handle)).toBe(GNTST_okay);
  });

  it.each([
    ['no control domain', 'granter', REF, /is no control domain/],
    ['no such domain', 999, REF, /there is no domain 999/],
    ['no such reference', undefined, 512, /has no reference 512/],
  ] as const)('%s: RangeError', async (_, who, ref, message) => {
    const { controller, granter } = world();
    const caller = who === 'granter' ? granter : controller;
    const dom = (typeof who === 'number' ? who : granter.id) as GrantLimit['granter'];
    const options = {
      granter: dom,
      ref: ref as GrantLimit['ref'],
      timeoutNs: 1,
      after: 'fault' as const,
    };
    await expect(limitGrant(caller.domain, options)).rejects.toThrow(message);
    await expect(limitGrant(caller.domain, options)).rejects.toThrow(RangeError);
  });
});

describe('what is counted and traced', () => {
  it('the limit and the taking back, with how many mappings ended', async () => {
    const { machine, controller, granter, mapper, map, limit } = world();
    machine.trace.enabled = true;
    map();
    map(ro, 1);
    await limit({ after: 'private-copy' });
    const kinds: number[] = [TRACE.grantLimit, TRACE.grantRevoke];
    const records = machine.trace.records().filter(({ kind }) => kinds.includes(kind));
    expect(records).toMatchObject([
      {
        name: 'grant_limit',
        domid: controller.id,
        args: { ref: REF, dom: granter.id, timeout_us: 10_000 },
      },
      {
        name: 'grant_revoke',
        domid: granter.id,
        args: { ref: REF, dom: mapper.id, mappings: 2, copied: 1 },
      },
    ]);
    expect(revocations(granter)).toBe(1);
  });
});

describe('in a table of version 2', () => {
  it('entry and status word are both cleared', async () => {
    const { granter, mapper, at, map, unmap, limit } = world();
    fullPage(version2(granter), REF, {
      flags: GTF_permit_access,
      domid: mapper.id,
      frame: granter.frame(0),
    });
    const { handle } = map();
    expect(statusOf(granter, REF)).toBe(GTF_reading | GTF_writing);
    expect(await limit()).toBe('revoked');
    expect(seenV2(granter, REF).flags).toBe(0);
    expect(statusOf(granter, REF)).toBe(0);
    expect(() => mapper.peek(at())).toThrow(PageFault);
    expect(granter.hypercalls.setGrantVersion(1)).toBe(0);
    expect(unmap(handle)).toBe(GNTST_okay);
  });
});

describe('the granter', () => {
  it('may grant the page anew, give it away, or swap its entry', async () => {
    const { all, granter, mapper, at, map, limit } = world();
    const mfn = granter.detach(0);
    map(rw | GNTMAP_device_map);
    await limit();
    expect(granter.swap(REF, REF + 1)).toBe(GNTST_okay);
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: mfn });
    map(rw, 1);
    granter.bytes(mfn)[0] = 44;
    expect(mapper.peek(at(1))).toBe(44);
    expect(mapper.unmap({ handle: 1, hostAddr: at(1) })).toBe(GNTST_okay);
    const receiver = all.domain();
    receiver.entry(REF, { flags: GTF_accept_transfer, domid: granter.id, frame: 0 });
    granter.entry(REF, INVALID);
    expect(granter.transfer({ mfn, domid: receiver.id, ref: REF })).toBe(GNTST_okay);
  });

  it('gets its entry back even if the mapper has lost the mapping', async () => {
    const { granter, mapper, at, map, unmap, limit } = world();
    const { handle } = map();
    mapper.hypercalls.updateVaMapping(at(), null, false);
    expect(unmap(handle)).toBe(GNTST_general_error);
    expect(await limit()).toBe('revoked');
    expect(granter.pin(REF)).toEqual(none);
    expect(granter.flags(REF)).toBe(0);
  });
});

it('nothing is left when all are gone', async () => {
  const { machine, controller, granter, mapper, map, limit } = world();
  map();
  map(ro, 1);
  map(rw | GNTMAP_device_map, 2);
  await limit({ after: 'private-copy' });
  for (const actor of [mapper, granter, controller]) actor.destroy();
  expect(machine.heap.pages - freePages(machine)).toBe(taken(machine));
});
