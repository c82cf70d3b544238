/** Virtual interrupts (xen.h, VIRTUAL INTERRUPTS): bound by guests, raised by Xen. */
import { XEN_EBUSY, XEN_EEXIST, XEN_EINVAL, XEN_ENOENT } from '../abi/errno.ts';
import {
  DOMID_INVALID,
  NR_VIRQS,
  VIRQ_ARGO,
  VIRQ_DEBUG,
  VIRQ_TIMER,
  VIRQ_XENOPROF,
  VIRQ_XENPMU,
} from '../abi/xen.ts';
import { machineHeader } from '../machine/layout.ts';
import type { Domain, Machine } from '../machine/machine.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { vcpuOf } from '../machine/vcpu.ts';
import { getFreePort, takePort } from './allocation.ts';
import { portBound, setPending } from './delivery.ts';
import { eventLock, portLock } from './locks.ts';
import { ECS_VIRQ, evtchn, evtchnOf, hasVcpu, notifyVcpuOf, VC } from './structs.ts';

const { virq: VIRQ, notify_vcpu_id: NOTIFY_VCPU } = evtchn.offset;
const {
  hardware_domain: HARDWARE_DOMAIN,
  global_virq_lock: GLOBAL_VIRQ_LOCK,
  global_virq_handlers: GLOBAL_VIRQ_HANDLERS,
} = machineHeader.offset;

/** get_virq_type(): whose a VIRQ is. Those that are not named here belong to the machine, and one domain handles them. */
const VIRQ_TYPES: Readonly<Record<number, 'vcpu' | 'domain'>> = {
  [VIRQ_TIMER]: 'vcpu',
  [VIRQ_DEBUG]: 'vcpu',
  [VIRQ_XENOPROF]: 'vcpu',
  [VIRQ_XENPMU]: 'vcpu',
  [VIRQ_ARGO]: 'domain',
};
const typeOf = (virq: number): 'vcpu' | 'domain' | 'global' => VIRQ_TYPES[virq] ?? 'global';

/** Each virtual CPU has it for itself; all others are bound on the first. */
export const isVcpuVirq = (virq: number): boolean => typeOf(virq) === 'vcpu';

const portWord = (domain: Domain, vcpu: number, virq: number): number =>
  (vcpuOf(domain, vcpu) + VC.virq_to_evtchn + virq * 4) >>> 2;
const virqLock = (domain: Domain, vcpu: number): number => vcpuOf(domain, vcpu) + VC.virq_lock;

/** evtchn_virq_enabled(): the VIRQ is bound; if it is not of each virtual CPU, whichever is asked for. */
export const virqEnabled = (domain: Domain, virq: number, vcpu = 0): boolean =>
  Atomics.load(domain.machine.u32, portWord(domain, isVcpuVirq(virq) ? vcpu : 0, virq)) !== 0;

/** struct evtchn_bind_virq. */
export interface EvtchnBindVirq {
  virq: number;
  vcpu: number;
  port: number;
}

/** EVTCHNOP_bind_virq: a port for a VIRQ, of a virtual CPU if each has its own. A global one is for its handler only. */
export function evtchnBindVirq(caller: Domain, op: EvtchnBindVirq): number {
  const { machine } = caller;
  const { native } = machine;
  const { virq, vcpu } = op;
  if (virq >= NR_VIRQS || (!isVcpuVirq(virq) && vcpu !== 0)) return -XEN_EINVAL;
  if (!hasVcpu(caller, vcpu)) return -XEN_ENOENT;
  native.spinLock(eventLock(caller));
  // The handler cannot change between being looked up and being bound.
  native.spinLock(GLOBAL_VIRQ_LOCK);
  const result = bindVirq(caller, virq, vcpu);
  native.spinUnlock(GLOBAL_VIRQ_LOCK);
  native.spinUnlock(eventLock(caller));
  if (result < 0) return result;
  op.port = result;
  machine.trace.emit(TRACE.evtchnBindVirq, caller.id, result, virq, vcpu);
  return 0;
}

/** The port, or -errno. */
function bindVirq(domain: Domain, virq: number, vcpu: number): number {
  const { native, u16, u32 } = domain.machine;
  if (typeOf(virq) === 'global' && globalVirqHandler(domain.machine, virq) !== domain) {
    return -XEN_EBUSY;
  }
  if (virqEnabled(domain, virq, vcpu)) return -XEN_EEXIST;
  const port = getFreePort(domain);
  if (port < 0) return port;
  const channel = evtchnOf(domain, port);
  native.spinLock(portLock(channel));
  u16[(channel + NOTIFY_VCPU) >>> 1] = vcpu;
  u16[(channel + VIRQ) >>> 1] = virq;
  takePort(domain, channel, ECS_VIRQ);
  portBound(domain, port);
  native.spinUnlock(portLock(channel));
  Atomics.store(u32, portWord(domain, vcpu, virq), port);
  return port;
}

/** The VIRQ of a port that is about to be closed is unbound. The caller holds the domain's event lock. */
export function unbindVirq(domain: Domain, channel: number): void {
  const { native, u16, u32 } = domain.machine;
  const virq = u16[(channel + VIRQ) >>> 1]!;
  const vcpu = isVcpuVirq(virq) ? notifyVcpuOf(domain, channel) : 0;
  native.spinLock(virqLock(domain, vcpu));
  Atomics.store(u32, portWord(domain, vcpu, virq), 0);
  native.spinUnlock(virqLock(domain, vcpu));
}

/** send_guest_vcpu_virq(): raises the VIRQ of one virtual CPU. Nothing happens if it is not bound. */
export const sendVcpuVirq = (domain: Domain, vcpu: number, virq: number): void =>
  send(domain, vcpu, virq);

/** send_guest_domain_virq(): raises a VIRQ of the domain, on the virtual CPU that its port notifies. */
export const sendGuestVirq = (domain: Domain, virq: number): void => send(domain, 0, virq);

function send(domain: Domain, vcpu: number, virq: number): void {
  const { native, u32 } = domain.machine;
  native.spinLock(virqLock(domain, vcpu));
  const port = u32[portWord(domain, vcpu, virq)]!;
  if (port !== 0) {
    const channel = evtchnOf(domain, port);
    native.spinLock(portLock(channel));
    setPending(domain, port, channel);
    native.spinUnlock(portLock(channel));
  }
  native.spinUnlock(virqLock(domain, vcpu));
}

const handlerWord = (virq: number): number => (GLOBAL_VIRQ_HANDLERS + virq * 4) >>> 2;

/** Who handles a global VIRQ: the hardware domain unless somebody else was chosen. */
function globalVirqHandler(machine: Machine, virq: number): Domain | undefined {
  return machine.domainById(machine.u32[handlerWord(virq)]!) ?? machine.hardwareDomain;
}

/** send_global_virq(): raises a VIRQ of the machine in the domain that handles it. */
export function sendGlobalVirq(machine: Machine, virq: number): void {
  const handler = globalVirqHandler(machine, virq);
  if (handler !== undefined) sendGuestVirq(handler, virq);
}

/**
 * XEN_DOMCTL_set_virq_handler: the domain handles a global VIRQ from now on. 0; -EINVAL if it is not global or the domain is
 * dying; -EBUSY as long as the present handler has it bound.
 */
export function setVirqHandler(domain: Domain, virq: number): number {
  const { machine } = domain;
  if (virq >= NR_VIRQS || typeOf(virq) !== 'global') return -XEN_EINVAL;
  machine.native.spinLock(GLOBAL_VIRQ_LOCK);
  const result = changeHandler(domain, virq);
  machine.native.spinUnlock(GLOBAL_VIRQ_LOCK);
  return result;
}

function changeHandler(domain: Domain, virq: number): number {
  const { machine } = domain;
  const present = globalVirqHandler(machine, virq);
  if (present === domain) return 0;
  if (domain.isDying) return -XEN_EINVAL;
  if (present !== undefined && virqEnabled(present, virq)) return -XEN_EBUSY;
  machine.u32[handlerWord(virq)] = domain.id;
  return 0;
}

/** clear_global_virq_handlers(): the hardware domain handles what a dying domain did. */
export function clearGlobalVirqHandlers(domain: Domain): void {
  const { machine, id } = domain;
  const { native, u32 } = machine;
  native.spinLock(GLOBAL_VIRQ_LOCK);
  for (let virq = 0; virq < NR_VIRQS; virq++) {
    if (u32[handlerWord(virq)] === id) u32[handlerWord(virq)] = DOMID_INVALID;
  }
  if (u32[HARDWARE_DOMAIN >>> 2] === id) u32[HARDWARE_DOMAIN >>> 2] = DOMID_INVALID;
  native.spinUnlock(GLOBAL_VIRQ_LOCK);
}
