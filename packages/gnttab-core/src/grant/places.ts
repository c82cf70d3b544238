/**
 * Where each handle's host mapping is, kept in its map track entry. Not in Xen, whose unmap is told the address again and
 * takes any equal mapping; here a grant may be taken back, and then it must be this mapping and no other. So whoever moves
 * or removes a mapping by other means than the unmap of its handle says so here.
 */
import { GNTMAP_host_map } from '../abi/grant-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { maptrackEntryOf, nrMaptrackEntries } from './maptrack.ts';
import { MAPTRACK_revoked, maptrackEntry, NO_PLACE } from './structs.ts';

const { ref: REF, flags: FLAGS, place: PLACE } = maptrackEntry.offset;

/** The handle has a host mapping as its granter allowed it. */
export const hasHostMapping = ({ machine }: Domain, entry: number): boolean =>
  (machine.u8[entry + FLAGS]! & (GNTMAP_host_map | MAPTRACK_revoked)) === GNTMAP_host_map;

/**
 * The mapping at `from` is now at `to`, NO_PLACE if nowhere: whoever has it, save the handle `except`, is told. Takes as
 * long as the domain has handles.
 */
export function movePlace(domain: Domain, from: number, to: number, except?: number): void {
  if (from === NO_PLACE) return;
  const { u8, u32 } = domain.machine;
  for (let handle = 0; handle < nrMaptrackEntries(domain); handle++) {
    const entry = maptrackEntryOf(domain, handle);
    const flags = u8[entry + FLAGS]!;
    const there = (flags & GNTMAP_host_map) !== 0 && u32[(entry + PLACE) >>> 2] === from;
    if (!there || handle === except) continue;
    u32[(entry + PLACE) >>> 2] = to;
    // Of a private copy nothing is left then, and its frame may be anybody's.
    if (to === NO_PLACE && (flags & MAPTRACK_revoked) !== 0) u32[(entry + REF) >>> 2] = INVALID_MFN;
  }
}
