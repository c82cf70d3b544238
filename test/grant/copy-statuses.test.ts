/** GNTTABOP_copy (grant_table.h): what each status means, and which of two reasons comes first. */
import {
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
  GTF_readonly,
  GTF_sub_page,
  GTF_transitive,
} from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { type Side } from './world.ts';
import { granted, NOBODY, page, REF } from './copy-world.ts';

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
