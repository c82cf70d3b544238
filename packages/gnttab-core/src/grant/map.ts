/** GNTTABOP_map_grant_ref (grant_table.h): map another domain's grant for the host, for devices, or both. */
import {
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_no_space,
  GNTST_okay,
} from '../abi/grant-table.ts';
import { COUNTER } from '../machine/counters.ts';
import type { Domain } from '../machine/machine.ts';
import { getPageFor, ownerOf, putPageFor } from '../machine/frame-table.ts';
import { PAGE_SIZE } from '../machine/page.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { frameNamed } from './frames.ts';
import { createHostMapping } from './host-mapping.ts';
import { fillMaptrack, getMaptrackHandle, putMaptrackHandle } from './maptrack.ts';
import { reduceStatusForPin, setStatusV1 } from './status.ts';
import {
  activeEntry,
  GNTPIN_devr_inc,
  GNTPIN_devw_inc,
  GNTPIN_hstr_inc,
  GNTPIN_hstw_inc,
  GNTPIN_writers,
  MAPTRACK_TAIL,
  overflowMask,
} from './structs.ts';
import { activeEntryAcquire, activeEntryRelease, sharedEntryV1 } from './table.ts';

/** struct gnttab_map_grant_ref. A failed map leaves `handle` and `devBusAddr` alone. */
export class GnttabMapGrantRef {
  hostAddr = 0;
  /** GNTMAP_* */
  flags = 0;
  ref = 0;
  dom = 0;
  status = 0;
  handle = 0;
  devBusAddr = 0;
}

const {
  pin: PIN,
  domid: DOMID,
  frame: FRAME,
  gfn: GFN,
  start: START,
  length: LENGTH,
} = activeEntry.offset;
const {
  is_sub_page: IS_SUB_PAGE,
  trans_domid: TRANS_DOMID,
  trans_gref: TRANS_GREF,
} = activeEntry.offset;
const trackedFlags = GNTMAP_device_map | GNTMAP_host_map | GNTMAP_readonly;

/** Maps one grant; the result is in `op.status`, the handle in `op.handle`. */
export function mapGrantRef(mapper: Domain, op: GnttabMapGrantRef): void {
  op.status = check(mapper, op);
  if (op.status === GNTST_okay) mapper.count(COUNTER.maps);
  mapper.machine.trace.emit(
    TRACE.mapGrantRef,
    mapper.id,
    op.dom,
    op.ref,
    op.handle,
    op.status,
    op.flags,
  );
}

/** The order of the checks is the genuine one: flags, domain, handle, and then the entry. */
function check(mapper: Domain, op: GnttabMapGrantRef): number {
  if ((op.flags & (GNTMAP_device_map | GNTMAP_host_map)) === 0) return GNTST_bad_gntref;
  const pvOnly = GNTMAP_device_map | GNTMAP_application_map | GNTMAP_contains_pte;
  if (mapper.translated && (op.flags & pvOnly) !== 0) return GNTST_general_error;
  const granter = mapper.machine.domainById(op.dom);
  if (granter === undefined) return GNTST_bad_domain;
  const handle = getMaptrackHandle(mapper);
  if (handle === MAPTRACK_TAIL) return GNTST_no_space;

  let status = GNTST_bad_gntref as number;
  const active = activeEntryAcquire(granter, op.ref);
  if (active !== 0) {
    status = mapActive(mapper, granter, active, op);
    if (status === GNTST_okay) {
      fillMaptrack(mapper, handle, granter, op.ref, op.flags & trackedFlags);
      op.handle = handle;
    }
    activeEntryRelease(granter, active);
  }
  if (status !== GNTST_okay) putMaptrackHandle(mapper, handle);
  return status;
}

/** With the active entry locked: pins the grant and makes the mappings. */
function mapActive(mapper: Domain, granter: Domain, active: number, op: GnttabMapGrantRef): number {
  const { machine } = mapper;
  const { u16, u32 } = machine.heap;
  const readonly = (op.flags & GNTMAP_readonly) !== 0;
  const host =
    (op.flags & GNTMAP_host_map) !== 0 ? (readonly ? GNTPIN_hstr_inc : GNTPIN_hstw_inc) : 0;
  const device =
    (op.flags & GNTMAP_device_map) !== 0 ? (readonly ? GNTPIN_devr_inc : GNTPIN_devw_inc) : 0;
  const pin = u32[(active + PIN) >>> 2]!;
  if (pin !== 0) {
    const other = u16[(active + DOMID) >>> 1] !== mapper.id;
    const full = (pin & overflowMask(host + device)) !== 0;
    if (other || full || u16[(active + IS_SUB_PAGE) >>> 1] !== 0) return GNTST_general_error;
  }
  const shared = sharedEntryV1(granter, op.ref);
  // While an entry is pinned, what was checked at its first pin holds, whatever the guest has written since.
  if (pin === 0 || (!readonly && (pin & GNTPIN_writers) === 0)) {
    const status = setStatusV1(machine, shared, active, mapper.id, readonly, true);
    if (status !== GNTST_okay) return status;
    if (pin === 0) {
      const found = pinFrame(granter, active, u32[(shared + 4) >>> 2]!, mapper.id);
      if (found !== GNTST_okay) {
        reduceStatusForPin(machine, shared, active, readonly);
        return found;
      }
    }
  }
  const frame = u32[(active + FRAME) >>> 2]!;
  u32[(active + PIN) >>> 2] = pin + host + device;
  const status = makeMappings(mapper, granter, frame, op, readonly);
  if (status !== GNTST_okay) {
    u32[(active + PIN) >>> 2] = pin;
    reduceStatusForPin(machine, shared, active, readonly);
    return status;
  }
  op.devBusAddr = frame * PAGE_SIZE;
  return GNTST_okay;
}

/**
 * Records in the active entry which frame the grant stands for. The pin itself is no reference to the frame: each
 * mapping, and each copy under way, takes its own, and is refused should the frame have changed hands meanwhile.
 */
export function pinFrame(granter: Domain, active: number, granted: number, domid: number): number {
  const { machine } = granter;
  const frame = frameNamed(granter, granted);
  if (ownerOf(machine, frame) !== granter.id) return GNTST_bad_page;
  const { u16, u32 } = machine.heap;
  u16[(active + DOMID) >>> 1] = domid;
  u32[(active + FRAME) >>> 2] = frame;
  u32[(active + GFN) >>> 2] = granted;
  u16[(active + START) >>> 1] = 0;
  u16[(active + LENGTH) >>> 1] = PAGE_SIZE;
  u16[(active + IS_SUB_PAGE) >>> 1] = 0;
  u16[(active + TRANS_DOMID) >>> 1] = granter.id;
  u32[(active + TRANS_GREF) >>> 2] = 0;
  return GNTST_okay;
}

/** Takes the references of each half (host, device) and puts the host mapping in place. */
function makeMappings(
  mapper: Domain,
  granter: Domain,
  frame: number,
  op: GnttabMapGrantRef,
  readonly: boolean,
): number {
  const { machine } = mapper;
  const host = (op.flags & GNTMAP_host_map) !== 0;
  const both = host && (op.flags & GNTMAP_device_map) !== 0;
  if (!getPageFor(machine, frame, granter.id, !readonly)) return GNTST_general_error;
  if (!both || getPageFor(machine, frame, granter.id, !readonly)) {
    const status = host ? createHostMapping(mapper, op.hostAddr, frame, op.flags) : GNTST_okay;
    if (status === GNTST_okay) return status;
    if (both) putPageFor(machine, frame, !readonly);
  }
  putPageFor(machine, frame, !readonly);
  return GNTST_general_error;
}
