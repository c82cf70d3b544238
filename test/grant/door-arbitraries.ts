/** Any grant table operation, for two-doors.property.test.ts. */
import {
  DOMID_SELF,
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
} from '@ringside/gnttab-core/abi';
import fc from 'fast-check';
import type { BinaryGuest } from '../hypercall/binary-guest.ts';
import type { Operation } from './door-operations.ts';
import type { TwoDoors } from './two-doors.ts';
import type { Side } from './world.ts';

export const DOMAINS = 3;
const NOBODY = 999;
/** Pages that are granted and copied; pages that the guest has mapped nowhere, to be transferred. */
const pages = [0, 1, 2, 3];
export const LOOSE = [4, 5, 6, 7];

/** Something that depends on where the domains' pages are: the same on both machines. */
export type Made<T> = (doors: TwoDoors, n: number) => T;

export const who = fc.nat(DOMAINS - 1);
export const gfn = fc.constantFrom(...pages, ...LOOSE);
const ref = fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 7, max: 11 }) }, wild());
const handle = fc.oneof({ weight: 9, arbitrary: fc.nat(8) }, wild());
const domid = fc.oneof(
  { weight: 9, arbitrary: fc.nat(DOMAINS) }, // a machine's first domains: no. 0 and up
  { weight: 1, arbitrary: fc.constantFrom(DOMID_SELF, NOBODY, 0xffff) },
);
function wild() {
  return { weight: 1, arbitrary: fc.constantFrom(0, 255, 256, 511, 512, 0xffff_ffff) };
}

/** An address in the window, or an odd one. */
const address: fc.Arbitrary<Made<number>> = fc.oneof(
  { weight: 9, arbitrary: fc.nat(4).map((slot) => at((guest) => guest.window(slot))) },
  { weight: 1, arbitrary: gfn.map((n) => at((guest) => guest.page(n))) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(0, 1, 0x123, 2 ** 40, 2 ** 52).map((value) => () => value),
  },
);
/** A bus address: of a domain's page, or an odd one. */
const busAddress: fc.Arbitrary<Made<number>> = fc.oneof(
  {
    weight: 9,
    arbitrary: fc.tuple(who, gfn).map(
      ([n, page]): Made<number> =>
        (doors) =>
          doors.typed[n]!.mfn(page) * 4096,
    ),
  },
  { weight: 2, arbitrary: fc.constantFrom(0, 1, 2 ** 45).map((value) => () => value) },
);
/** A frame as its owner names it, or an odd one; 32 bits, which is all that i386 has. */
const gmfn: fc.Arbitrary<Made<number>> = fc.oneof(
  { weight: 9, arbitrary: gfn.map((page) => at((guest) => guest.gmfn(page))) },
  { weight: 1, arbitrary: fc.constantFrom(0, 0xfff_ffff, 0xffff_ffff).map((value) => () => value) },
);

function at(of: (guest: BinaryGuest) => number): Made<number> {
  return (doors, n) => of(doors.typed[n]!);
}

/** Several elements, each made when its time has come. */
const batch = <T>(element: fc.Arbitrary<Made<T>>): fc.Arbitrary<Made<T[]>> =>
  fc
    .array(element, { minLength: 1, maxLength: 3 })
    .map((elements) => (doors, n) => elements.map((make) => make(doors, n)));

/** Fields that are plain, or made. */
function fields<T extends object>(arbitraries: {
  [K in keyof T]: fc.Arbitrary<T[K] | Made<T[K]>>;
}): fc.Arbitrary<Made<T>> {
  const record = fc.record(arbitraries as Record<string, fc.Arbitrary<unknown>>);
  return record.map((chosen) => (doors, n) => {
    const made = Object.entries(chosen).map(([name, value]) => [
      name,
      typeof value === 'function' ? (value as Made<unknown>)(doors, n) : value,
    ]);
    return Object.fromEntries(made) as T;
  });
}

/** A grant for the caller that there is or was, more often than not. */
const theirs = fc
  .record({ nth: fc.nat(20), known: fc.nat(4), ref, dom: domid })
  .map(({ nth, known, ...other }): Made<{ ref: number; dom: number }> => (doors, n) => {
    const ours = doors.granted.filter(({ to }) => to === n);
    const grant = known > 0 ? ours[nth % ours.length] : undefined;
    return grant ? { ref: grant.ref, dom: doors.typed[grant.owner]!.id } : other;
  });

const offset = fc.constantFrom(0, 0, 100, 4095);
const side: fc.Arbitrary<Made<Side>> = fc.oneof(
  fc.tuple(theirs, offset).map(([make, offset]): Made<Side> => (doors, n) => {
    const { ref, dom } = make(doors, n);
    return { ref, domid: dom, offset };
  }),
  fields<Side & { gmfn: number }>({
    gmfn,
    domid: fc.constantFrom(DOMID_SELF, DOMID_SELF, DOMID_SELF, 1),
    offset,
  }),
);

interface Unmap {
  hostAddr: number;
  devBusAddr: number;
  handle: number;
}
/** A mapping that there is or was, more often than not. */
const mapping: fc.Arbitrary<Made<Unmap>> = fc
  .record({
    nth: fc.nat(20),
    known: fc.nat(4),
    other: fields<Unmap>({ hostAddr: address, devBusAddr: busAddress, handle }),
  })
  .map(({ nth, known, other }) => (doors, n) => {
    const ours = doors.mapped.filter(({ by }) => by === n);
    const mapped = known > 0 ? ours[nth % ours.length] : undefined;
    const { hostAddr, devBusAddr, handle } = mapped ?? other(doors, n);
    return { hostAddr, devBusAddr, handle };
  });

const mapFlags = fc.constantFrom(
  GNTMAP_host_map,
  GNTMAP_host_map,
  GNTMAP_host_map | GNTMAP_readonly,
  GNTMAP_host_map | GNTMAP_readonly,
  GNTMAP_host_map | GNTMAP_device_map,
  GNTMAP_device_map,
  GNTMAP_host_map | GNTMAP_application_map,
  GNTMAP_host_map | GNTMAP_contains_pte,
  0,
);

type Batches = Extract<Operation, { elements: unknown }>;
const batches = <Name extends Batches['op']>(
  op: Name,
  element: fc.Arbitrary<Made<Extract<Batches, { op: Name }>['elements'][number]>>,
): fc.Arbitrary<Made<Operation>> =>
  batch(element).map(
    (make): Made<Operation> =>
      (doors, n) =>
        ({ op, elements: make(doors, n) }) as Operation,
  );

const maps = batches(
  'map',
  fc.tuple(theirs, address, mapFlags).map(([use, where, flags]) => (doors, n) => ({
    ...use(doors, n),
    hostAddr: where(doors, n),
    flags,
  })),
);
/** Any operation. */
export const operation: fc.Arbitrary<Made<Operation>> = fc.oneof(
  maps,
  maps,
  maps,
  batches('unmap', mapping),
  batches(
    'replace',
    fc.tuple(mapping, address).map(([make, where]) => (doors, n) => {
      const { hostAddr, handle } = make(doors, n);
      return { hostAddr, handle, newAddr: where(doors, n) };
    }),
  ),
  batches(
    'copy',
    fields({ source: side, dest: side, len: fc.constantFrom(0, 1, 64, 4096, 0xffff) }),
  ),
  batches('transfer', fields({ mfn: gmfn, domid, ref: fc.integer({ min: 12, max: 14 }) })),
  batches('swap', fields({ refA: ref, refB: ref })),
  batches(
    'flush',
    fields({
      devBusAddr: busAddress,
      offset: fc.constantFrom(0, 4095, 4096),
      length: fc.constantFrom(0, 1, 4096),
      op: fc.constantFrom(0, 1, 1, 2, 3, 4),
    }),
  ),
  fields<Operation & { op: 'setup' | 'status' }>({
    op: fc.constantFrom('setup', 'status'),
    nrFrames: fc.nat(5),
    dom: domid,
  }),
  fields<Operation & { op: 'size' | 'version' }>({
    op: fc.constantFrom('size', 'version'),
    dom: domid,
  }),
  fields<Operation & { op: 'set' }>({
    op: fc.constant('set'),
    version: fc.constantFrom(1, 2, 2, 3),
  }),
);
