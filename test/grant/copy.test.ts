/** GNTTABOP_copy (grant_table.h): the hypervisor copies between grants and own frames. */
import { type GnttabCopy, PAGE_SIZE } from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_copy_arg,
  GNTST_bad_domain,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
} from '@ringside/gnttab-core/abi';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { beforeExchange, copyOp, type Side, three, windowOf } from './world.ts';
import { fill, granted, NOBODY, page, REF } from './copy-world.ts';

describe.each(['pv', 'translated'] as const)('a copy of %s domains', (type) => {
  it.each([
    ['from a grant to an own frame', 'remote', 'local'],
    ['from an own frame to a grant', 'local', 'remote'],
    ['from an own frame to another', 'local', 'second'],
    ['inside a frame', 'local', 'local'],
    ['from a grant to another of a third domain', 'third', 'remote'],
  ] as const)('%s moves the bytes and leaves no trace', (_, from, to) => {
    const all = granted(GTF_permit_access, type);
    const { granter, caller, other } = all;
    fill(other, 1, 33);
    other.entry(9, { flags: GTF_permit_access, domid: caller.id, frame: other.frame(1) });
    const sides = {
      remote: { side: all.remote, owner: granter, gfn: 0 },
      local: { side: all.local, owner: caller, gfn: 0 },
      second: { side: { gmfn: caller.frame(1) }, owner: caller, gfn: 1 },
      third: { side: { ref: 9, domid: other.id }, owner: other, gfn: 1 },
    };
    const [source, dest] = [sides[from], sides[to]];
    const expected = page(dest.owner, dest.gfn);
    expected.set(page(source.owner, source.gfn).subarray(10, 110), 500);
    const before = [granter, other].map((actor) => [actor.seen(REF), actor.seen(9)]);
    expect(caller.copy({ ...source.side, offset: 10 }, { ...dest.side, offset: 500 }, 100)).toBe(
      GNTST_okay,
    );
    expect(page(dest.owner, dest.gfn)).toEqual(expected);
    expect([granter, other].map((actor) => [actor.seen(REF), actor.seen(9)])).toEqual(before);
    for (const actor of [granter, other]) {
      expect(actor.pin(REF)).toEqual({ hstw: 0, hstr: 0, devw: 0, devr: 0 });
    }
    for (const { owner, gfn } of [source, dest]) expect(owner.extraReferences(gfn)).toBe(0);
  });
});

it('names its own domain by id as well, where a reference is copied', () => {
  const { granter } = granted();
  granter.entry(9, { flags: GTF_permit_access, domid: granter.id, frame: granter.frame(1) });
  const dest = { gmfn: granter.frame(2) };
  expect(granter.copy({ ref: 9, domid: granter.id }, dest, 8)).toBe(GNTST_okay);
  expect(granter.copy({ ref: 9, domid: DOMID_SELF }, dest, 8)).toBe(GNTST_okay);
});

describe('an entry that is pinned', () => {
  function pinned(mapFlags: number) {
    const all = granted();
    const { granter, caller } = all;
    fill(granter, 1, 50);
    const hostAddr = windowOf(caller.domain);
    const { handle } = caller.map({ dom: granter.id, ref: REF, flags: mapFlags, hostAddr });
    const retarget = () => granter.entry(REF, { ...granter.seen(REF), frame: granter.frame(1) });
    return { ...all, handle, hostAddr, retarget };
  }
  const rw = GNTMAP_host_map;
  const ro = GNTMAP_host_map | GNTMAP_readonly;

  it('is read from the pinned frame, wherever the entry points now (GT-34)', () => {
    const { granter, caller, remote, local, retarget } = pinned(ro);
    const original = page(granter, 0);
    retarget();
    expect(caller.copy(remote, local, PAGE_SIZE)).toBe(GNTST_okay);
    expect(page(caller, 0)).toEqual(original);
  });

  it('gets its first writer only if it still points there (SEMANTICS 22)', () => {
    const { granter, caller, remote, local, retarget } = pinned(ro);
    const both = [page(granter, 0), page(granter, 1)];
    retarget();
    expect(caller.copy(local, remote, 8)).toBe(GNTST_general_error);
    expect([page(granter, 0), page(granter, 1)]).toEqual(both);
    expect(granter.flags(REF)).toBe(GTF_permit_access | GTF_reading);
    granter.entry(REF, { ...granter.seen(REF), frame: granter.frame(0) });
    expect(caller.copy(local, remote, 8)).toBe(GNTST_okay);
    expect(granter.flags(REF)).toBe(GTF_permit_access | GTF_reading);
  });

  it('whose frame is no longer the granter’s is a bad page to its first writer', () => {
    const { granter, caller, remote, local } = pinned(ro);
    for (const frame of [0x0fff_ffff, caller.frame(0)]) {
      granter.entry(REF, { ...granter.seen(REF), frame });
      expect(caller.copy(local, remote, 8)).toBe(GNTST_bad_page);
      expect(granter.flags(REF)).toBe(GTF_permit_access | GTF_reading);
    }
  });

  it('is written by further writers whatever it says now', () => {
    const { granter, caller, remote, local, retarget } = pinned(rw);
    retarget();
    granter.setFlags(REF, 0);
    expect(caller.copy(local, remote, PAGE_SIZE)).toBe(GNTST_okay);
    expect(page(granter, 0)).toEqual(page(caller, 0));
  });

  it('keeps the bits that its mapping justifies', () => {
    const { granter, caller, remote, local, handle, hostAddr } = pinned(ro);
    caller.copy(local, remote, 8);
    caller.copy(remote, local, 8);
    expect(granter.flags(REF)).toBe(GTF_permit_access | GTF_reading);
    caller.unmap({ handle, hostAddr });
    expect(granter.flags(REF)).toBe(GTF_permit_access);
  });

  it('is nobody else’s', () => {
    const { granter, other, remote } = pinned(ro);
    granter.entry(REF, { ...granter.seen(REF), domid: other.id });
    expect(other.copy(remote, { gmfn: other.frame(0) }, 8)).toBe(GNTST_general_error);
  });

  it('of a granter that is dying gives bad_domain where it would not be looked at (SEMANTICS 36)', () => {
    const reader = pinned(ro);
    reader.granter.destroy();
    expect(reader.caller.copy(reader.remote, reader.local, 8)).toBe(GNTST_bad_domain);
    expect(reader.caller.copy(reader.local, reader.remote, 8)).toBe(GNTST_okay);
    const writer = pinned(rw);
    writer.granter.destroy();
    expect(writer.caller.copy(writer.local, writer.remote, 8)).toBe(GNTST_bad_domain);
  });
});

describe('a batch', () => {
  it('has a status for every element, and none stops the rest (GT-27)', () => {
    const { caller, remote, local } = granted();
    const ops = Array.from({ length: 64 }, (_, n) => {
      if (n % 7 === 3) return copyOp({ ...remote, offset: 4090 }, local, 16);
      if (n % 7 === 5) return copyOp({ ref: 512, domid: NOBODY }, local, 16);
      return copyOp({ ...remote, offset: n }, { ...local, offset: n }, 16);
    });
    caller.hypercalls.gnttabCopy(ops);
    const expected = ops.map((_, n) =>
      n % 7 === 3 ? GNTST_bad_copy_arg : n % 7 === 5 ? GNTST_bad_domain : GNTST_okay,
    );
    expect(ops.map(({ status }) => status)).toEqual(expected);
  });

  it('keeps the page of neighbours claimed, and lets go of it in the end', () => {
    const { granter, caller, remote, local } = granted();
    const ops = Array.from({ length: 8 }, (_, n) =>
      copyOp({ ...remote, offset: n * 16 }, { ...local, offset: n * 16 }, 16),
    );
    let exchanges = 0;
    {
      using _count = beforeExchange(granter, REF, () => (exchanges += 1));
      caller.hypercalls.gnttabCopy(ops);
    }
    expect(exchanges).toBe(1);
    expect(page(caller, 0).subarray(0, 128)).toEqual(page(granter, 0).subarray(0, 128));
    expect(granter.pin(REF)).toEqual({ hstw: 0, hstr: 0, devw: 0, devr: 0 });
  });

  it('sees what its earlier elements wrote', () => {
    const { caller } = granted();
    const at = (offset: number): Side => ({ gmfn: caller.frame(1), offset });
    caller.bytes(caller.mfn(1))[0] = 9;
    const ops = [0, 1, 2, 3].map((n) => copyOp(at(n), at(n + 1), 1));
    caller.hypercalls.gnttabCopy(ops);
    expect([...page(caller, 1).subarray(0, 6)]).toEqual([9, 9, 9, 9, 9, 0]);
  });

  it('tells references of the same number in two tables apart', () => {
    const { granter, caller, other, remote, local } = granted();
    fill(other, 0, 200);
    other.entry(REF, { flags: GTF_permit_access, domid: caller.id, frame: other.frame(0) });
    const ops = [
      copyOp(remote, local, 8),
      copyOp({ ref: REF, domid: other.id }, { ...local, offset: 8 }, 8),
      copyOp({ gmfn: REF }, { ...local, offset: 16 }, 8),
    ];
    caller.hypercalls.gnttabCopy(ops);
    expect(ops.map(({ status }) => status)).toEqual([GNTST_okay, GNTST_okay, GNTST_bad_page]);
    expect(page(caller, 0).subarray(0, 8)).toEqual(page(granter, 0).subarray(0, 8));
    expect(page(caller, 0).subarray(8, 16)).toEqual(page(other, 0).subarray(0, 8));
  });

  it('of `count` elements leaves the others alone', () => {
    const { caller, remote, local } = granted();
    const ops = [copyOp(remote, local, 8), copyOp(remote, local, 8)];
    const untouched = ops[1]!.status;
    caller.hypercalls.gnttabCopy(ops, 1);
    expect(ops.map(({ status }) => status)).toEqual([GNTST_okay, untouched]);
  });

  it('counts what was copied', () => {
    const { caller, remote, local } = granted();
    const ops = [
      copyOp(remote, local, 100),
      copyOp(remote, local, 5000),
      copyOp(local, remote, 20),
    ];
    caller.hypercalls.gnttabCopy(ops);
    expect(caller.domain.counters()).toMatchObject({ copies: 2, copiedBytes: 120 });
  });
});

describe('a shared word that changes under the copy', () => {
  it('to read-only stops the writer; the domid beside the flags is never touched', () => {
    const { granter, caller, remote, local } = granted();
    using _race = beforeExchange(granter, REF, () =>
      granter.setFlags(REF, GTF_permit_access | GTF_readonly),
    );
    expect(caller.copy(local, remote, 8)).toBe(GNTST_general_error);
    expect(granter.seen(REF)).toEqual({
      flags: GTF_permit_access | GTF_readonly,
      domid: caller.id,
      frame: granter.frame(0),
    });
  });

  it('and never holds still is given up after a few looks', () => {
    const { granter, caller, remote, local } = granted();
    let looks = 0;
    using _race = beforeExchange(granter, REF, () => {
      looks += 1;
      granter.setFlags(REF, granter.flags(REF) ^ 0x40);
    });
    expect(caller.copy(remote, local, 8)).toBe(GNTST_general_error);
    expect(looks).toBeLessThan(10);
  });
});

it('copies onto itself as memmove does, for any ranges', () => {
  const { caller } = granted();
  fc.assert(
    fc.property(
      fc.nat(PAGE_SIZE),
      fc.nat(PAGE_SIZE),
      fc.integer({ min: 1, max: PAGE_SIZE }),
      (from, to, len) => {
        fc.pre(from + len <= PAGE_SIZE && to + len <= PAGE_SIZE);
        fill(caller, 2, from);
        const expected = page(caller, 2).copyWithin(to, from, from + len);
        const gmfn = caller.frame(2);
        expect(caller.copy({ gmfn, offset: from }, { gmfn, offset: to }, len)).toBe(GNTST_okay);
        expect(page(caller, 2)).toEqual(expected);
      },
    ),
    { numRuns: 300 },
  );
});

it('reused operations say nothing of their last use', () => {
  const { caller, remote, local } = granted();
  const op: GnttabCopy = copyOp(remote, local, 8);
  caller.hypercalls.gnttabCopy([op]);
  expect(op.status).toBe(GNTST_okay);
  op.source.domid = NOBODY;
  caller.hypercalls.gnttabCopy([op]);
  expect(op.status).toBe(GNTST_bad_domain);
  op.source.domid = (remote as { domid: number }).domid;
  caller.hypercalls.gnttabCopy([op]);
  expect(op.status).toBe(GNTST_okay);
});

it('the third party of the header: a domain copies between two others that granted it access', () => {
  const { granter, mapper: caller, other, world } = three();
  fill(granter, 0, 3);
  granter.entry(REF, {
    flags: GTF_permit_access | GTF_readonly,
    domid: caller.id,
    frame: granter.frame(0),
  });
  other.entry(REF, { flags: GTF_permit_access, domid: caller.id, frame: other.frame(4) });
  const status = caller.copy(
    { ref: REF, domid: granter.id },
    { ref: REF, domid: other.id },
    PAGE_SIZE,
  );
  expect(status).toBe(GNTST_okay);
  expect(page(other, 4)).toEqual(page(granter, 0));
  expect(world.typeCount(other.mfn(4))).toBe(1);
});
