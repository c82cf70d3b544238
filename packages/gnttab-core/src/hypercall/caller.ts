/** Who makes a binary hypercall, and how the guest's memory is reached. */
import { DOMID_SELF } from '../abi/xen.ts';
import type { Domain } from '../machine/machine.ts';
import type { GuestAccess } from './guest-handle.ts';

/** A virtual CPU of a domain that makes hypercalls, with the memory that its arguments are in. */
export interface Caller {
  /** Whose the virtual CPU is. */
  readonly domain: Domain;
  /** The virtual CPU that makes the call. */
  readonly vcpu: number;
  /** The domain's memory, and the ABI of the structs in it. */
  readonly access: GuestAccess;
}

/** rcu_lock_domain_by_any_id(): the domain that `domid` names, DOMID_SELF included. */
export const domainByAnyId = ({ domain }: Caller, domid: number): Domain | undefined =>
  domid === DOMID_SELF ? domain : domain.machine.domainById(domid);

/** XSM_TARGET: see Domain.mayActOn. */
export const mayActOn = ({ domain }: Caller, target: Domain): boolean => domain.mayActOn(target);
