/**
 * Taking back a grant that is in use. grant_table.h, "Invalidating an in-use GTF_permit_access entry": "This cannot be done
 * directly. Request assistance from the domain controller which can set a timeout on the use of a grant entry and take
 * necessary action. (NB. This is not yet implemented!)". Here it is; in Xen it is not.
 */
import {
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GTF_accept_transfer,
  GTF_type_mask,
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
import { ACT, pinIncrement } from './active.ts';
import { isMappedAt, retargetHostMapping } from './host-mapping.ts';
import { granterOf, maptrackEntryOf, nrMaptrackEntries } from './maptrack.ts';
import { reduceStatusForPin } from './status.ts';
import { MAPTRACK_revoked, maptrackEntry, NO_PLACE } from './structs.ts';
import { activeEntryAcquire, activeEntryRelease, sharedEntryOf, statusWordOf } from './table.ts';

/**
 * What the mapper finds afterwards where the page was: nothing, so that it faults; or a copy of the page as it was at
 * that moment, which nobody else sees.
 */
export type AfterRevocation = 'fault' | 'private-copy';

const { ref: REF, flags: FLAGS, place: PLACE } = maptrackEntry.offset;
const HALVES = GNTMAP_host_map | GNTMAP_device_map;

/**
 * Closes a grant, so that no use of it begins any more, and puts a limit on the present one. Returns its number, which is
 * void once the last pin is gone; 0 if the grant is not in use. More mappings may join a use that goes on: they are part
 * of it. Its granter may grant anew by the same reference, and that is another use.
 */
export function limitUse(granter: Domain, ref: number): number {
  const active = activeEntryAcquire(granter, ref);
  if (active === 0) return 0;
  const { u16, u32 } = granter.machine;
  const used = u32[(active + ACT.pin) >>> 2] !== 0;
  let limit = 0;
  if (used) {
    limit = u16[(active + ACT.limit) >>> 1]!;
    // Its first limit counts: a later one does not lift it.
    if (limit === 0)
      limit = (Atomics.add(u32, machineHeader.offset.grant_limits >>> 2, 1) % 0xffff) + 1;
    u16[(active + ACT.limit) >>> 1] = limit;
  }
  closeEntry(granter, ref, used);
  activeEntryRelease(granter, active);
  return limit;
}

/**
 * The entry permits nothing any more. In use it keeps its other flags: with GTF_readonly gone a reader could get to write.
 * One that accepts a transfer is no use of a page of its granter's, and stays.
 */
function closeEntry(granter: Domain, ref: number, used: boolean): void {
  const { native } = granter.machine;
  const shared = sharedEntryOf(granter, ref);
  if ((native.load(shared) & GTF_type_mask) === GTF_accept_transfer) return;
  native.and16(shared, used ? ~GTF_type_mask & 0xffff : 0);
}

/**
 * The limit is over: if the grant is still in the same use it is taken back. All its mappings end, and their pins; once
 * there are no others its entry is invalid, and its granter may reuse the page. A copy under way has a pin of its own, as
 * long as its hypercall lasts. Returns the mappings that ended; 0 if the use was over before. Handles stay good for the
 * unmap that their owner will make.
 */
export function revokeUse(
  granter: Domain,
  ref: number,
  limit: number,
  then: AfterRevocation,
): number {
  const { machine } = granter;
  const { u16, u32 } = machine;
  const active = activeEntryAcquire(granter, ref);
  if (active === 0) return 0;
  const pin = u32[(active + ACT.pin) >>> 2]!;
  let ended = 0;
  if (pin !== 0 && u16[(active + ACT.limit) >>> 1] === limit) {
    const dom = u16[(active + ACT.domid) >>> 1]!;
    const mapper = machine.domainById(dom);
    const frame = u32[(active + ACT.frame) >>> 2]!;
    const over = mapper === undefined ? NONE : endMappings(mapper, granter, ref, frame, then);
    ended = over.mappings;
    const left = pin - over.pins;
    u32[(active + ACT.pin) >>> 2] = left;
    reduceStatusForPin(machine, statusWordOf(granter, ref), left, false);
    closeEntry(granter, ref, left !== 0);
    if (ended > 0) {
      granter.count(COUNTER.revocations);
      machine.trace.emit(TRACE.grantRevoke, granter.id, ref, dom, ended, then === 'fault' ? 0 : 1);
    }
  }
  activeEntryRelease(granter, active);
  machine.reap();
  return ended;
}

/** What ended: mappings, and their pins as they are added up in an active entry. */
interface Ended {
  mappings: number;
  pins: number;
}
const NONE: Readonly<Ended> = { mappings: 0, pins: 0 };

function endMappings(
  mapper: Domain,
  granter: Domain,
  ref: number,
  frame: number,
  then: AfterRevocation,
): Ended {
  const { machine } = mapper;
  const { u8, u32 } = machine;
  const copy = then === 'private-copy' ? privateCopy(mapper, frame) : INVALID_MFN;
  const ended = { mappings: 0, pins: 0 };
  for (let handle = 0; handle < nrMaptrackEntries(mapper); handle++) {
    const entry = maptrackEntryOf(mapper, handle);
    const ours = isLive(mapper, entry) && u32[(entry + REF) >>> 2] === ref;
    if (!ours || granterOf(mapper, entry) !== granter) continue;
    const flags = u8[entry + FLAGS]!;
    const writable = (flags & GNTMAP_readonly) === 0;
    const host = (flags & GNTMAP_host_map) !== 0;
    const shown = host ? endHostMapping(mapper, entry, frame, copy, writable) : INVALID_MFN;
    if ((flags & GNTMAP_device_map) !== 0) putPageFor(machine, frame, writable);
    u32[(entry + REF) >>> 2] = shown;
    u8[entry + FLAGS] = flags | MAPTRACK_revoked;
    ended.mappings += 1;
    ended.pins += pinIncrement(flags);
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

/** The host mapping of a handle shows the copy from now on, or nothing: INVALID_MFN. Returns which. */
function endHostMapping(
  mapper: Domain,
  entry: number,
  frame: number,
  copy: number,
  writable: boolean,
): number {
  const { machine } = mapper;
  const place = machine.u32[(entry + PLACE) >>> 2]!;
  // Overwritten by its owner: the reference went then, and only the pin was left. What else maps the frame is not it.
  const there = isMappedAt(mapper, place, frame, !writable);
  const has = there && copy !== INVALID_MFN && getPageFor(machine, copy, mapper.id, writable);
  const shown = has ? copy : INVALID_MFN;
  if (there) retargetHostMapping(mapper, place, shown);
  if (!has) machine.u32[(entry + PLACE) >>> 2] = NO_PLACE;
  return shown;
}
