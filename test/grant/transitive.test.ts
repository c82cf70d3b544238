/** GTF_transitive (grant_table.h): a domain lets another use what a third one has granted to it, by copy. */
import {
  DOMID_SELF,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transitive,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { fullPage, statusOf, subPage, transitive } from './entries-v2.ts';
import { chain, expectUnused, INNER, OUTER } from './transitive-world.ts';

const NOBODY = 999;

describe('a copy through two domains', () => {
  it('moves the bytes of the page behind', () => {
    const all = chain();
    const { owner, caller, read, write } = all;
    owner.bytes(owner.mfn(0)).fill(5);
    expect(read(4096)).toBe(GNTST_okay);
    expect(caller.bytes(caller.mfn(1)).every((byte) => byte === 5)).toBe(true);
    caller.bytes(caller.mfn(1)).fill(6);
    expect(write(4096)).toBe(GNTST_okay);
    expect(owner.bytes(owner.mfn(0)).every((byte) => byte === 6)).toBe(true);
    expectUnused(all);
  });

  it.each([
    ['reads', { hstr: 1 }, GTF_reading],
    ['writes', { hstw: 1 }, GTF_reading | GTF_writing],
  ] as const)('pins both grants while it %s', (kind, pin, status) => {
    const all = chain();
    const { owner, middle } = all;
    const { machine } = owner;
    const copyBytes = machine.copyBytes.bind(machine);
    let looked = 0;
    machine.copyBytes = (...args) => {
      for (const [actor, ref] of [
        [owner, INNER],
        [middle, OUTER],
      ] as const) {
        expect(actor.pin(ref)).toMatchObject(pin);
        expect(statusOf(actor, ref)).toBe(status);
        looked += 1;
      }
      copyBytes(...args);
    };
    expect(kind === 'reads' ? all.read() : all.write()).toBe(GNTST_okay);
    expect(looked).toBe(2);
    expectUnused(all);
  });

  it('the domain behind may have version 1', () => {
    const all = chain();
    expect(all.owner.hypercalls.setGrantVersion(1)).toBe(0);
    all.owner.entry(INNER, {
      flags: GTF_permit_access,
      domid: all.middle.id,
      frame: all.owner.frame(0),
    });
    expect(all.read()).toBe(GNTST_okay);
    expect(all.owner.flags(INNER)).toBe(GTF_permit_access);
  });

  it('the page behind may be the caller’s own', () => {
    const { middle, caller, outer, read } = chain();
    caller.entry(INNER, { flags: GTF_permit_access, domid: middle.id, frame: caller.frame(2) });
    transitive(middle, OUTER, { ...outer, transDomid: caller.id });
    caller.bytes(caller.mfn(2)).fill(8);
    expect(read()).toBe(GNTST_okay);
    expect(caller.bytes(caller.mfn(1))[0]).toBe(8);
  });
});

type Chain = ReturnType<typeof chain>;

describe('what stands behind has to be right (SEMANTICS 23)', () => {
  const cases: [name: string, change: (all: Chain) => void, status: number][] = [
    [
      'no domain',
      ({ middle, outer }) => transitive(middle, OUTER, { ...outer, transDomid: NOBODY }),
      GNTST_general_error,
    ],
    [
      'DOMID_SELF',
      ({ middle, outer }) => transitive(middle, OUTER, { ...outer, transDomid: DOMID_SELF }),
      GNTST_general_error,
    ],
    [
      'the middle domain itself',
      ({ middle, outer }) => transitive(middle, OUTER, { ...outer, transDomid: middle.id }),
      GNTST_general_error,
    ],
    [
      'the entry itself',
      ({ middle, outer }) =>
        transitive(middle, OUTER, { ...outer, transDomid: middle.id, gref: OUTER }),
      GNTST_general_error,
    ],
    [
      'a reference beyond the table',
      ({ middle, outer }) => transitive(middle, OUTER, { ...outer, gref: 256 }),
      GNTST_bad_gntref,
    ],
    [
      'no grant',
      ({ middle, outer }) => transitive(middle, OUTER, { ...outer, gref: 21 }),
      GNTST_general_error,
    ],
    [
      'a grant to the caller, not to the middle',
      ({ owner, caller }) =>
        fullPage(owner, INNER, {
          flags: GTF_permit_access,
          domid: caller.id,
          frame: owner.frame(0),
        }),
      GNTST_general_error,
    ],
    [
      'a frame that is not the owner’s',
      ({ owner, caller, middle }) =>
        fullPage(owner, INNER, {
          flags: GTF_permit_access,
          domid: middle.id,
          frame: caller.mfn(3),
        }),
      GNTST_bad_page,
    ],
    [
      'another transitive grant',
      ({ owner, middle, other }) =>
        transitive(owner, INNER, {
          flags: GTF_transitive,
          domid: middle.id,
          transDomid: other.id,
          gref: 8,
        }),
      GNTST_general_error,
    ],
    [
      'the middle’s grant is for another',
      ({ middle, outer, other }) => transitive(middle, OUTER, { ...outer, domid: other.id }),
      GNTST_general_error,
    ],
    ['a domain that is gone', ({ owner }) => owner.destroy(), GNTST_general_error],
  ];
  it.each(cases)('%s', (_, change, status) => {
    const all = chain();
    change(all);
    expect(all.read()).toBe(status);
    expect(all.write()).toBe(status);
    expect(statusOf(all.middle, OUTER)).toBe(0);
    expect(all.middle.pin(OUTER)).toMatchObject({ hstr: 0, hstw: 0 });
  });

  it('the middle domain is gone', () => {
    const { middle, owner, read } = chain();
    middle.destroy();
    expect(read()).toBe(GNTST_bad_domain);
    expect(owner.pin(INNER)).toMatchObject({ hstr: 0, hstw: 0 });
  });
});

describe('rights are the least of both', () => {
  it.each([
    ['read-only behind', GTF_readonly, 0],
    ['read-only in the middle', 0, GTF_readonly],
    ['read-only in both', GTF_readonly, GTF_readonly],
  ])('%s: no writing', (_, inner, outer) => {
    const all = chain(GTF_permit_access | inner, outer);
    expect(all.read()).toBe(GNTST_okay);
    expect(all.write()).toBe(GNTST_general_error);
    expectUnused(all);
  });

  it('the window of a part behind applies', () => {
    const all = chain();
    const { owner, middle, read } = all;
    subPage(owner, INNER, {
      flags: GTF_permit_access | GTF_sub_page,
      domid: middle.id,
      frame: owner.frame(0),
      pageOff: 100,
      length: 10,
    });
    expect(read(10, 100)).toBe(GNTST_okay);
    expect(read(10, 101)).toBe(GNTST_general_error);
    expect(read(1, 99)).toBe(GNTST_general_error);
    expectUnused(all);
  });
});
