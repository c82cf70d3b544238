/** GTF_sub_page (grant_table.h): grants of a part of a page, which can be copied and never mapped. */
import {
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_copy_arg,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_readonly,
  GTF_sub_page,
} from '@ringside/gnttab-core/abi';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { statusOf, subPage, version2 } from './entries-v2.ts';
import { type Actor, windowOf, World } from './world.ts';

const REF = 8;
const access = GTF_permit_access | GTF_sub_page;

/** `length` bytes from `pageOff` on of the granter's page 0 for the caller. */
function granted(pageOff: number, length: number, flags = access, type?: 'pv' | 'translated') {
  const world = new World();
  const granter = version2(world.domain({ type: type ?? 'pv' }));
  const caller = world.domain();
  subPage(granter, REF, { flags, domid: caller.id, frame: granter.frame(0), pageOff, length });
  const theirs = (offset: number) => ({ ref: REF, domid: granter.id, offset });
  const own = (offset = 0) => ({ gmfn: caller.mfn(1), offset });
  return {
    world,
    granter,
    caller,
    /** Copies `len` bytes from offset `offset` of the page. */
    read: (offset: number, len: number) => caller.copy(theirs(offset), own(), len),
    write: (offset: number, len: number) => caller.copy(own(), theirs(offset), len),
  };
}

const expectUnused = (granter: Actor) => {
  expect(granter.pin(REF)).toEqual({ hstw: 0, hstr: 0, devw: 0, devr: 0 });
  expect(statusOf(granter, REF)).toBe(0);
  expect(granter.extraReferences(0)).toBe(0);
};

describe('a window of 100 bytes from 1000 on', () => {
  it.each([
    { name: 'the first byte', offset: 1000, len: 1, status: GNTST_okay },
    { name: 'the last byte', offset: 1099, len: 1, status: GNTST_okay },
    { name: 'all of it', offset: 1000, len: 100, status: GNTST_okay },
    { name: 'a byte before', offset: 999, len: 1, status: GNTST_general_error },
    { name: 'a byte too early', offset: 999, len: 100, status: GNTST_general_error },
    { name: 'a byte after', offset: 1100, len: 1, status: GNTST_general_error },
    { name: 'a byte too long', offset: 1000, len: 101, status: GNTST_general_error },
    { name: 'the whole page', offset: 0, len: 4096, status: GNTST_general_error },
    {
      name: 'over the end of the page: seen first',
      offset: 4000,
      len: 97,
      status: GNTST_bad_copy_arg,
    },
    { name: 'nothing, anywhere', offset: 5000, len: 0, status: GNTST_okay },
  ])('$name: $status', ({ offset, len, status }) => {
    const { granter, caller, read, write } = granted(1000, 100);
    const page = granter.bytes(granter.mfn(0));
    const own = caller.bytes(caller.mfn(1));
    page.fill(7);
    own.fill(9);
    expect(read(offset, len)).toBe(status);
    expect(own.filter((byte) => byte === 7).length).toBe(status === GNTST_okay ? len : 0);
    own.fill(9);
    expect(write(offset, len)).toBe(status);
    const changed = Array.from(page.keys()).filter((at) => page[at] === 9);
    const expected = status === GNTST_okay ? Array.from({ length: len }, (_, i) => offset + i) : [];
    expect(changed).toEqual(expected);
    expectUnused(granter);
  });
});

describe('odd windows', () => {
  it.each([
    { name: 'of no bytes', pageOff: 5, length: 0, offset: 5, status: GNTST_general_error },
    {
      name: 'over the page’s end, its last byte',
      pageOff: 4000,
      length: 200,
      offset: 4095,
      status: GNTST_okay,
    },
    { name: 'of 65535 bytes', pageOff: 0, length: 0xffff, offset: 4095, status: GNTST_okay },
    {
      name: 'beyond the page',
      pageOff: 4096,
      length: 10,
      offset: 4095,
      status: GNTST_general_error,
    },
    // The start is kept in 15 bits (SEMANTICS 25).
    {
      name: 'from 32768 on, which is 0',
      pageOff: 0x8000,
      length: 10,
      offset: 0,
      status: GNTST_okay,
    },
    {
      name: 'from 32778 on, which is 10',
      pageOff: 0x800a,
      length: 10,
      offset: 0,
      status: GNTST_general_error,
    },
  ])('$name', ({ pageOff, length, offset, status }) => {
    const { granter, read } = granted(pageOff, length);
    expect(read(offset, 1)).toBe(status);
    expectUnused(granter);
  });

  it('any byte can be copied exactly if it is in the window', () => {
    fc.assert(
      fc.property(
        fc.nat(4095),
        fc.nat(4096),
        fc.nat(4095),
        fc.integer({ min: 1, max: 4096 }),
        (pageOff, length, offset, len) => {
          const { read, write } = granted(pageOff, length);
          const inside = offset >= pageOff && offset + len <= pageOff + length;
          const status =
            offset + len > 4096 ? GNTST_bad_copy_arg : inside ? GNTST_okay : GNTST_general_error;
          expect(read(offset, len)).toBe(status);
          expect(write(offset, len)).toBe(status);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('like a grant of a whole page', () => {
  it('a read-only one is not written', () => {
    const { granter, read, write } = granted(0, 16, access | GTF_readonly);
    expect(read(0, 16)).toBe(GNTST_okay);
    expect(write(0, 16)).toBe(GNTST_general_error);
    expectUnused(granter);
  });

  it('serves one domain only', () => {
    const { world, granter } = granted(0, 16);
    const stranger = world.domain();
    const own = { gmfn: stranger.mfn(1) };
    const theirs = { ref: REF, domid: granter.id };
    expect(stranger.copy(theirs, own, 1)).toBe(GNTST_general_error);
    expectUnused(granter);
  });

  it('its frame must be the granter’s', () => {
    const { granter, caller, read } = granted(0, 16);
    subPage(granter, REF, {
      flags: access,
      domid: caller.id,
      frame: caller.mfn(0),
      pageOff: 0,
      length: 16,
    });
    expect(read(0, 16)).toBe(GNTST_bad_page);
    expectUnused(granter);
  });

  it('a translated granter names a gfn', () => {
    const { granter, caller, read } = granted(16, 16, access, 'translated');
    granter.bytes(granter.mfn(0))[20] = 99;
    expect(read(20, 1)).toBe(GNTST_okay);
    expect(caller.bytes(caller.mfn(1))[0]).toBe(99);
  });

  it('only access has a part: the bit makes no transfer into one', () => {
    const { read } = granted(0, 4096, GTF_accept_transfer | GTF_sub_page);
    expect(read(0, 1)).toBe(GNTST_general_error);
  });
});

describe('mapping', () => {
  const map = (granter: Actor, caller: Actor) =>
    caller.map({
      dom: granter.id,
      ref: REF,
      flags: GNTMAP_host_map | GNTMAP_readonly,
      hostAddr: windowOf(caller.domain),
    }).status;

  it('is refused, even where the part is the whole page', () => {
    const { granter, caller } = granted(0, 4096);
    expect(map(granter, caller)).toBe(GNTST_general_error);
    expectUnused(granter);
  });

  it('version 1 knows the bit so far that it refuses to map; a copy has the whole page (SEMANTICS 9)', () => {
    const world = new World();
    const [granter, caller] = [world.domain(), world.domain()];
    granter.entry(REF, { flags: access, domid: caller.id, frame: granter.frame(0) });
    expect(map(granter, caller)).toBe(GNTST_general_error);
    const whole = caller.copy({ ref: REF, domid: granter.id }, { gmfn: caller.mfn(1) }, 4096);
    expect(whole).toBe(GNTST_okay);
    expect(granter.flags(REF)).toBe(access);
  });
});

it('the elements of one batch each have the window', () => {
  const { granter, read } = granted(8, 8);
  for (const [offset, status] of [
    [8, GNTST_okay],
    [7, GNTST_general_error],
    [9, GNTST_okay],
  ] as const) {
    expect(read(offset, 1)).toBe(status);
  }
  expectUnused(granter);
});
