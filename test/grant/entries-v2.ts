/** Grant entries of version 2 as a guest writes and reads them. */
import { grantEntryV2 } from '@ringside/gnttab-core/abi';
import { sharedEntryOf, statusWordOf } from '@ringside/gnttab-core/hypervisor';
import { expect } from 'vitest';
import type { Actor, Entry } from './world.ts';

/** A domain, whoever wraps it. */
type Bare = Pick<Actor, 'domain' | 'machine'>;

const entryAt = ({ domain, machine }: Bare, ref: number) =>
  grantEntryV2.x86_64.cursor().at(machine.heap.view, sharedEntryOf(domain, ref));

/** The domain's table has version 2 from now on. Returns the domain. */
export function version2(actor: Actor): Actor {
  expect(actor.hypercalls.setGrantVersion(2)).toBe(0);
  return actor;
}

/** Writes an entry that grants a whole page, or accepts one. `frame` may have more than 32 bits. */
export function fullPage(actor: Bare, ref: number, { flags, domid, frame }: Entry): void {
  const { hdr, full_page: full } = entryAt(actor, ref);
  hdr.domid = domid;
  full.frame_lo = frame % 2 ** 32;
  full.frame_hi = Math.floor(frame / 2 ** 32);
  hdr.flags = flags;
}

/** Reads an entry as one of a whole page. */
export function seenV2(actor: Bare, ref: number): Entry {
  const { hdr, full_page: full } = entryAt(actor, ref);
  return { flags: hdr.flags, domid: hdr.domid, frame: full.frame_lo + full.frame_hi * 2 ** 32 };
}

/** Writes an entry that grants `length` bytes of a page from `pageOff` on. */
export function subPage(
  actor: Bare,
  ref: number,
  { pageOff, length, ...entry }: Entry & { pageOff: number; length: number },
): void {
  const { sub_page: part } = entryAt(actor, ref);
  part.page_off = pageOff;
  part.length = length;
  fullPage(actor, ref, entry);
}

/** Writes an entry that grants what `transDomid` has granted as `gref`. */
export function transitive(
  actor: Bare,
  ref: number,
  entry: { flags: number; domid: number; transDomid: number; gref: number },
): void {
  const { hdr, transitive: other } = entryAt(actor, ref);
  hdr.domid = entry.domid;
  other.trans_domid = entry.transDomid;
  other.gref = entry.gref;
  hdr.flags = entry.flags;
}

/** The status word of a reference. */
export const statusOf = ({ domain, machine }: Bare, ref: number): number =>
  machine.heap.u16[statusWordOf(domain, ref) >>> 1]!;
