/** GNTTABOP_unmap_grant_ref and GNTTABOP_unmap_and_replace (grant_table.h). */
import {
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_dev_addr,
  GNTST_bad_domain,
  GNTST_bad_handle,
  GNTST_general_error,
  GNTST_okay,
} from '../abi/grant-table.ts';
import { COUNTER } from '../machine/counters.ts';
import { putPageFor } from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { PAGE_SIZE } from '../machine/page.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { ACT } from './active.ts';
import { donorPlace, hostPlace, replaceHostMapping } from './host-mapping.ts';
import { granterOf, maptrackEntryOf, nrMaptrackEntries, putMaptrackHandle } from './maptrack.ts';
import { movePlace } from './places.ts';
import { dropPins } from './release.ts';
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
  if (handle >>> 0 === handle && handle < nrMaptrackEntries(mapper)) {
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
  const released = same
    ? releaseHalves(mapper, handle, entry, active, hostAddr, devBusAddr, newAddr)
    : GNTST_bad_handle;
  if (released > 0) {
    dropPins(granter, ref, active, released | (flags & GNTMAP_readonly));
    forgetHalves(mapper, handle, entry, released);
  }
  activeEntryRelease(granter, active);
  if (granter.isDying) machine.emptied.push(granter);
  return released > 0 ? GNTST_okay : released;
}

/** Takes the mappings away that are named: GNTMAP_* of the halves that went, or a status. All or nothing. */
function releaseHalves(
  mapper: Domain,
  handle: number,
  entry: number,
  active: number,
  hostAddr: number,
  devBusAddr: number,
  newAddr: number,
): number {
  const { machine } = mapper;
  const flags = machine.u8[entry + FLAGS]!;
  const frame = machine.u32[(active + FRAME) >>> 2]!;
  const device = devBusAddr !== 0 ? flags & GNTMAP_device_map : 0;
  const host = hostAddr !== 0 ? flags & GNTMAP_host_map : 0;
  if (device !== 0 && devBusAddr !== frame * PAGE_SIZE) return GNTST_bad_dev_addr;
  if (host !== 0) {
    const status = releaseHost(mapper, handle, entry, frame, hostAddr, newAddr);
    if (status !== GNTST_okay) return status;
  }
  if (device !== 0) putPageFor(machine, frame, (flags & GNTMAP_readonly) === 0);
  return host | device;
}

/** What was taken back has no pins, and of a device half nothing is left: the private copy goes, if there is one. */
function unmapRevoked(
  mapper: Domain,
  handle: number,
  entry: number,
  hostAddr: number,
  devBusAddr: number,
  newAddr: number,
): number {
  const { u8, u32 } = mapper.machine;
  const flags = u8[entry + FLAGS]!;
  const device = devBusAddr !== 0 ? flags & GNTMAP_device_map : 0;
  const host = hostAddr !== 0 ? flags & GNTMAP_host_map : 0;
  if (host !== 0) {
    const copy = u32[(entry + REF) >>> 2]!;
    const status = releaseHost(mapper, handle, entry, copy, hostAddr, newAddr);
    if (status !== GNTST_okay) return status;
    u32[(entry + REF) >>> 2] = INVALID_MFN;
  }
  forgetHalves(mapper, handle, entry, host | device);
  return GNTST_okay;
}

/**
 * Takes the mapping of `frame` away from `hostAddr`, INVALID_MFN if there is none any more. That may have been another
 * handle's than this one's, and the entry of `newAddr` may be some handle's: they are told.
 */
function releaseHost(
  mapper: Domain,
  handle: number,
  entry: number,
  frame: number,
  hostAddr: number,
  newAddr: number,
): number {
  const { u8, u32 } = mapper.machine;
  const flags = u8[entry + FLAGS]!;
  const place = hostPlace(mapper, hostAddr, flags);
  const donor = newAddr === 0 ? NO_PLACE : donorPlace(mapper, newAddr, flags);
  if (newAddr !== 0 && donor === NO_PLACE) return GNTST_general_error;
  const own = u32[(entry + PLACE) >>> 2]!;
  const status = replaceHostMapping(mapper, place, frame, donor, flags);
  const done = status === GNTST_okay;
  if (done && frame !== INVALID_MFN && own !== place) movePlace(mapper, place, own, handle);
  if (donor !== NO_PLACE) movePlace(mapper, donor, done ? place : NO_PLACE);
  return status;
}

/** Halves of a mapping are gone; with the last the handle is free. */
function forgetHalves(mapper: Domain, handle: number, entry: number, halves: number): void {
  const { u8 } = mapper.machine;
  const left = u8[entry + FLAGS]! & ~halves;
  const gone = (left & HALVES) === 0;
  u8[entry + FLAGS] = gone ? 0 : left;
  if (gone) putMaptrackHandle(mapper, handle);
}
