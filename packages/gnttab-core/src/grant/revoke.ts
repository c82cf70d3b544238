/**
 * Taking back a grant that is in use. grant_table.h, "Invalidating an in-use GTF_permit_access entry": "This cannot be done
 * directly. Request assistance from the domain controller which can set a timeout on the use of a grant entry and take
 * necessary action. (NB. This is not yet implemented!)". Here it is; in Xen it is not.
 */
import {
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_okay,
  GTF_reading,
  GTF_writing,
} from '../abi/grant-table.ts';
import { COUNTER } from '../machine/counters.ts';
import {
  allocPrivateCopy,
  getPageFor,
  putPageFor,
  releaseAllocation,
} from '../machine/frame-table.ts';
import { INVALID_MFN, machineHeader } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { frameAddress, PAGE_SIZE } from '../machine/page.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { ACT } from './active.ts';
import {
  findHostMapping,
  hostPlace,
  isMappedAt,
  replaceHostMapping,
  retargetHostMapping,
} from './host-mapping.ts';
import { granterOf, maptrackEntryOf, nrMaptrackEntries, putMaptrackHandle } from './maptrack.ts';
import { hasHostMapping } from './places.ts';
import { MAPTRACK_revoked, maptrackEntry } from './structs.ts';
import { activeEntryAcquire, activeEntryRelease, sharedEntryOf, statusWordOf } from './table.ts';

/**
 * What the mapper finds afterwards where the page was: nothing, so that it faults; or a copy of the page as it was at
 * that moment, which nobody else sees.
 */
export type AfterRevocation = 'fault' | 'private-copy';

const { ref: REF, flags: FLAGS, place: PLACE } = maptrackEntry.offset;
const HALVES = GNTMAP_host_map | GNTMAP_device_map;

/**
 * Puts a limit on the present use of a grant and returns its number, which is void once the last pin is gone; 0 if the
 * grant is not in use.
 */
export function limitUse(granter: Domain, ref: number): number {
  const active = activeEntryAcquire(granter, ref);
  if (active === 0) return 0;
  const { u16, u32 } = granter.machine;
  let limit = 0;
  if (u32[(active + ACT.pin) >>> 2] !== 0) {
    limit = u16[(active + ACT.limit) >>> 1]!;
    // Its first limit counts: a later one does not lift it.
    if (limit === 0)
      limit = (Atomics.add(u32, machineHeader.offset.grant_limits >>> 2, 1) % 0xffff) + 1;
    u16[(active + ACT.limit) >>> 1] = limit;
  }
  activeEntryRelease(granter, active);
  return limit;
}

/**
 * The limit is over: if the grant is still in the same use it is taken back. All its mappings end, its entry becomes
 * invalid, and its granter may reuse the page. Returns the mappings that ended; 0 if the use was over before. Handles
 * stay good for the unmap that their owner will make.
 */
export function revokeUse(
  granter: Domain,
  ref: number,
  limit: number,
  then: AfterRevocation,
): number {
  const { machine } = granter;
  const { native } = machine;
  const { u16, u32 } = machine;
  const active = activeEntryAcquire(granter, ref);
  if (active === 0) return 0;
  const used = u32[(active + ACT.pin) >>> 2] !== 0;
  let ended = 0;
  if (used && u16[(active + ACT.limit) >>> 1] === limit) {
    const dom = u16[(active + ACT.domid) >>> 1]!;
    const mapper = machine.domainById(dom);
    const frame = u32[(active + ACT.frame) >>> 2]!;
    if (mapper !== undefined) ended = endMappings(mapper, granter, ref, frame, then);
    // Every pin was a mapping's: copies are over when their hypercall is.
    u32[(active + ACT.pin) >>> 2] = 0;
    native.and16(sharedEntryOf(granter, ref), 0);
    native.and16(statusWordOf(granter, ref), ~(GTF_reading | GTF_writing) & 0xffff);
    granter.count(COUNTER.revocations);
    machine.trace.emit(TRACE.grantRevoke, granter.id, ref, dom, ended, then === 'fault' ? 0 : 1);
  }
  activeEntryRelease(granter, active);
  machine.reap();
  return ended;
}

function endMappings(
  mapper: Domain,
  granter: Domain,
  ref: number,
  frame: number,
  then: AfterRevocation,
): number {
  const { machine } = mapper;
  const { u8, u32 } = machine;
  const copy = then === 'private-copy' ? privateCopy(mapper, frame) : INVALID_MFN;
  let ended = 0;
  for (let handle = 0; handle < nrMaptrackEntries(mapper); handle++) {
    const entry = maptrackEntryOf(mapper, handle);
    const ours = isLive(mapper, entry) && u32[(entry + REF) >>> 2] === ref;
    if (!ours || granterOf(mapper, entry) !== granter) continue;
    const flags = u8[entry + FLAGS]!;
    const writable = (flags & GNTMAP_readonly) === 0;
    if ((flags & GNTMAP_host_map) !== 0) endHostMapping(mapper, entry, frame, copy, writable);
    if ((flags & GNTMAP_device_map) !== 0) putPageFor(machine, frame, writable);
    u32[(entry + REF) >>> 2] = copy;
    u8[entry + FLAGS] = flags | MAPTRACK_revoked;
    ended += 1;
  }
  // From here on its mappings alone keep the copy.
  if (copy !== INVALID_MFN) releaseAllocation(machine, copy);
  return ended;
}

const isLive = ({ machine }: Domain, entry: number): boolean => {
  const flags = machine.u8[entry + FLAGS]!;
  return (flags & HALVES) !== 0 && (flags & MAPTRACK_revoked) === 0;
};

/** A frame of Xen's with the same bytes that only the mapper may map; INVALID_MFN without memory: then it faults. */
function privateCopy(mapper: Domain, frame: number): number {
  const { machine } = mapper;
  const copy = allocPrivateCopy(mapper);
  if (copy !== INVALID_MFN) {
    machine.copyBytes(frameAddress(copy), frameAddress(frame), PAGE_SIZE);
  }
  return copy;
}

/** The host mapping of a handle shows the copy from now on, or nothing. */
function endHostMapping(
  mapper: Domain,
  entry: number,
  frame: number,
  copy: number,
  writable: boolean,
): void {
  const { machine } = mapper;
  let place = machine.u32[(entry + PLACE) >>> 2]!;
  // Not there: then it may be another that nobody claims, as unmap accepts any equal one for a handle.
  if (!isMappedAt(mapper, place, frame, !writable)) {
    place = findHostMapping(mapper, frame, !writable, placesOf(mapper, entry));
  }
  // Overwritten by its owner: the reference went then, and only the pin was left.
  if (place < 0) return;
  const has = copy !== INVALID_MFN && getPageFor(machine, copy, mapper.id, writable);
  retargetHostMapping(mapper, place, has ? copy : INVALID_MFN);
}

/** Places of the domain's other mappings. */
function placesOf(mapper: Domain, except: number): Set<number> {
  const places = new Set<number>();
  for (let handle = 0; handle < nrMaptrackEntries(mapper); handle++) {
    const entry = maptrackEntryOf(mapper, handle);
    if (entry === except || !hasHostMapping(mapper, entry)) continue;
    places.add(mapper.machine.u32[(entry + PLACE) >>> 2]!);
  }
  return places;
}

/** Unmaps what was taken back: the private copy, or nothing. The caller's handle is over like any other. */
export function unmapRevoked(
  mapper: Domain,
  handle: number,
  entry: number,
  hostAddr: number,
  devBusAddr: number,
  newAddr: number,
): number {
  const { u8, u32 } = mapper.machine;
  const flags = u8[entry + FLAGS]!;
  const copy = u32[(entry + REF) >>> 2]!;
  const host = hostAddr !== 0 ? flags & GNTMAP_host_map : 0;
  const device = devBusAddr !== 0 ? flags & GNTMAP_device_map : 0;
  if (host !== 0 && copy !== INVALID_MFN) {
    const place = hostPlace(mapper, hostAddr, flags);
    const status = replaceHostMapping(mapper, place, copy, newAddr, flags);
    if (status !== GNTST_okay) return status;
  }
  const left = flags & ~(host | device);
  const gone = (left & HALVES) === 0;
  u8[entry + FLAGS] = gone ? 0 : left;
  if (gone) putMaptrackHandle(mapper, handle);
  return GNTST_okay;
}
