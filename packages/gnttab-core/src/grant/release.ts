/** How pins go: one mapping's, and all of a domain's that dies. */
import { GNTMAP_device_map, GNTMAP_readonly } from '../abi/grant-table.ts';
import { putPageFor } from '../machine/frame-table.ts';
import type { Domain } from '../machine/machine.ts';
import { ACT, pinIncrement } from './active.ts';
import { granterOf, maptrackEntryOf, nrMaptrackEntries } from './maptrack.ts';
import { reduceStatusForPin } from './status.ts';
import { MAPTRACK_revoked, maptrackEntry } from './structs.ts';
import { activeEntryAcquire, activeEntryRelease, statusWordOf } from './table.ts';

const { frame: FRAME, pin: PIN } = ACT;
const { ref: REF, flags: FLAGS } = maptrackEntry.offset;

/** The pins of the halves in `flags` (GNTMAP_*) go, after the mappings: whoever sees the grant free can rely on it. */
export function dropPins(granter: Domain, ref: number, active: number, flags: number): void {
  const { machine } = granter;
  const left = machine.u32[(active + PIN) >>> 2]! - pinIncrement(flags);
  machine.u32[(active + PIN) >>> 2] = left;
  const readonly = (flags & GNTMAP_readonly) !== 0;
  reduceStatusForPin(machine, statusWordOf(granter, ref), left, readonly);
}

/** What is left of a mapping goes with its pins; its host mapping is left to whoever takes care of that. */
export function releaseMaptrackEntry(mapper: Domain, entry: number): void {
  const { machine } = mapper;
  const { u8, u32 } = machine;
  const flags = u8[entry + FLAGS]!;
  u8[entry + FLAGS] = 0;
  const granter = granterOf(mapper, entry);
  if (granter === undefined || (flags & MAPTRACK_revoked) !== 0) return;
  const ref = u32[(entry + REF) >>> 2]!;
  const active = activeEntryAcquire(granter, ref);
  if (active === 0) return;
  if ((flags & GNTMAP_device_map) !== 0) {
    const frame = u32[(active + FRAME) >>> 2]!;
    putPageFor(machine, frame, (flags & GNTMAP_readonly) === 0);
  }
  dropPins(granter, ref, active, flags);
  activeEntryRelease(granter, active);
  if (granter.isDying) machine.emptied.push(granter);
}

/**
 * gnttab_release_mappings(): a dying domain's pins on other domains' grants go. Its page table or p2m entries, which
 * hold the frames, are taken apart by whoever destroys its memory.
 */
export function releaseMappings(dying: Domain): void {
  const { u8 } = dying.machine;
  for (let handle = 0; handle < nrMaptrackEntries(dying); handle++) {
    const entry = maptrackEntryOf(dying, handle);
    if (u8[entry + FLAGS] !== 0) releaseMaptrackEntry(dying, entry);
  }
}
