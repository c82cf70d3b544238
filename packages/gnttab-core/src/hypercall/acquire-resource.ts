/** XENMEM_acquire_resource (memory.h): a control domain learns the frames of another domain's grant table, to map them. */
import { XEN_EACCES, XEN_EINVAL, XEN_EPERM, XEN_ESRCH } from '../abi/errno.ts';
import { GNTST_okay } from '../abi/grant-table.ts';
import {
  XENMEM_acquire_resource,
  XENMEM_resource_grant_table,
  XENMEM_resource_grant_table_id_shared,
  XENMEM_resource_grant_table_id_status,
  xenMemAcquireResource,
} from '../abi/memory.ts';
import { querySize, sharedFrame, statusFrame } from '../grant/index.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import type { Caller } from './caller.ts';
import { GuestStruct, wide } from './guest-handle.ts';
import { continueAt, MAX_EXTENTS, type MemoryOp } from './memory-op-register.ts';

/** A status frame serves so many frames of shared entries. */
const GRANT_FRAMES_PER_STATUS_FRAME = 8;
/** Frames of one leg. */
const FRAMES_AT_ONCE = 32;

/** Which resource: XENMEM_resource_grant_table of a domain, XENMEM_resource_grant_table_id_shared or _status. */
export interface ResourceName {
  domid: number;
  type: number;
  id: number;
}

/** What was acquired. */
export interface AcquiredFrames {
  /** 0 or -errno. */
  result: number;
  /** Machine frames, to be mapped with mmu_update. */
  mfns: number[];
}

/** A resource: how many frames it can have, and its `index`-th, grown to have it (INVALID_MFN over the limit). */
interface Resource {
  readonly maxFrames: number;
  frame(index: number): number;
}

/** The resource that a caller names, or -errno. */
function resourceOf(caller: Domain, { domid, type, id }: ResourceName): Resource | number {
  const domain = caller.machine.domainById(domid);
  if (domain === undefined) return -XEN_ESRCH;
  if (domain === caller || !caller.privileged) return -XEN_EPERM;
  if (type !== XENMEM_resource_grant_table) return -XEN_EINVAL;
  const size = { dom: domain.id, nrFrames: 0, maxNrFrames: 0, status: 0 };
  querySize(caller, size);
  if (size.status !== GNTST_okay) return -XEN_EINVAL;
  switch (id) {
    case XENMEM_resource_grant_table_id_shared:
      return { maxFrames: size.maxNrFrames, frame: (index) => sharedFrame(domain, index) };
    case XENMEM_resource_grant_table_id_status:
      return {
        maxFrames: Math.ceil(size.maxNrFrames / GRANT_FRAMES_PER_STATUS_FRAME),
        frame: (index) => statusFrame(domain, index),
      };
    default:
      return -XEN_EINVAL;
  }
}

/** Frames of a resource can be had: the table has grown to have them. */
const canHave = (resource: Resource, frame: number, count: number): boolean =>
  // The last first: if there is one, the table has all of them.
  count === 0 || (frame >= 0 && resource.frame(frame + count - 1) !== INVALID_MFN);

/** XENMEM_acquire_resource: `count` frames from `frame` on, for a PV control domain. All or none. */
export function acquireResource(
  caller: Domain,
  name: ResourceName,
  frame: number,
  count: number,
): AcquiredFrames {
  const fails = (result: number): AcquiredFrames => ({ result, mfns: [] });
  if (caller.translated) return fails(-XEN_EACCES);
  const resource = resourceOf(caller, name);
  if (typeof resource === 'number') return fails(resource);
  if (!canHave(resource, frame, count)) return fails(-XEN_EINVAL);
  const mfns = Array.from({ length: count }, (_, i) => resource.frame(frame + i));
  return { result: 0, mfns };
}

/** XENMEM_acquire_resource for a caller: a PV one, which maps machine frames with mmu_update. */
export function acquireResourceOp({ domain: caller, access }: Caller): MemoryOp {
  const guest = new GuestStruct(access, xenMemAcquireResource[access.abi]);

  return (arg, start) => {
    if (caller.translated) return -XEN_EACCES;
    const fields = guest.read(arg);
    const frame = wide(fields.frame_lo, fields.frame_hi);
    const list = wide(fields.frame_list_lo, fields.frame_list_hi);
    const count = fields.nr_frames;
    if (fields.pad !== 0 || frame + count >= 2 ** 32) return -XEN_EINVAL;
    const resource = resourceOf(caller, fields);
    if (typeof resource === 'number') return resource;

    if (list === 0) {
      if (count !== 0 || start !== 0) return -XEN_EINVAL;
      fields.nr_frames = resource.maxFrames;
      guest.writeField(arg, 'nr_frames');
      return 0;
    }
    if (count > MAX_EXTENTS || start > count) return -XEN_EINVAL;
    if (!canHave(resource, frame, count)) return -XEN_EINVAL;
    for (let i = start; i < count; i++) {
      const leg = i > start && (i - start) % FRAMES_AT_ONCE === 0;
      if (leg && caller.machine.preemptCheck()) return continueAt(XENMEM_acquire_resource, i, arg);
      access.writeWord(list, resource.frame(frame + i), i);
    }
    return 0;
  };
}
