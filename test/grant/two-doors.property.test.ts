/** The typed door and the binary door lead to the same: statuses, results and memory, under both ABIs. */
import { Hypercalls } from '@ringside/gnttab-core';
import {
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_readonly,
  GTF_sub_page,
} from '@ringside/gnttab-core/abi';
import { grantVersion, nrGrantEntries } from '@ringside/gnttab-core/hypervisor';
import fc from 'fast-check';
import { it } from 'vitest';
import type { BinaryGuest, Kind } from '../hypercall/binary-guest.ts';
import { DOMAINS, gfn, LOOSE, operation, who } from './door-arbitraries.ts';
import { fullPage, subPage } from './entries-v2.ts';
import { runs } from './life-cycle.ts';
import { call, compare, TwoDoors } from './two-doors.ts';

/** What guests do without a hypercall, or without this one. */
type Deed =
  | { deed: 'grant' | 'accept'; ref: number; to: number; gfn: number; flags: number }
  | { deed: 'die' };
const deed: fc.Arbitrary<Deed> = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.record({
      deed: fc.constantFrom('grant', 'grant', 'accept' as const),
      ref: fc.integer({ min: 7, max: 14 }),
      to: who,
      gfn,
      flags: fc.constantFrom(0, 0, GTF_readonly, GTF_sub_page),
    }),
  },
  { weight: 1, arbitrary: fc.record({ deed: fc.constant('die' as const) }) },
);

function perform(doors: TwoDoors, n: number, choice: Deed): void {
  if (choice.deed === 'die') {
    doors.both(n, (guest) => guest.destroy());
    return;
  }
  const { ref, flags } = choice;
  if (choice.deed === 'grant') doors.granted.push({ owner: n, ref, to: choice.to });
  doors.both(n, (guest) => {
    if (!guest.domain.alive || ref >= nrGrantEntries(guest.domain)) return;
    const domid = doors.typed[choice.to]!.id;
    const type = choice.deed === 'grant' ? GTF_permit_access | flags : GTF_accept_transfer;
    const frame = guest.gmfn(choice.gfn);
    const entry = { flags: type, domid, frame };
    if (grantVersion(guest.domain) === 1) guest.entry(ref, type, domid, frame);
    else if (flags === GTF_sub_page) subPage(guest, ref, { ...entry, pageOff: 50, length: 100 });
    else fullPage(guest, ref, entry);
  });
}

const step = fc.record({ who, what: fc.oneof(deed, deed, operation, operation, operation) });

it.each<[string, Kind[]]>([
  [
    'PV, 64 bits',
    [
      ['pv', 'x86_64'],
      ['pv', 'x86_64'],
      ['pv', 'x86_64'],
    ],
  ],
  [
    'PV, 32 bits',
    [
      ['pv', 'i386'],
      ['pv', 'i386'],
      ['pv', 'i386'],
    ],
  ],
  [
    'all kinds',
    [
      ['pv', 'x86_64'],
      ['translated', 'i386'],
      ['pv', 'i386'],
    ],
  ],
  [
    'translated',
    [
      ['translated', 'x86_64'],
      ['translated', 'i386'],
      ['pv', 'x86_64'],
    ],
  ],
])(
  '%s: whatever is called, in whatever order',
  (_, kinds) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80, size: 'max' }), (steps) => {
        const doors = new TwoDoors(kinds);
        for (const n of kinds.keys()) {
          doors.both(n, detach);
          perform(doors, n, { deed: 'grant', ref: 7, to: (n + 1) % DOMAINS, gfn: 0, flags: 0 });
        }
        for (const { who: n, what } of steps) {
          if (typeof what === 'function') call(doors, n, what(doors, n));
          else perform(doors, n, what);
        }
        compare(doors);
      }),
      { numRuns: runs(30) },
    );
  },
  runs(60_000),
);

/** Takes the loose pages of a PV guest out of its direct map. */
function detach(guest: BinaryGuest): void {
  if (guest.domain.translated) return;
  const calls = new Hypercalls(guest.domain);
  for (const page of LOOSE) calls.updateVaMapping(guest.page(page), null, false);
}
