/** XENMEM_add_to_physmap, _add_to_physmap_batch and _remove_from_physmap (memory.h), for translated domains. */
import {
  XEN_EDOM,
  XEN_EFAULT,
  XEN_EILSEQ,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EOVERFLOW,
  XEN_EPERM,
  XEN_ESRCH,
} from '../abi/errno.ts';
import {
  XENMAPSPACE_gmfn,
  XENMAPSPACE_gmfn_foreign,
  XENMAPSPACE_gmfn_range,
  XENMEM_add_to_physmap,
  XENMEM_add_to_physmap_batch,
  xenAddToPhysmap,
  xenAddToPhysmapBatch,
  xenRemoveFromPhysmap,
} from '../abi/memory.ts';
import type { Domain } from '../machine/machine.ts';
import { type Caller, domainByAnyId, mayActOn } from './caller.ts';
import { GuestStruct, wide } from './guest-handle.ts';
import { continueAt, type MemoryOp } from './memory-op-register.ts';
import { addToPhysmap, removeFromPhysmap } from './physmap.ts';
import type { Continuation } from './registers.ts';

/** A batch has at most so many pages: its size is 16 bits. */
const MAX_SIZE = 0xffff;
const ULONG_END = { x86_64: 2 ** 64, i386: 2 ** 32 } as const;

/** Whose physical map is changed, or -errno. */
function target(caller: Caller, domid: number): Domain | number {
  const domain = domainByAnyId(caller, domid);
  if (domain === undefined) return -XEN_ESRCH;
  return mayActOn(caller, domain) ? domain : -XEN_EPERM;
}

/** XENMEM_add_to_physmap for a caller: one page, or with XENMAPSPACE_gmfn_range a run of them. */
export function addToPhysmapOp(caller: Caller): MemoryOp {
  const { abi } = caller.access;
  const { machine } = caller.domain;
  const guest = new GuestStruct(caller.access, xenAddToPhysmap[abi]);

  interface Run {
    readonly domain: Domain;
    readonly index: number;
    readonly gfn: number;
    readonly size: number;
  }
  const addRange = ({ domain, index, gfn, size }: Run, arg: number, start: number) => {
    if (size < start) return -XEN_EILSEQ;
    if (Math.max(index, gfn) + size > ULONG_END[abi]) return -XEN_EOVERFLOW;
    for (let i = start; i < size; i++) {
      if (i > start && machine.preemptCheck()) return continueAt(XENMEM_add_to_physmap, i, arg);
      const result = addToPhysmap(domain, XENMAPSPACE_gmfn, index + i, gfn + i);
      if (result !== 0) return result;
    }
    return 0;
  };

  return (arg, start): number | Continuation => {
    if (start > MAX_SIZE) return -XEN_EDOM;
    const { domid, space, size, idx_lo, idx_hi, gpfn_lo, gpfn_hi } = guest.read(arg);
    // A foreign frame needs to be told whose it is, which only the batch can do.
    if (space === XENMAPSPACE_gmfn_foreign) return -XEN_ENOSYS;
    const domain = target(caller, domid);
    if (typeof domain === 'number') return domain;
    const index = wide(idx_lo, idx_hi);
    const gfn = wide(gpfn_lo, gpfn_hi);
    if (space === XENMAPSPACE_gmfn_range) return addRange({ domain, index, gfn, size }, arg, start);
    return addToPhysmap(domain, space, index, gfn);
  };
}

/** XENMEM_add_to_physmap_batch for a caller: every page has an error of its own, and none stops the rest. */
export function addToPhysmapBatchOp(caller: Caller): MemoryOp {
  const { access } = caller;
  const { machine } = caller.domain;
  const guest = new GuestStruct(access, xenAddToPhysmapBatch[access.abi]);

  return (arg, start) => {
    if (start > MAX_SIZE) return -XEN_EDOM;
    const fields = guest.read(arg);
    const { space, size } = fields;
    if (space === XENMAPSPACE_gmfn_range || space === XENMAPSPACE_gmfn_foreign) {
      return -XEN_EOPNOTSUPP;
    }
    const domain = target(caller, fields.domid);
    if (typeof domain === 'number') return domain;
    if (size < start) return -XEN_EILSEQ;
    if (size === start) return start === 0 ? 0 : -XEN_EILSEQ;
    const indices = wide(fields.idxs_lo, fields.idxs_hi);
    const gfns = wide(fields.gpfns_lo, fields.gpfns_hi);
    const errs = wide(fields.errs_lo, fields.errs_hi);
    const okay =
      access.okay(indices, size, access.wordBytes) &&
      access.okay(gfns, size, access.wordBytes) &&
      access.okay(errs, size, 4);
    if (!okay) return -XEN_EFAULT;
    for (let i = start; i < size; i++) {
      if (i > start && machine.preemptCheck()) {
        return continueAt(XENMEM_add_to_physmap_batch, i, arg);
      }
      const index = access.readWord(indices, i);
      const result = addToPhysmap(domain, space, index, access.readWord(gfns, i));
      access.writeUint(errs, result, i);
    }
    return 0;
  };
}

/** XENMEM_remove_from_physmap for a caller. */
export function removeFromPhysmapOp(caller: Caller): MemoryOp {
  const guest = new GuestStruct(caller.access, xenRemoveFromPhysmap[caller.access.abi]);
  return (arg, start) => {
    if (start !== 0) return -XEN_EINVAL;
    const { domid, gpfn_lo, gpfn_hi } = guest.read(arg);
    const domain = target(caller, domid);
    return typeof domain === 'number' ? domain : removeFromPhysmap(domain, wide(gpfn_lo, gpfn_hi));
  };
}
