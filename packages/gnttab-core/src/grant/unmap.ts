/** GNTTABOP_unmap_grant_ref and GNTTABOP_unmap_and_replace (grant_table.h). */
import {
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_dev_addr,
  GNTST_bad_domain,
  GNTST_bad_handle,
  GNTST_okay,
} from '../abi/grant-table.ts';
import { COUNTER } from '../machine/counters.ts';
import { putPageFor } from '../machine/frame-table.ts';
import type { Domain } from '../machine/machine.ts';
import { PAGE_SIZE } from '../machine/page.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { ACT } from './active.ts';
import { hostPlace, replaceHostMapping } from './host-mapping.ts';
import { granterOf, maptrackEntryOf, nrMaptrackEntries, putMaptrackHandle } from './maptrack.ts';
import { movePlace } from './places.ts';
import { dropPins } from './release.ts';
import { unmapRevoked } from './revoke.ts';
import { MAPTRACK_revoked, maptrackEntry, NO_PLACE } from './structs.ts';
import { activeEntryAcquire, activeEntryRelease } from './table.ts';

const { frame: FRAME } = ACT;

/** struct gnttab_unmap_grant_ref. An address of zero leaves that half of the mapping alone. */
export class GnttabUnmapGrantRef {
  hostAddr = 0;
  devBusAddr = 0;
  handle = 0;
  status = 0;
}

/** struct gnttab_unmap_and_replace: the mapping of `newAddr` takes the place of the one at `hostAddr`. */
export class GnttabUnmapAndReplace {
  hostAddr = 0;
  newAddr = 0;
  handle = 0;
  status = 0;
}

const { ref: REF, flags: FLAGS, domid: DOMID, place: PLACE } = maptrackEntry.offset;
const HALVES = GNTMAP_host_map | GNTMAP_device_map;

/** Destroys the halves of a mapping that the addresses name; the handle is free when none is left. */
export function unmapGrantRef(mapper: Domain, op: GnttabUnmapGrantRef): void {
  op.status = unmap(mapper, op.handle, op.hostAddr, op.devBusAddr, 0);
}

/** The same for the host half; the page table entry of `newAddr` is moved to where it was. */
export function unmapAndReplace(mapper: Domain, op: GnttabUnmapAndReplace): void {
  op.status = unmap(mapper, op.handle, op.hostAddr, 0, op.newAddr);
}

function unmap(
  mapper: Domain,
  handle: number,
  hostAddr: number,
  devBusAddr: number,
  newAddr: number,
): number {
  const { machine } = mapper;
  let dom = 0;
  let ref = 0;
  let status = GNTST_bad_handle as number;
  if (handle < nrMaptrackEntries(mapper)) {
    const entry = maptrackEntryOf(mapper, handle);
    dom = machine.u16[(entry + DOMID) >>> 1]!;
    ref = machine.u32[(entry + REF) >>> 2]!;
    status = unmapEntry(mapper, handle, entry, hostAddr, devBusAddr, newAddr);
  }
  machine.reap();
  if (status === GNTST_okay) mapper.count(COUNTER.unmaps);
  machine.trace.emit(TRACE.unmapGrantRef, mapper.id, dom, ref, handle, status);
  return status;
}

function unmapEntry(
  mapper: Domain,
  handle: number,
  entry: number,
  hostAddr: number,
  devBusAddr: number,
  newAddr: number,
): number {
  const { machine } = mapper;
  const { u8, u32 } = machine;
  const mode = u8[entry + FLAGS]!;
  if (mode === 0) return GNTST_bad_handle;
  if ((mode & MAPTRACK_revoked) !== 0) {
    return unmapRevoked(mapper, handle, entry, hostAddr, devBusAddr, newAddr);
  }
  const ref = u32[(entry + REF) >>> 2]!;
  const granter = granterOf(mapper, entry);
  if (granter === undefined) return GNTST_bad_domain;
  const active = activeEntryAcquire(granter, ref);
  if (active === 0) return GNTST_bad_handle;
  // Another thread may have freed the entry before we had its lock.
  const flags = u8[entry + FLAGS]!;
  const same =
    flags !== 0 &&
    (flags & MAPTRACK_revoked) === 0 &&
    granterOf(mapper, entry) === granter &&
    u32[(entry + REF) >>> 2] === ref;
  const place = hostAddr === 0 ? NO_PLACE : hostPlace(mapper, hostAddr, flags);
  const released = same
    ? releaseHalves(mapper, active, flags, hostAddr !== 0, place, devBusAddr, newAddr)
    : GNTST_bad_handle;
  if (released > 0) {
    if ((released & GNTMAP_host_map) !== 0) notePlace(mapper, entry, handle, place, newAddr);
    dropPins(granter, ref, active, released | (flags & GNTMAP_readonly));
    const left = flags & ~released;
    const gone = (left & HALVES) === 0;
    u8[entry + FLAGS] = gone ? 0 : left;
    if (gone) putMaptrackHandle(mapper, handle);
  }
  activeEntryRelease(granter, active);
  if (granter.isDying) machine.emptied.push(granter);
  return released > 0 ? GNTST_okay : released;
}

/** The mapping at `place` went, which may have been another's than the handle's; or that of `newAddr` is there now. */
function notePlace(
  mapper: Domain,
  entry: number,
  handle: number,
  place: number,
  newAddr: number,
): void {
  const own = mapper.machine.u32[(entry + PLACE) >>> 2]!;
  if (own !== place) movePlace(mapper, place, own, handle);
  if (newAddr !== 0) movePlace(mapper, hostPlace(mapper, newAddr, GNTMAP_host_map), place, handle);
}

/** Takes the mappings away that are named: GNTMAP_* of the halves that went, or a status. All or nothing. `place` is that of
 * the host address, if one is named. */
function releaseHalves(
  mapper: Domain,
  active: number,
  flags: number,
  named: boolean,
  place: number,
  devBusAddr: number,
  newAddr: number,
): number {
  const { machine } = mapper;
  const frame = machine.u32[(active + FRAME) >>> 2]!;
  const device = devBusAddr !== 0 ? flags & GNTMAP_device_map : 0;
  const host = named ? flags & GNTMAP_host_map : 0;
  if (device !== 0 && devBusAddr !== frame * PAGE_SIZE) return GNTST_bad_dev_addr;
  if (host !== 0) {
    const status = replaceHostMapping(mapper, place, frame, newAddr, flags);
    if (status !== GNTST_okay) return status;
  }
  if (device !== 0) putPageFor(machine, frame, (flags & GNTMAP_readonly) === 0);
  return host | device;
}
