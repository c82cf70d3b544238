/** GNTTABOP_map_grant_ref (grant_table.h): map another domain's grant for the host, for devices, or both. */
import {
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_general_error,
  GNTST_no_space,
  GNTST_okay,
} from '../abi/grant-table.ts';
import { COUNTER } from '../machine/counters.ts';
import type { Domain } from '../machine/machine.ts';
import { getPageFor, putPageFor } from '../machine/frame-table.ts';
import { PAGE_SIZE } from '../machine/page.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { ACT, mustCheck, pinIncrement, recordGrant } from './active.ts';
import { grantedFrame, pagedFrame, takePage } from './frames.ts';
import { createHostMapping, hostPlace } from './host-mapping.ts';
import { fillMaptrack, getMaptrackHandle, putMaptrackHandle } from './maptrack.ts';
import { grantAt, noteOverwritten } from './overwrite.ts';
import { FOR_MAP, reduceStatusForPin, setStatus } from './status.ts';
import { MAPTRACK_TAIL, NO_PLACE, overflowMask } from './structs.ts';
import {
  activeEntryAcquire,
  activeEntryRelease,
  grantVersion,
  sharedEntryOf,
  statusWordAt,
} from './table.ts';

const { domid: DOMID, frame: FRAME, is_sub_page: IS_SUB_PAGE, pin: PIN } = ACT;

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

/** What a translated domain has not: an I/O view of its own, applications, page tables that Xen knows. */
const PV_ONLY = GNTMAP_device_map | GNTMAP_application_map | GNTMAP_contains_pte;
/** What the handle remembers. */
const TRACKED = GNTMAP_device_map | GNTMAP_host_map | GNTMAP_readonly | GNTMAP_contains_pte;

/** Maps one grant; the result is in `op.status`, the handle in `op.handle`. The handle is `vcpu`'s. */
export function mapGrantRef(mapper: Domain, op: GnttabMapGrantRef, vcpu = 0): void {
  op.status = check(mapper, op, vcpu);
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
  mapper.machine.reap();
}

/** The order of the checks is the genuine one: flags, domain, handle, and then the entry. */
function check(mapper: Domain, op: GnttabMapGrantRef, vcpu: number): number {
  if ((op.flags & (GNTMAP_device_map | GNTMAP_host_map)) === 0) return GNTST_bad_gntref;
  if (mapper.translated && (op.flags & PV_ONLY) !== 0) return GNTST_general_error;
  const granter = mapper.machine.domainById(op.dom);
  if (granter === undefined) return GNTST_bad_domain;
  const handle = getMaptrackHandle(mapper, vcpu);
  if (handle === MAPTRACK_TAIL) return GNTST_no_space;

  let status = GNTST_bad_gntref as number;
  const place =
    (op.flags & GNTMAP_host_map) === 0 ? NO_PLACE : hostPlace(mapper, op.hostAddr, op.flags);
  const replaced = mapper.translated ? undefined : grantAt(mapper, place);
  const active = activeEntryAcquire(granter, op.ref);
  if (active !== 0) {
    status = mapActive(mapper, granter, active, op, place);
    if (status === GNTST_okay) {
      fillMaptrack(mapper, handle, granter, op.ref, op.flags & TRACKED, place);
      op.handle = handle;
    }
    activeEntryRelease(granter, active);
  }
  if (status !== GNTST_okay) putMaptrackHandle(mapper, handle);
  else if (replaced !== undefined) noteOverwritten(mapper, replaced, handle);
  return status;
}

/** With the active entry locked: pins the grant and makes the mappings. */
function mapActive(
  mapper: Domain,
  granter: Domain,
  active: number,
  op: GnttabMapGrantRef,
  place: number,
): number {
  const { machine } = mapper;
  const { u16, u32 } = machine;
  const readonly = (op.flags & GNTMAP_readonly) !== 0;
  const increment = pinIncrement(op.flags);
  const pin = u32[(active + PIN) >>> 2]!;
  if (pin !== 0) {
    const other = u16[(active + DOMID) >>> 1] !== mapper.id;
    const full = (pin & overflowMask(increment)) !== 0;
    if (other || full || u16[(active + IS_SUB_PAGE) >>> 1] !== 0) return GNTST_general_error;
  }
  const shared = sharedEntryOf(granter, op.ref);
  const word = statusWordAt(granter, op.ref, shared);
  let frame = u32[(active + FRAME) >>> 2]!;
  let gfn = 0;
  if (mustCheck(pin, readonly)) {
    const status = setStatus(machine, shared, word, pin !== 0, mapper.id, readonly, FOR_MAP);
    if (status !== GNTST_okay) return status;
    if (pin === 0) {
      gfn = grantedFrame(machine, shared, grantVersion(granter));
      frame = pagedFrame(granter, gfn);
    }
  }
  let status = frame < 0 ? frame : makeMappings(mapper, granter, frame, op, place);
  if (status === GNTST_okay) {
    if (pin === 0) recordGrant(granter, active, op.ref, mapper.id, frame, gfn);
    u32[(active + PIN) >>> 2] = pin + increment;
    op.devBusAddr = frame * PAGE_SIZE;
  } else {
    // What is pinned was checked when it was: no page is bad then, it cannot be had.
    if (pin !== 0) status = GNTST_general_error;
    reduceStatusForPin(machine, word, pin, readonly);
  }
  return status;
}

/** Takes the references of each half (host, device) and puts the host mapping in place. */
function makeMappings(
  mapper: Domain,
  granter: Domain,
  frame: number,
  op: GnttabMapGrantRef,
  place: number,
): number {
  const { machine } = mapper;
  const readonly = (op.flags & GNTMAP_readonly) !== 0;
  const host = (op.flags & GNTMAP_host_map) !== 0;
  const both = host && (op.flags & GNTMAP_device_map) !== 0;
  let status = takePage(machine, frame, granter.id, !readonly);
  if (status !== GNTST_okay) return status;
  if (!both || getPageFor(machine, frame, granter.id, !readonly)) {
    status = host ? createHostMapping(mapper, place, frame, op.flags) : GNTST_okay;
    if (status === GNTST_okay) return status;
    if (both) putPageFor(machine, frame, !readonly);
  } else status = GNTST_general_error;
  putPageFor(machine, frame, !readonly);
  return status;
}
