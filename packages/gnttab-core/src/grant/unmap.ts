/** GNTTABOP_unmap_grant_ref (grant_table.h), and the release of all mappings of a domain that dies. */
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
import { destroyHostMapping } from './host-mapping.ts';
import { granterOf, maptrackEntryOf, nrMaptrackEntries, putMaptrackHandle } from './maptrack.ts';
import { reduceStatusForPin } from './status.ts';
import {
  activeEntry,
  GNTPIN_devr_inc,
  GNTPIN_devw_inc,
  GNTPIN_hstr_inc,
  GNTPIN_hstw_inc,
  maptrackEntry,
} from './structs.ts';
import { activeEntryAcquire, activeEntryRelease, sharedEntryV1 } from './table.ts';

/** struct gnttab_unmap_grant_ref. An address of zero leaves that half of the mapping alone. */
export class GnttabUnmapGrantRef {
  hostAddr = 0;
  devBusAddr = 0;
  handle = 0;
  status = 0;
}

const { pin: PIN, frame: FRAME } = activeEntry.offset;
const { ref: REF, flags: FLAGS, domid: DOMID } = maptrackEntry.offset;

/** Destroys the halves of a mapping that the addresses name; the handle is free when none is left. */
export function unmapGrantRef(mapper: Domain, op: GnttabUnmapGrantRef): void {
  const { machine } = mapper;
  let dom = 0;
  let ref = 0;
  if (op.handle >= nrMaptrackEntries(mapper)) op.status = GNTST_bad_handle;
  else {
    const entry = maptrackEntryOf(mapper, op.handle);
    dom = machine.heap.u16[(entry + DOMID) >>> 1]!;
    ref = machine.heap.u32[(entry + REF) >>> 2]!;
    op.status = unmapEntry(mapper, entry, op);
  }
  machine.reap();
  if (op.status === GNTST_okay) mapper.count(COUNTER.unmaps);
  machine.trace.emit(TRACE.unmapGrantRef, mapper.id, dom, ref, op.handle, op.status);
}

function unmapEntry(mapper: Domain, entry: number, op: GnttabUnmapGrantRef): number {
  const { machine } = mapper;
  const { u16, u32 } = machine.heap;
  if (Atomics.load(u16, (entry + FLAGS) >>> 1) === 0) return GNTST_bad_handle;
  const ref = u32[(entry + REF) >>> 2]!;
  const granter = granterOf(mapper, entry);
  if (granter === undefined) return GNTST_bad_domain;
  const active = activeEntryAcquire(granter, ref);
  if (active === 0) return GNTST_bad_handle;
  // Another thread may have freed the entry before we had its lock.
  const flags = Atomics.load(u16, (entry + FLAGS) >>> 1);
  const same =
    flags !== 0 && granterOf(mapper, entry) === granter && u32[(entry + REF) >>> 2] === ref;
  const status = same ? unmapActive(mapper, granter, active, entry, flags, op) : GNTST_bad_handle;
  activeEntryRelease(granter, active);
  if (granter.isDying) machine.emptied.push(granter);
  return status;
}

/** All or nothing: an address that does not fit releases neither half. */
function unmapActive(
  mapper: Domain,
  granter: Domain,
  active: number,
  entry: number,
  flags: number,
  op: GnttabUnmapGrantRef,
): number {
  const { machine } = mapper;
  const { u16, u32 } = machine.heap;
  const frame = u32[(active + FRAME) >>> 2]!;
  const readonly = (flags & GNTMAP_readonly) !== 0;
  const device = op.devBusAddr !== 0 && (flags & GNTMAP_device_map) !== 0;
  const host = op.hostAddr !== 0 && (flags & GNTMAP_host_map) !== 0;
  if (device && op.devBusAddr !== frame * PAGE_SIZE) return GNTST_bad_dev_addr;
  let pin = u32[(active + PIN) >>> 2]!;
  let left = flags;
  if (host) {
    const status = destroyHostMapping(mapper, op.hostAddr, frame, readonly);
    if (status !== GNTST_okay) return status;
    pin -= readonly ? GNTPIN_hstr_inc : GNTPIN_hstw_inc;
    left &= ~GNTMAP_host_map;
  }
  if (device) {
    putPageFor(machine, frame, !readonly);
    pin -= readonly ? GNTPIN_devr_inc : GNTPIN_devw_inc;
    left &= ~GNTMAP_device_map;
  }
  if (!host && !device) return GNTST_okay;
  u32[(active + PIN) >>> 2] = pin;
  const shared = sharedEntryV1(granter, u32[(entry + REF) >>> 2]!);
  reduceStatusForPin(machine, shared, active, readonly);
  const gone = (left & (GNTMAP_host_map | GNTMAP_device_map)) === 0;
  Atomics.store(u16, (entry + FLAGS) >>> 1, gone ? 0 : left);
  if (gone) putMaptrackHandle(mapper, op.handle);
  return GNTST_okay;
}

/**
 * gnttab_release_mappings(): a dying domain's pins on other domains' grants go. Its page table or p2m entries, which
 * hold the frames, are taken apart by whoever destroys its memory.
 */
export function releaseMappings(dying: Domain): void {
  const { machine } = dying;
  const { u16, u32 } = machine.heap;
  for (let handle = 0; handle < nrMaptrackEntries(dying); handle++) {
    const entry = maptrackEntryOf(dying, handle);
    const flags = u16[(entry + FLAGS) >>> 1]!;
    if (flags === 0) continue;
    u16[(entry + FLAGS) >>> 1] = 0;
    const ref = u32[(entry + REF) >>> 2]!;
    const granter = granterOf(dying, entry);
    if (granter === undefined) continue;
    const active = activeEntryAcquire(granter, ref);
    const readonly = (flags & GNTMAP_readonly) !== 0;
    if ((flags & GNTMAP_host_map) !== 0) {
      u32[(active + PIN) >>> 2]! -= readonly ? GNTPIN_hstr_inc : GNTPIN_hstw_inc;
    }
    if ((flags & GNTMAP_device_map) !== 0) {
      u32[(active + PIN) >>> 2]! -= readonly ? GNTPIN_devr_inc : GNTPIN_devw_inc;
      putPageFor(machine, u32[(active + FRAME) >>> 2]!, !readonly);
    }
    reduceStatusForPin(machine, sharedEntryV1(granter, ref), active, readonly);
    activeEntryRelease(granter, active);
    if (granter.isDying) machine.emptied.push(granter);
  }
}
