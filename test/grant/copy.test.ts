/** GNTTABOP_copy (grant_table.h): the hypervisor copies between grants and own frames. */
import { type GnttabCopy, PAGE_SIZE } from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_copy_arg,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
  GTF_accept_transfer,
  GTF_invalid,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transitive,
} from '@ringside/gnttab-core/abi';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Actor, beforeExchange, copyOp, type Side, three, windowOf, World } from './world.ts';

const NOBODY = 999;
const REF = 8;

const fill = (actor: Actor, gfn: number, seed: number) =>
  actor.bytes(actor.mfn(gfn)).forEach((_, i, page) => (page[i] = (seed + i * 7) & 255));
const page = (actor: Actor, gfn: number) => Uint8Array.from(actor.bytes(actor.mfn(gfn)));

/** The granter's page 0 at REF, granted to the caller. */
function granted(flags: number = GTF_permit_access, type: 'pv' | 'translated' = 'pv') {
  const world = new World();
  const [granter, caller, other] = [world.domain({ type }), world.domain({ type }), world.domain()];
  granter.entry(REF, { flags, domid: caller.id, frame: granter.frame(0) });
  fill(granter, 0, 1);
  fill(caller, 0, 100);
  const remote: Side = { ref: REF, domid: granter.id };
  const local: Side = { gmfn: caller.frame(0) };
  return { world, granter, caller, other, remote, local };
}

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

describe('statuses', () => {
  type Parts = ReturnType<typeof granted>;
  const rows: [string, number, (parts: Parts) => [Side, Side, number?]][] = [
    [
      'source: an own frame under the own id',
      GNTST_permission_denied,
      ({ caller, remote }) => [{ gmfn: caller.frame(0), domid: caller.id }, remote],
    ],
    [
      'source: another’s frame',
      GNTST_permission_denied,
      ({ granter, local }) => [{ gmfn: granter.frame(0), domid: granter.id }, local],
    ],
    [
      'source: a frame of nobody',
      GNTST_permission_denied,
      ({ local }) => [{ gmfn: 1, domid: NOBODY }, local],
    ],
    [
      'dest: an own frame under the own id',
      GNTST_permission_denied,
      ({ caller, remote }) => [remote, { gmfn: caller.frame(0), domid: caller.id }],
    ],
    [
      'source: a reference of nobody',
      GNTST_bad_domain,
      ({ local }) => [{ ref: REF, domid: NOBODY }, local],
    ],
    [
      'dest: a reference of nobody',
      GNTST_bad_domain,
      ({ local }) => [local, { ref: REF, domid: NOBODY }],
    ],
    [
      'source: another’s frame number as an own one',
      GNTST_bad_page,
      ({ granter, caller }) => [{ gmfn: granter.frame(0) }, { gmfn: caller.frame(0) }],
    ],
    [
      'source: a frame that does not exist',
      GNTST_bad_page,
      ({ local }) => [{ gmfn: 0xfff_ffff }, local],
    ],
    [
      'source: a number that is a frame but for its high bits',
      GNTST_bad_page,
      ({ caller, local }) => [{ gmfn: caller.frame(1) + 2 ** 32 }, local],
    ],
    [
      'dest: a frame that does not exist',
      GNTST_bad_page,
      ({ local }) => [local, { gmfn: 2 ** 40 }],
    ],
    ['source: a page of the hypervisor', GNTST_bad_page, ({ local }) => [{ gmfn: 0 }, local]],
    [
      'source: a reference beyond the table',
      GNTST_bad_gntref,
      ({ granter, local }) => [{ ref: 512, domid: granter.id }, local],
    ],
    [
      'dest: a reference beyond the table',
      GNTST_bad_gntref,
      ({ granter, local }) => [local, { ref: 0xffff_ffff, domid: granter.id }],
    ],
    [
      'source: an entry that grants nothing',
      GNTST_general_error,
      ({ granter, local }) => [{ ref: 9, domid: granter.id }, local],
    ],
    [
      'across the end of the source',
      GNTST_bad_copy_arg,
      ({ remote, local }) => [{ ...remote, offset: 4095 }, local, 2],
    ],
    [
      'across the end of the dest',
      GNTST_bad_copy_arg,
      ({ remote, local }) => [remote, { ...local, offset: 4095 }, 2],
    ],
    [
      'from beyond the page',
      GNTST_bad_copy_arg,
      ({ remote, local }) => [{ ...remote, offset: 4096 }, local, 1],
    ],
    [
      'with numbers as large as they can be',
      GNTST_bad_copy_arg,
      ({ remote, local }) => [{ ...remote, offset: 0xffff }, { ...local, offset: 0xffff }, 0xffff],
    ],
    ['longer than a page', GNTST_bad_copy_arg, ({ remote, local }) => [remote, local, 4097]],
    ['a whole page', GNTST_okay, ({ remote, local }) => [remote, local, 4096]],
    [
      'the last byte',
      GNTST_okay,
      ({ remote, local }) => [{ ...remote, offset: 4095 }, { ...local, offset: 4095 }, 1],
    ],
    [
      'no bytes, whatever else it says',
      GNTST_okay,
      () => [
        { gmfn: 2 ** 40, domid: NOBODY, offset: 0xffff },
        { ref: 0xffff_ffff, domid: NOBODY, offset: 0xffff },
        0,
      ],
    ],
  ];
  it.each(rows)('%s', (_, status, choose) => {
    const parts = granted();
    const { granter, caller } = parts;
    const [source, dest, len = 8] = choose(parts);
    const before = [page(granter, 0), page(caller, 0)];
    expect(caller.copy(source, dest, len)).toBe(status);
    if (status !== GNTST_okay || len === 0)
      expect([page(granter, 0), page(caller, 0)]).toEqual(before);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
    expect(granter.pin(REF)).toEqual({ hstw: 0, hstr: 0, devw: 0, devr: 0 });
    expect([granter.extraReferences(0), caller.extraReferences(0)]).toEqual([0, 0]);
  });

  it.each([
    ['nothing', GTF_invalid, GNTST_general_error, GNTST_general_error],
    ['access', GTF_permit_access, GNTST_okay, GNTST_okay],
    ['read-only access', GTF_permit_access | GTF_readonly, GNTST_okay, GNTST_general_error],
    [
      'sub-page access: version 1 has none, the bit is ignored',
      GTF_permit_access | GTF_sub_page,
      GNTST_okay,
      GNTST_okay,
    ],
    ['a transfer', GTF_accept_transfer, GNTST_general_error, GNTST_general_error],
    [
      'transitive access: version 1 has none',
      GTF_transitive,
      GNTST_general_error,
      GNTST_general_error,
    ],
  ])('an entry that grants %s', (_, flags, from, to) => {
    const { granter, caller, remote, local } = granted(flags);
    expect(caller.copy(remote, local, 8)).toBe(from);
    expect(granter.flags(REF)).toBe(flags);
    expect(caller.copy(local, remote, 8)).toBe(to);
    expect(granter.flags(REF)).toBe(flags);
  });

  it('an entry for somebody else', () => {
    const { granter, other, remote } = granted();
    expect(other.copy(remote, { gmfn: other.frame(0) }, 8)).toBe(GNTST_general_error);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
  });

  it('an entry whose frame is not the granter’s: bad page, and the in-use bits are gone again (GT-41)', () => {
    const { granter, caller, other, remote, local } = granted();
    for (const frame of [other.frame(0), 0xfff_ffff, 0xffff_ffff]) {
      granter.entry(REF, { flags: GTF_permit_access, domid: caller.id, frame });
      expect(caller.copy(remote, local, 8)).toBe(GNTST_bad_page);
      expect(caller.copy(local, remote, 8)).toBe(GNTST_bad_page);
      expect(granter.flags(REF)).toBe(GTF_permit_access);
    }
  });
});

describe('the order of the checks', () => {
  const order: [string, number, Partial<Record<'source' | 'dest', object>>][] = [
    ['source domain', GNTST_bad_domain, { source: { domid: NOBODY } }],
    ['dest domain', GNTST_permission_denied, { dest: { gmfn: 1, domid: NOBODY } }],
    ['source page', GNTST_bad_gntref, { source: { ref: 512 } }],
    ['dest page', GNTST_bad_page, { dest: { gmfn: 0xfff_ffff } }],
    ['offsets', GNTST_bad_copy_arg, { source: { offset: 4090 } }],
  ];
  it.each(order.map(([name, status], first) => [name, first, status] as const))(
    '%s',
    (_, first, status) => {
      const { caller, remote, local } = granted();
      let [source, dest] = [remote, local];
      for (const [, , broken] of order.slice(first).toReversed()) {
        source = { ...source, ...broken.source };
        dest = { ...dest, ...broken.dest };
      }
      expect(caller.copy(source, dest, 8)).toBe(status);
    },
  );
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
