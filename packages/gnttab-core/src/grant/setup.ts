/** GNTTABOP_setup_table, _query_size, _get_status_frames and _get_version (grant_table.h): what a table is like. */
import { XEN_EPERM, XEN_ESRCH } from '../abi/errno.ts';
import {
  GNTST_bad_domain,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
} from '../abi/grant-table.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import { frameGfn, INVALID_M2P_ENTRY } from '../machine/frame-table.ts';
import type { Domain } from '../machine/machine.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import {
  ensureFrames,
  grantVersion,
  maxGrantFrames,
  nrGrantFrames,
  nrStatusFrames,
  sharedFrameAt,
  statusFrameAt,
} from './table.ts';

/** The domain that `dom` names, if the caller may look at and change its table: see Domain.mayActOn. */
function targetOf(caller: Domain, dom: number): Domain | number {
  const domain = dom === DOMID_SELF ? caller : caller.machine.domainById(dom);
  if (domain === undefined) return GNTST_bad_domain;
  return caller.mayActOn(domain) ? domain : GNTST_permission_denied;
}

/** struct gnttab_setup_table, struct gnttab_get_status_frames. */
export interface FrameList {
  dom: number;
  nrFrames: number;
  status: number;
  /**
   * Filled on success, with what frame_list gets: the frames as the table's domain names them, mfns (PV) or gfns;
   * INVALID_GFN for one that is not in the domain's physical address space.
   */
  frames: number[];
}
export type SetupTable = FrameList;
export type GetStatusFrames = FrameList;

/** In a frame list: no gfn. All ones in the ABI, however wide. */
export const INVALID_GFN = -1;

/** GNTTABOP_setup_table: the table has at least `nrFrames` frames afterwards. Never shrinks. */
export function setupTable(caller: Domain, op: SetupTable): void {
  const target = targetOf(caller, op.dom);
  op.frames = [];
  if (typeof target === 'number') op.status = target;
  else if (!ensureFrames(target, op.nrFrames)) op.status = GNTST_general_error;
  else {
    for (let i = 0; i < op.nrFrames; i++) op.frames.push(nameOf(target, sharedFrameAt(target, i)));
    op.status = GNTST_okay;
  }
  caller.machine.trace.emit(TRACE.setupTable, caller.id, op.dom, op.nrFrames, op.status);
}

/** GNTTABOP_get_status_frames: the first `nrFrames`. The table does not grow for it; version 1 has none. */
export function getStatusFrames(caller: Domain, op: GetStatusFrames): void {
  const target = targetOf(caller, op.dom);
  op.frames = [];
  if (typeof target === 'number') op.status = target;
  else if (op.nrFrames > nrStatusFrames(target)) op.status = GNTST_general_error;
  else {
    for (let i = 0; i < op.nrFrames; i++) op.frames.push(nameOf(target, statusFrameAt(target, i)));
    op.status = GNTST_okay;
  }
}

function nameOf(domain: Domain, frame: number): number {
  if (!domain.translated) return frame;
  const gfn = frameGfn(domain.machine, frame);
  return gfn === INVALID_M2P_ENTRY ? INVALID_GFN : gfn;
}

/** GNTTABOP_query_size. */
export interface QuerySize {
  dom: number;
  nrFrames: number;
  maxNrFrames: number;
  status: number;
}

/** GNTTABOP_query_size: present and highest number of shared frames. */
export function querySize(caller: Domain, op: QuerySize): void {
  const target = targetOf(caller, op.dom);
  if (typeof target === 'number') {
    op.status = target;
    return;
  }
  op.nrFrames = nrGrantFrames(target);
  op.maxNrFrames = maxGrantFrames(target);
  op.status = GNTST_okay;
}

/** GNTTABOP_get_version: 0 or -errno; there is no status. */
export function getVersion(caller: Domain, op: { dom: number; version: number }): number {
  const target = targetOf(caller, op.dom);
  if (target === GNTST_bad_domain) return -XEN_ESRCH;
  if (typeof target === 'number') return -XEN_EPERM;
  op.version = grantVersion(target);
  return 0;
}
