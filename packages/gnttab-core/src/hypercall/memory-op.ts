/** HYPERVISOR_memory_op (memory.h): the operations by number, and those that answer with a number. */
import { XEN_EINVAL, XEN_ENOSYS, XEN_EPERM, XEN_ESRCH } from '../abi/errno.ts';
import {
  XENMEM_acquire_resource,
  XENMEM_add_to_physmap,
  XENMEM_add_to_physmap_batch,
  XENMEM_current_reservation,
  XENMEM_decrease_reservation,
  XENMEM_exchange,
  XENMEM_increase_reservation,
  XENMEM_maximum_gpfn,
  XENMEM_maximum_reservation,
  XENMEM_populate_physmap,
  XENMEM_remove_from_physmap,
  xenMemoryDomain,
} from '../abi/memory.ts';
import type { Abi } from '../abi/struct.ts';
import { sharedInfo } from '../abi/xen.ts';
import type { Domain } from '../machine/machine.ts';
import { maxMappedGfn } from '../machine/p2m.ts';
import { frameAddress } from '../machine/page.ts';
import { acquireResourceOp } from './acquire-resource.ts';
import { type Caller, domainByAnyId, mayActOn } from './caller.ts';
import { exchangeOp } from './exchange-op.ts';
import { GuestStruct } from './guest-handle.ts';
import { MEMOP_CMD_MASK, MEMOP_EXTENT_SHIFT, type MemoryOp } from './memory-op-register.ts';
import { addToPhysmapBatchOp, addToPhysmapOp, removeFromPhysmapOp } from './physmap-op.ts';
import { type Hypercall, uint, word } from './registers.ts';
import { decreaseOp, increaseOp, populateOp, reservationOp } from './reservation-op.ts';

/** memory_op(cmd, arg) for a caller. */
export function memoryOp(caller: Caller): Hypercall {
  const { abi } = caller.access;
  const operations = new Map<number, MemoryOp>([
    [XENMEM_increase_reservation, reservationOp(caller, increaseOp)],
    [XENMEM_decrease_reservation, reservationOp(caller, decreaseOp)],
    [XENMEM_populate_physmap, reservationOp(caller, populateOp)],
    [XENMEM_exchange, exchangeOp(caller)],
    [XENMEM_current_reservation, domainQuery(caller, (domain) => domain.totPages)],
    [XENMEM_maximum_reservation, domainQuery(caller, (domain) => domain.maxPages)],
    [XENMEM_maximum_gpfn, domainQuery(caller, (domain) => maximumGpfn(domain, abi))],
    [XENMEM_add_to_physmap, addToPhysmapOp(caller)],
    [XENMEM_add_to_physmap_batch, addToPhysmapBatchOp(caller)],
    [XENMEM_remove_from_physmap, removeFromPhysmapOp(caller)],
    [XENMEM_acquire_resource, acquireResourceOp(caller)],
  ]);
  return ([cmdRegister, arg]) => {
    const cmd = uint(cmdRegister);
    const operation = operations.get(cmd & MEMOP_CMD_MASK);
    return operation?.(word(arg, abi), cmd >>> MEMOP_EXTENT_SHIFT) ?? -XEN_ENOSYS;
  };
}

/** An operation that answers a question about a domain. */
function domainQuery(caller: Caller, answer: (domain: Domain) => number): MemoryOp {
  const guest = new GuestStruct(caller.access, xenMemoryDomain[caller.access.abi]);
  return (arg, start) => {
    if (start !== 0) return -XEN_EINVAL;
    const domain = domainByAnyId(caller, guest.read(arg).domid);
    if (domain === undefined) return -XEN_ESRCH;
    return mayActOn(caller, domain) ? answer(domain) : -XEN_EPERM;
  };
}

/** The highest gfn with something behind it; of a PV domain, what it says itself in its shared info page. */
function maximumGpfn(domain: Domain, abi: Abi): number {
  if (domain.translated) return maxMappedGfn(domain);
  const { view } = domain.machine.heap;
  const info = sharedInfo[abi].cursor().at(view, frameAddress(domain.sharedInfo));
  return (info.arch.max_pfn_lo || 1) - 1;
}
