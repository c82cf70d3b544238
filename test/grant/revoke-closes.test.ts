/** A limit on a grant closes it: what its mapper may try to keep the page all the same. See revoke.test.ts. */
import { PageFault } from '@ringside/gnttab-core';
import {
  GNTST_general_error,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { fullPage, seenV2, statusOf, version2 } from './entries-v2.ts';
import { world } from './limit-world.ts';
import { none, REF, ro, rw } from './revoke-world.ts';

describe('from the moment that a limit is set nobody new gets in', () => {
  /** The mapper tries again: for a map and for a copy. */
  const tries = (all: ReturnType<typeof world>, flags = rw) => {
    const { granter, mapper, at } = all;
    const theirs = { ref: REF, domid: granter.id };
    return [
      mapper.map({ dom: granter.id, ref: REF, flags, hostAddr: at(9) }).status,
      mapper.copy(theirs, { gmfn: mapper.frame(1) }, 8),
    ];
  };
  const refused = [GNTST_general_error, GNTST_general_error];

  it('so it is not evaded by unmapping and mapping again just before it is over', async () => {
    const all = world();
    const { granter, mapper, at, map, unmap, limit, watch, sleep } = all;
    const { handle } = map();
    const seen = watch(limit());
    await sleep(9);
    expect(unmap(handle)).toBe(GNTST_okay);
    const again = { dom: granter.id, ref: REF, flags: rw, hostAddr: at() };
    expect(mapper.map(again).status).toBe(GNTST_general_error);
    await sleep(2);
    expect(seen.outcome).toBe('released');
    expect(granter.pin(REF)).toEqual(none);
    expect(granter.flags(REF)).toBe(0);
    expect(tries(all)).toEqual(refused);
  });

  it('nor by letting go while the controller asks: an unused grant is over at once', async () => {
    const all = world();
    expect(await all.limit()).toBe('released');
    expect(all.granter.flags(REF)).toBe(0);
    expect(tries(all)).toEqual(refused);
  });

  it('nor by more mappings before the last is unmapped: they end with the first', async () => {
    const { granter, mapper, at, map, unmap, limit, watch, sleep } = world();
    let { handle } = map(rw, 0);
    const seen = watch(limit());
    for (let n = 1; n < 9; n++) {
      const next = map(rw, n).handle;
      unmap(handle, n - 1);
      handle = next;
      await sleep(1);
    }
    await sleep(3);
    expect(seen.outcome).toBe('revoked');
    expect(() => mapper.peek(at(8))).toThrow(PageFault);
    expect(granter.pin(REF)).toEqual(none);
  });

  it('version 2: the same', async () => {
    const all = world();
    const { granter, mapper, map, unmap, limit, watch, sleep } = all;
    fullPage(version2(granter), REF, {
      flags: GTF_permit_access,
      domid: mapper.id,
      frame: granter.frame(0),
    });
    const { handle } = map();
    const seen = watch(limit());
    expect(seenV2(granter, REF).flags).toBe(0);
    expect(statusOf(granter, REF)).toBe(GTF_reading | GTF_writing);
    unmap(handle);
    expect(statusOf(granter, REF)).toBe(0);
    expect(tries(all)).toEqual(refused);
    await sleep(11);
    expect(seen.outcome).toBe('released');
  });

  it('and nobody gets more: who might only read may not write', () => {
    const all = world();
    const { granter, map, limit } = all;
    granter.setFlags(REF, GTF_permit_access | GTF_readonly);
    map(ro);
    void limit();
    expect(granter.flags(REF)).toBe(GTF_readonly | GTF_reading);
    expect(tries(all, rw)[0]).toBe(GNTST_general_error);
    expect(granter.pin(REF)).toEqual({ ...none, hstr: 1 });
  });

  it.each([1, 2] as const)('a transfer is no use: version %i leaves it alone', async (version) => {
    const { all, granter, limit } = world();
    const giver = all.domain();
    const entry = { flags: GTF_accept_transfer, domid: giver.id, frame: 0 };
    if (version === 1) granter.entry(REF, entry);
    else fullPage(version2(granter), REF, entry);
    expect(await limit()).toBe('released');
    expect(granter.flags(REF)).toBe(GTF_accept_transfer);
    expect(giver.transfer({ mfn: giver.detach(3), domid: granter.id, ref: REF })).toBe(GNTST_okay);
  });
});
