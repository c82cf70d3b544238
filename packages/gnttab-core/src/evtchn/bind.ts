/** Binding ports (event_channel.h). Results are 0 or -errno; OUT fields are written on success only. */
import { XEN_EINVAL, XEN_ENOENT, XEN_EPERM, XEN_ESRCH } from '../abi/errno.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import type { Domain } from '../machine/machine.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { getFreePort, takePort } from './allocation.ts';
import { portBound, setPending } from './delivery.ts';
import { eventLock, lockBoth, portLock, unlockBoth } from './locks.ts';
import {
  ECS_INTERDOMAIN,
  ECS_IPI,
  ECS_UNBOUND,
  evtchn,
  evtchnOf,
  hasVcpu,
  portIsValid,
} from './structs.ts';

const {
  state: STATE,
  remote_dom: REMOTE_DOM,
  remote_port: REMOTE_PORT,
  notify_vcpu_id: NOTIFY_VCPU,
} = evtchn.offset;
/** Physical interrupts that a domain could have: there are none, and no permission for them. */
const NR_PIRQS = 16;

/** rcu_lock_domain_by_any_id(): the domain that `dom` names, DOMID_SELF included. */
export const domainByAnyId = (caller: Domain, dom: number): Domain | undefined =>
  dom === DOMID_SELF ? caller : caller.machine.domainById(dom);

/** struct evtchn_alloc_unbound. */
export interface EvtchnAllocUnbound {
  dom: number;
  remoteDom: number;
  port: number;
}

/** EVTCHNOP_alloc_unbound: a port of `dom` that `remoteDom` may bind to. Another's port takes privilege. */
export function evtchnAllocUnbound(caller: Domain, op: EvtchnAllocUnbound): number {
  const { machine } = caller;
  const domain = domainByAnyId(caller, op.dom);
  if (domain === undefined) return -XEN_ESRCH;
  const { native, u16 } = machine;
  native.spinLock(eventLock(domain));
  let port = getFreePort(domain);
  if (port > 0 && !caller.mayActOn(domain)) port = -XEN_EPERM;
  if (port > 0) {
    const channel = evtchnOf(domain, port);
    native.spinLock(portLock(channel));
    u16[(channel + REMOTE_DOM) >>> 1] = op.remoteDom === DOMID_SELF ? caller.id : op.remoteDom;
    takePort(domain, channel, ECS_UNBOUND);
    portBound(domain, port);
    native.spinUnlock(portLock(channel));
  }
  native.spinUnlock(eventLock(domain));
  if (port < 0) return port;
  op.port = port;
  machine.trace.emit(TRACE.evtchnAlloc, domain.id, port, op.remoteDom);
  return 0;
}

/** struct evtchn_bind_interdomain. */
export interface EvtchnBindInterdomain {
  remoteDom: number;
  remotePort: number;
  localPort: number;
}

/**
 * EVTCHNOP_bind_interdomain: joins a new local port to an unbound port of `remoteDom` that is reserved for the caller.
 * The local port is pending at once: an event may have been missed before the binding.
 */
export function evtchnBindInterdomain(caller: Domain, op: EvtchnBindInterdomain): number {
  const { machine } = caller;
  const remote = domainByAnyId(caller, op.remoteDom);
  if (remote === undefined) return -XEN_ESRCH;
  const { native } = machine;
  lockBoth(native, eventLock(caller), eventLock(remote));
  let port = getFreePort(caller);
  if (port > 0) {
    if (isReservedFor(caller, remote, op.remotePort)) join(caller, port, remote, op.remotePort);
    else port = -XEN_EINVAL;
  }
  unlockBoth(native, eventLock(caller), eventLock(remote));
  if (port < 0) return port;
  op.localPort = port;
  machine.trace.emit(TRACE.evtchnBind, caller.id, port, remote.id, op.remotePort);
  return 0;
}

/** The port is unbound, and for this domain. */
function isReservedFor(caller: Domain, remote: Domain, port: number): boolean {
  if (!portIsValid(remote, port)) return false;
  const { u8, u16 } = caller.machine;
  const channel = evtchnOf(remote, port);
  return u8[channel + STATE] === ECS_UNBOUND && u16[(channel + REMOTE_DOM) >>> 1] === caller.id;
}

function join(domain: Domain, port: number, remote: Domain, remotePort: number): void {
  const { native, u8, u16, u32 } = domain.machine;
  const local = evtchnOf(domain, port);
  const other = evtchnOf(remote, remotePort);
  lockBoth(native, portLock(local), portLock(other));
  u16[(local + REMOTE_DOM) >>> 1] = remote.id;
  u32[(local + REMOTE_PORT) >>> 2] = remotePort;
  takePort(domain, local, ECS_INTERDOMAIN);
  portBound(domain, port);
  u16[(other + REMOTE_DOM) >>> 1] = domain.id;
  u32[(other + REMOTE_PORT) >>> 2] = port;
  u8[other + STATE] = ECS_INTERDOMAIN;
  setPending(domain, port, local);
  unlockBoth(native, portLock(local), portLock(other));
}

/** struct evtchn_bind_ipi. */
export interface EvtchnBindIpi {
  vcpu: number;
  port: number;
}

/** EVTCHNOP_bind_ipi: a port through which the domain notifies its own virtual CPU. */
export function evtchnBindIpi(caller: Domain, op: EvtchnBindIpi): number {
  const { machine } = caller;
  const { native, u16 } = machine;
  if (!hasVcpu(caller, op.vcpu)) return -XEN_ENOENT;
  native.spinLock(eventLock(caller));
  const port = getFreePort(caller);
  if (port > 0) {
    const channel = evtchnOf(caller, port);
    native.spinLock(portLock(channel));
    u16[(channel + NOTIFY_VCPU) >>> 1] = op.vcpu;
    takePort(caller, channel, ECS_IPI);
    portBound(caller, port);
    native.spinUnlock(portLock(channel));
  }
  native.spinUnlock(eventLock(caller));
  if (port < 0) return port;
  op.port = port;
  machine.trace.emit(TRACE.evtchnBindIpi, caller.id, port, op.vcpu);
  return 0;
}

/** struct evtchn_bind_pirq. */
export interface EvtchnBindPirq {
  pirq: number;
  flags: number;
  port: number;
}

/** EVTCHNOP_bind_pirq: there is no hardware. -EINVAL for a number that cannot be, -EPERM for all others. */
export const evtchnBindPirq = (_caller: Domain, op: EvtchnBindPirq): number =>
  op.pirq < NR_PIRQS ? -XEN_EPERM : -XEN_EINVAL;
