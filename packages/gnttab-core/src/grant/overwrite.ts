/**
 * Page table entries that a guest overwrites while they map another domain's frame. Xen today drops the frame's reference
 * and keeps the grant's pin (grant_table.h, GNTTABOP_map_grant_ref, note 3). The usage document of 2005 says otherwise: map
 * track entries "are also searched whenever a page table entry containing a foreign frame number is overwritten: the
 * first matching map track entry is then removed, as if unmap had been invoked". Domains with `unmapOnOverwrite` have that.
 */
import { GNTMAP_readonly } from '../abi/grant-table.ts';
import { ownerOf } from '../machine/frame-table.ts';
import { DOMAIN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import type { MachineAddress } from '../machine/page.ts';
import {
  _PAGE_NX_HI,
  _PAGE_PRESENT,
  _PAGE_RW,
  pteFrame,
  pteHi,
  pteLo,
  PTE_SIZE,
  writePte,
} from '../machine/page-table.ts';
import { ACT } from './active.ts';
import { granterOf, maptrackEntryOf, nrMaptrackEntries, putMaptrackHandle } from './maptrack.ts';
import { hasHostMapping, movePlace } from './places.ts';
import { releaseMaptrackEntry } from './release.ts';
import { maptrackEntry, NO_PLACE } from './structs.ts';
import { activeEntryOf } from './table.ts';

const { ref: REF, flags: FLAGS, place: PLACE } = maptrackEntry.offset;

/** A grant's mapping, or a private copy of one, that was in a page table until it was overwritten. */
export interface Overwritten {
  readonly frame: number;
  /** The frame was another domain's: the rule of 2005 knows no others. */
  readonly foreign: boolean;
  readonly readonly: boolean;
  /** See host-mapping.ts, `hostPlace`. */
  readonly place: number;
}

/** A guest writes an entry of its own page table: see writePte. */
export function writeGuestPte(
  domain: Domain,
  address: MachineAddress,
  lo: number,
  hi: number,
  owner = domain,
): boolean {
  const old = grantAt(domain, address / PTE_SIZE);
  if (!writePte(domain, address, lo, hi, owner)) return false;
  if (old !== undefined) noteOverwritten(domain, old);
  return true;
}

/** What a place of a page table maps, if that is somebody's grant; see host-mapping.ts, `hostPlace`. */
export function grantAt(domain: Domain, place: number): Overwritten | undefined {
  if (place === NO_PLACE) return undefined;
  const { machine } = domain;
  const address = place * PTE_SIZE;
  const lo = pteLo(machine, address);
  if ((lo & _PAGE_PRESENT) === 0) return undefined;
  const hi = pteHi(machine, address);
  const frame = pteFrame(lo, hi);
  const foreign = ownerOf(machine, frame) !== domain.id;
  // What a domain maps of its own has no NX, unless it asks for that.
  if (!foreign && !(tracksOwn(domain) && (hi & _PAGE_NX_HI) !== 0)) return undefined;
  return { frame, foreign, readonly: (lo & _PAGE_RW) === 0, place };
}

/** A handle may stand for a frame of the domain's own: it has mapped a grant of its own, or has a private copy. */
const tracksOwn = (domain: Domain): boolean =>
  domain.mapsItself || domain.machine.u32[(domain.base + DOMAIN.private_copies) >>> 2]! > 0;

/** A mapping is gone, and not by unmap. The handle `except` has just been made in its place. */
export function noteOverwritten(domain: Domain, old: Overwritten, except?: number): void {
  const left =
    domain.unmapOnOverwrite && old.foreign ? releaseFirst(domain, old, except) : NO_PLACE;
  movePlace(domain, old.place, left, except);
}

/**
 * gnttab_check_unmap() of old: the first map track entry of the domain's that fits is removed. It may be that of another
 * place, whose mapping is then the overwritten one's handle's: returns it, NO_PLACE if there is none.
 */
function releaseFirst(domain: Domain, old: Overwritten, except?: number): number {
  const { machine } = domain;
  const { u8, u32 } = machine;
  for (let handle = 0; handle < nrMaptrackEntries(domain); handle++) {
    const entry = maptrackEntryOf(domain, handle);
    const readonly = (u8[entry + FLAGS]! & GNTMAP_readonly) !== 0;
    const fits = hasHostMapping(domain, entry) && readonly === old.readonly && handle !== except;
    const granter = fits ? granterOf(domain, entry) : undefined;
    if (granter === undefined) continue;
    const active = activeEntryOf(granter, u32[(entry + REF) >>> 2]!);
    if (u32[(active + ACT.frame) >>> 2] !== old.frame) continue;
    const place = u32[(entry + PLACE) >>> 2]!;
    releaseMaptrackEntry(domain, entry);
    putMaptrackHandle(domain, handle);
    return place;
  }
  return NO_PLACE;
}
