/** What is done with bound ports (event_channel.h). Results are 0 or -errno; OUT fields are written on success only. */
import {
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_ipi,
  EVTCHNSTAT_unbound,
  EVTCHNSTAT_virq,
} from '../abi/event-channel.ts';
import { XEN_EINVAL, XEN_ENOENT, XEN_EPERM, XEN_ESRCH } from '../abi/errno.ts';
import { COUNTER } from '../machine/counters.ts';
import type { Domain } from '../machine/machine.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { domainByAnyId } from './bind.ts';
import { setPending, setPriority, unmask } from './delivery.ts';
import { eventLock, portLock } from './locks.ts';
import {
  consumerIsXen,
  ECS_INTERDOMAIN,
  ECS_IPI,
  ECS_UNBOUND,
  ECS_VIRQ,
  evtchn,
  evtchnOf,
  hasVcpu,
  notifyVcpuOf,
  portIsValid,
} from './structs.ts';
import { isVcpuVirq } from './virq.ts';
import { notifyXen } from './xen-ports.ts';

const {
  state: STATE,
  virq: VIRQ,
  remote_dom: REMOTE_DOM,
  remote_port: REMOTE_PORT,
  notify_vcpu_id: NOTIFY_VCPU,
} = evtchn.offset;

/** EVTCHNOP_send: sets the other end's port pending. To an unbound port it is dropped. */
export function evtchnSend(caller: Domain, port: number): number {
  const { machine } = caller;
  if (!portIsValid(caller, port)) return -XEN_EINVAL;
  const { native, u8, u16, u32 } = machine;
  const channel = evtchnOf(caller, port);
  // With our port locked the other end cannot be closed under us.
  native.spinLock(portLock(channel));
  const state = u8[channel + STATE];
  const remoteDom = u16[(channel + REMOTE_DOM) >>> 1]!;
  const remotePort = u32[(channel + REMOTE_PORT) >>> 2]!;
  let result = 0;
  let consumer: Domain | undefined;
  if (consumerIsXen(caller, channel)) result = -XEN_EINVAL;
  else if (state === ECS_INTERDOMAIN) {
    const remote = machine.domainById(remoteDom)!;
    const other = evtchnOf(remote, remotePort);
    if (consumerIsXen(remote, other)) consumer = remote;
    else setPending(remote, remotePort, other);
    machine.trace.emit(TRACE.evtchnSend, caller.id, port, remoteDom, remotePort);
  } else if (state === ECS_IPI) setPending(caller, port, channel);
  else if (state !== ECS_UNBOUND) result = -XEN_EINVAL;
  native.spinUnlock(portLock(channel));
  // Without the lock: the handler may notify through ports itself.
  if (consumer !== undefined) notifyXen(consumer, remotePort);
  if (result === 0) caller.count(COUNTER.notificationsSent);
  return result;
}

/** EVTCHNOP_unmask. A valid port that is not open, or Xen's, changes nothing. */
export function evtchnUnmask(caller: Domain, port: number): number {
  if (!portIsValid(caller, port)) return -XEN_EINVAL;
  const { native } = caller.machine;
  const channel = evtchnOf(caller, port);
  native.spinLock(portLock(channel));
  unmask(caller, port);
  native.spinUnlock(portLock(channel));
  return 0;
}

/** struct evtchn_status. What is not written is not in this status. */
export interface EvtchnStatus {
  dom: number;
  port: number;
  /** EVTCHNSTAT_* */
  status: number;
  vcpu: number;
  /** Unbound, interdomain. */
  remoteDom: number;
  /** Interdomain. */
  remotePort: number;
  /** VIRQ. */
  virq: number;
}

/** EVTCHNOP_status. Another domain's port takes privilege. */
export function evtchnStatus(caller: Domain, op: EvtchnStatus): number {
  const domain = domainByAnyId(caller, op.dom);
  if (domain === undefined) return -XEN_ESRCH;
  if (!portIsValid(domain, op.port)) return -XEN_EINVAL;
  if (!caller.mayActOn(domain)) return -XEN_EPERM;
  const { native } = domain.machine;
  const channel = evtchnOf(domain, op.port);
  native.spinLock(portLock(channel));
  describePort(domain, channel, op);
  native.spinUnlock(portLock(channel));
  return 0;
}

function describePort(domain: Domain, channel: number, op: EvtchnStatus): void {
  const { u8, u16, u32 } = domain.machine;
  op.vcpu = notifyVcpuOf(domain, channel);
  op.status = EVTCHNSTAT_closed;
  switch (u8[channel + STATE]!) {
    case ECS_UNBOUND:
      op.status = EVTCHNSTAT_unbound;
      op.remoteDom = u16[(channel + REMOTE_DOM) >>> 1]!;
      break;
    case ECS_INTERDOMAIN:
      op.status = EVTCHNSTAT_interdomain;
      op.remoteDom = u16[(channel + REMOTE_DOM) >>> 1]!;
      op.remotePort = u32[(channel + REMOTE_PORT) >>> 2]!;
      break;
    case ECS_VIRQ:
      op.status = EVTCHNSTAT_virq;
      op.virq = u16[(channel + VIRQ) >>> 1]!;
      break;
    case ECS_IPI:
      op.status = EVTCHNSTAT_ipi;
  }
}

/** struct evtchn_bind_vcpu. */
export interface EvtchnBindVcpu {
  port: number;
  vcpu: number;
}

/** EVTCHNOP_bind_vcpu: the port notifies this virtual CPU from now on. An IPI, and a VIRQ that each CPU has, stay. */
export function evtchnBindVcpu(caller: Domain, { port, vcpu }: EvtchnBindVcpu): number {
  const { native, u16 } = caller.machine;
  if (!hasVcpu(caller, vcpu)) return -XEN_ENOENT;
  if (!portIsValid(caller, port)) return -XEN_EINVAL;
  const channel = evtchnOf(caller, port);
  native.spinLock(eventLock(caller));
  const movable = isMovable(caller, channel);
  if (movable) u16[(channel + NOTIFY_VCPU) >>> 1] = vcpu;
  native.spinUnlock(eventLock(caller));
  return movable ? 0 : -XEN_EINVAL;
}

function isMovable(domain: Domain, channel: number): boolean {
  const { u8, u16 } = domain.machine;
  if (consumerIsXen(domain, channel)) return false;
  const state = u8[channel + STATE];
  if (state === ECS_VIRQ) return !isVcpuVirq(u16[(channel + VIRQ) >>> 1]!);
  return state === ECS_UNBOUND || state === ECS_INTERDOMAIN;
}

/** struct evtchn_set_priority. */
export interface EvtchnSetPriority {
  port: number;
  /** 0, the most urgent, to 15. */
  priority: number;
}

/** EVTCHNOP_set_priority: the queue of the port's next event. -ENOSYS under two-level delivery. */
export function evtchnSetPriority(caller: Domain, { port, priority }: EvtchnSetPriority): number {
  if (!portIsValid(caller, port)) return -XEN_EINVAL;
  const { native } = caller.machine;
  const channel = evtchnOf(caller, port);
  native.spinLock(portLock(channel));
  const result = setPriority(caller, port, priority);
  native.spinUnlock(portLock(channel));
  return result;
}
