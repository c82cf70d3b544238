/** GNTTABOP_swap_grant_ref (grant_table.h): two entries change places, if nobody uses them. */
import {
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_gntref,
  GNTST_eagain,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_readonly,
  GTF_transitive,
} from '@ringside/gnttab-core/abi';
import { statusWordOf } from '@ringside/gnttab-core/hypervisor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fullPage, seenV2, statusOf, version2 } from './entries-v2.ts';
import { type Actor, type Entry, three, windowOf } from './world.ts';

const A = 8;
const B = 9;
const first: Entry = { flags: GTF_permit_access | GTF_readonly, domid: 3, frame: 0x1234 };
const second: Entry = { flags: GTF_accept_transfer, domid: 4, frame: 0x5678 };

/** A domain with a table of this version, and how its entries are written and read. */
function table(version: 1 | 2) {
  const all = three();
  const { granter } = all;
  if (version === 2) version2(granter);
  const write = (ref: number, entry: Entry) =>
    version === 1 ? granter.entry(ref, entry) : fullPage(granter, ref, entry);
  const read = (ref: number) => (version === 1 ? granter.seen(ref) : seenV2(granter, ref));
  write(A, first);
  write(B, second);
  return { ...all, write, read, entries: version === 1 ? 512 : 256 };
}

/** `granter`'s page 0 for `mapper` as `ref`, mapped. */
function use(granter: Actor, mapper: Actor, ref: number, flags: number) {
  const hostAddr = windowOf(mapper.domain);
  const { status, handle, devBusAddr } = mapper.map({ dom: granter.id, ref, flags, hostAddr });
  expect(status).toBe(GNTST_okay);
  return { handle, hostAddr, devBusAddr };
}

describe.each([1, 2] as const)('version %i', (version) => {
  it('the two change places', () => {
    const { granter, read } = table(version);
    expect(granter.swap(A, B)).toBe(GNTST_okay);
    expect([read(A), read(B)]).toEqual([second, first]);
    expect(granter.swap(B, A)).toBe(GNTST_okay);
    expect([read(A), read(B)]).toEqual([first, second]);
  });

  it.each([
    ['reserved ones too', 0, 7],
    ['the last of the table', 0, 'last'],
    ['across shared frames', 1, 'next'],
  ] as const)('%s', (_, a, which) => {
    const { granter, write, read, entries } = table(version);
    granter.hypercalls.setupTable(2);
    const b = which === 'last' ? entries - 1 : which === 'next' ? entries : which;
    write(a, first);
    write(b, second);
    expect(granter.swap(a, b)).toBe(GNTST_okay);
    expect([read(a), read(b)]).toEqual([second, first]);
  });

  it.each([
    ['the first is beyond the table', 'beyond', A],
    ['the second is', A, 'beyond'],
    ['both are the same, and beyond', 'beyond', 'beyond'],
    ['the highest number', A, 0xffff_ffff],
  ] as const)('a reference without entry: %s', (_, a, b) => {
    const { granter, read, entries } = table(version);
    const ref = (name: number | 'beyond') => (name === 'beyond' ? entries : name);
    expect(granter.swap(ref(a), ref(b))).toBe(GNTST_bad_gntref);
    expect([read(A), read(B)]).toEqual([first, second]);
  });

  it.each([
    ['mapped writable', GNTMAP_host_map],
    ['mapped read-only', GNTMAP_host_map | GNTMAP_readonly],
    ['mapped for a device', GNTMAP_device_map],
  ])('not while one is %s, in either place', (_, flags) => {
    const { granter, mapper, write, read } = table(version);
    write(A, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    const mapping = use(granter, mapper, A, flags);
    const before = read(A);
    expect(granter.swap(A, B)).toBe(GNTST_eagain);
    expect(granter.swap(B, A)).toBe(GNTST_eagain);
    expect([read(A), read(B)]).toEqual([before, second]);
    mapper.unmap(mapping);
    expect(granter.swap(A, B)).toBe(GNTST_okay);
  });

  it('with itself is fine, even in use (SEMANTICS 29)', () => {
    const { granter, mapper, write, read } = table(version);
    write(A, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    use(granter, mapper, A, GNTMAP_host_map);
    const before = read(A);
    expect(granter.swap(A, A)).toBe(GNTST_okay);
    expect(read(A)).toEqual(before);
  });

  it('the new reference serves what the old one granted', () => {
    const { granter, mapper, write } = table(version);
    write(A, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(5) });
    granter.bytes(granter.mfn(5))[0] = 55;
    granter.swap(A, B);
    use(granter, mapper, B, GNTMAP_host_map);
    expect(mapper.peek(windowOf(mapper.domain))).toBe(55);
    expect(granter.pin(B).hstw).toBe(1);
    expect(granter.pin(A).hstw).toBe(0);
  });

  it('any run of swaps is a permutation, and undone by the same backwards', () => {
    const pairs = fc.array(
      fc.tuple(fc.integer({ min: 8, max: 15 }), fc.integer({ min: 8, max: 15 })),
    );
    fc.assert(
      fc.property(pairs, (swaps) => {
        const { granter, write, read } = table(version);
        const refs = Array.from({ length: 8 }, (_, n) => 8 + n);
        for (const ref of refs) write(ref, { flags: GTF_permit_access, domid: ref, frame: ref });
        const model = new Map(refs.map((ref) => [ref, ref]));
        for (const [a, b] of swaps) {
          expect(granter.swap(a, b)).toBe(GNTST_okay);
          const [x, y] = [model.get(a)!, model.get(b)!];
          model.set(a, y).set(b, x);
          for (const ref of refs) expect(read(ref).frame).toBe(model.get(ref));
        }
        for (const [a, b] of swaps.toReversed()) granter.swap(a, b);
        for (const ref of refs) expect(read(ref).frame).toBe(ref);
      }),
      { numRuns: 20 },
    );
  });
});

it('status words change places with their entries', () => {
  const { granter } = table(2);
  const { u16 } = granter.machine.heap;
  u16[statusWordOf(granter.domain, A) >>> 1] = 0x1111;
  u16[statusWordOf(granter.domain, B) >>> 1] = 0x2222;
  expect(granter.swap(A, B)).toBe(GNTST_okay);
  expect([statusOf(granter, A), statusOf(granter, B)]).toEqual([0x2222, 0x1111]);
});

it('all sixteen bytes of an entry do', () => {
  const { granter, write, read } = table(2);
  const high = { flags: GTF_transitive, domid: 7, frame: 0x1234_5678_9abc };
  write(A, high);
  granter.swap(A, B);
  expect(read(B)).toEqual(high);
});
