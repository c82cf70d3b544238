/**
 * Where each handle's host mapping is, kept in its map track entry. Not in Xen, whose unmap is told the address again and
 * takes any equal mapping; here a grant may be taken back, and then it must be this mapping and no other.
 */
import { GNTMAP_host_map } from '../abi/grant-table.ts';
import type { Domain } from '../machine/machine.ts';
import { maptrackEntryOf, nrMaptrackEntries } from './maptrack.ts';
import { MAPTRACK_revoked, maptrackEntry } from './structs.ts';

const { flags: FLAGS, place: PLACE } = maptrackEntry.offset;

/** The handle has a host mapping as its granter allowed it. */
export const hasHostMapping = ({ machine }: Domain, entry: number): boolean =>
  (machine.u8[entry + FLAGS]! & (GNTMAP_host_map | MAPTRACK_revoked)) === GNTMAP_host_map;

/**
 * The mapping at `from` is now at `to`, NO_PLACE if nowhere: whoever has it, save the handle `except`, is told. Takes as
 * long as the domain has handles, and is needed only where a mapping goes by other means than the unmap of its handle.
 */
export function movePlace(domain: Domain, from: number, to: number, except?: number): void {
  const { u32 } = domain.machine;
  for (let handle = 0; handle < nrMaptrackEntries(domain); handle++) {
    const entry = maptrackEntryOf(domain, handle);
    const there = u32[(entry + PLACE) >>> 2] === from && hasHostMapping(domain, entry);
    if (there && handle !== except) u32[(entry + PLACE) >>> 2] = to;
  }
}
