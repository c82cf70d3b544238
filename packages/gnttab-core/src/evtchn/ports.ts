/** Event channel operations (event_channel.h). Results are 0 or -errno; OUT fields are written on success only. */
import {
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_unbound,
} from '../abi/event-channel.ts';
import { XEN_EINVAL, XEN_ENOMEM, XEN_ENOSPC, XEN_EPERM, XEN_ESRCH } from '../abi/errno.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import { COUNTER } from '../machine/counters.ts';
import type { Domain } from '../machine/machine.ts';
import type { Native } from '../machine/native-code.ts';
import { allocXenHeapPage, freeXenHeapPage } from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import {
  EC,
  ECS_FREE,
  ECS_INTERDOMAIN,
  ECS_IPI,
  ECS_UNBOUND,
  evtchn,
  EVTCHNS_PER_GROUP,
  EVTCHNS_PER_PAGE,
  evtchnOf,
  portIsValid,
} from './structs.ts';
import { clearPending, EVTCHN_2L_NR_CHANNELS, setPending, unmask } from './two-level.ts';

const {
  lock: LOCK,
  state: STATE,
  remote_dom: REMOTE_DOM,
  remote_port: REMOTE_PORT,
} = evtchn.offset;
const { notify_vcpu_id: NOTIFY_VCPU } = evtchn.offset;

/** Gives a domain its event channels. `maxPort` is the highest port it may have. False when memory is exhausted. */
export function initEventChannels(domain: Domain, maxPort: number): boolean {
  const { machine, base } = domain;
  const list = allocXenHeapPage(machine);
  if (list === INVALID_MFN) return false;
  machine.heap.u32[(base + EC.bucket_list) >>> 2] = list;
  machine.heap.u32[(base + EC.max_evtchn_port) >>> 2] = maxPort;
  return addGroup(domain); // port 0 is reserved, and never allocated
}

/** Makes the next ports valid. */
function addGroup(domain: Domain): boolean {
  const { machine, base } = domain;
  const { u32 } = machine.heap;
  const valid = u32[(base + EC.valid_evtchns) >>> 2]!;
  if (valid % EVTCHNS_PER_PAGE === 0) {
    const frame = allocXenHeapPage(machine);
    if (frame === INVALID_MFN) return false;
    u32[(u32[(base + EC.bucket_list) >>> 2]! << 10) + valid / EVTCHNS_PER_PAGE] = frame;
  }
  u32[(base + EC.valid_evtchns) >>> 2] = valid + EVTCHNS_PER_GROUP;
  return true;
}

/** get_free_port(): the lowest free port, or -errno. The caller holds the domain's event lock. */
function getFreePort(domain: Domain): number {
  const { u8, u32 } = domain.machine.heap;
  if (domain.isDying) return -XEN_EINVAL;
  const limit = u32[(domain.base + EC.max_evtchn_port) >>> 2]!;
  for (let port = 1; port <= limit && port < EVTCHN_2L_NR_CHANNELS; port++) {
    if (!portIsValid(domain, port) && !addGroup(domain)) return -XEN_ENOMEM;
    if (u8[evtchnOf(domain, port) + STATE] === ECS_FREE) return port;
  }
  return -XEN_ENOSPC;
}

const eventLock = (domain: Domain): number => domain.base + EC.lock;

/** struct evtchn_alloc_unbound. */
export interface EvtchnAllocUnbound {
  dom: number;
  remoteDom: number;
  port: number;
}

/** EVTCHNOP_alloc_unbound: a port of `dom` that `remoteDom` may bind to. Another's port takes privilege. */
export function evtchnAllocUnbound(caller: Domain, op: EvtchnAllocUnbound): number {
  const { machine } = caller;
  const domain = op.dom === DOMID_SELF ? caller : machine.domainById(op.dom);
  if (domain === undefined) return -XEN_ESRCH;
  const { u8, u16 } = machine.heap;
  machine.native.spinLock(eventLock(domain));
  let port = getFreePort(domain);
  if (port > 0 && domain !== caller && !caller.privileged) port = -XEN_EPERM;
  if (port > 0) {
    const channel = evtchnOf(domain, port);
    u16[(channel + REMOTE_DOM) >>> 1] = op.remoteDom === DOMID_SELF ? caller.id : op.remoteDom;
    u8[channel + STATE] = ECS_UNBOUND;
  }
  machine.native.spinUnlock(eventLock(domain));
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
  const remoteDom = op.remoteDom === DOMID_SELF ? caller.id : op.remoteDom;
  const remote = machine.domainById(remoteDom);
  if (remote === undefined) return -XEN_ESRCH;
  const { native } = machine;
  const { u8, u16, u32 } = machine.heap;
  lockBoth(native, eventLock(caller), eventLock(remote));
  let result = getFreePort(caller);
  if (result > 0) {
    const local = evtchnOf(caller, result);
    const bindable =
      op.remotePort > 0 &&
      portIsValid(remote, op.remotePort) &&
      u8[evtchnOf(remote, op.remotePort) + STATE] === ECS_UNBOUND &&
      u16[(evtchnOf(remote, op.remotePort) + REMOTE_DOM) >>> 1] === caller.id;
    if (bindable) {
      const other = evtchnOf(remote, op.remotePort);
      lockBoth(native, local + LOCK, other + LOCK);
      u16[(local + REMOTE_DOM) >>> 1] = remoteDom;
      u32[(local + REMOTE_PORT) >>> 2] = op.remotePort;
      u8[local + STATE] = ECS_INTERDOMAIN;
      u16[(other + REMOTE_DOM) >>> 1] = caller.id;
      u32[(other + REMOTE_PORT) >>> 2] = result;
      u8[other + STATE] = ECS_INTERDOMAIN;
      unlockBoth(native, local + LOCK, other + LOCK);
    } else result = -XEN_EINVAL;
  }
  unlockBoth(native, eventLock(caller), eventLock(remote));
  if (result < 0) return result;
  op.localPort = result;
  machine.trace.emit(TRACE.evtchnBind, caller.id, result, remoteDom, op.remotePort);
  setPending(caller, result);
  return 0;
}

/** double_evtchn_lock(): two locks in the order of their addresses, so that nobody waits in a circle. */
function lockBoth(native: Native, a: number, b: number): void {
  native.spinLock(Math.min(a, b));
  if (a !== b) native.spinLock(Math.max(a, b));
}

function unlockBoth(native: Native, a: number, b: number): void {
  if (a !== b) native.spinUnlock(Math.max(a, b));
  native.spinUnlock(Math.min(a, b));
}

/** EVTCHNOP_close: the port is free; the other end of an interdomain channel is unbound, reserved for the caller. */
export function evtchnClose(caller: Domain, port: number): number {
  const { machine } = caller;
  if (port === 0 || !portIsValid(caller, port)) return -XEN_EINVAL;
  const { native } = machine;
  const { u8, u16, u32 } = machine.heap;
  const channel = evtchnOf(caller, port);
  for (;;) {
    const remote = remoteOf(caller, channel);
    const remoteLock = remote === undefined ? eventLock(caller) : eventLock(remote);
    lockBoth(native, eventLock(caller), remoteLock);
    // The other end may have changed before we had its lock: look again.
    if (remoteOf(caller, channel) !== remote) {
      unlockBoth(native, eventLock(caller), remoteLock);
      continue;
    }
    const open = u8[channel + STATE] !== ECS_FREE;
    if (open && remote !== undefined) {
      const other = evtchnOf(remote, u32[(channel + REMOTE_PORT) >>> 2]!);
      lockBoth(native, channel + LOCK, other + LOCK);
      u8[other + STATE] = ECS_UNBOUND;
      u16[(other + REMOTE_DOM) >>> 1] = caller.id;
      freeChannel(caller, port, channel);
      unlockBoth(native, channel + LOCK, other + LOCK);
    } else if (open) {
      native.spinLock(channel + LOCK);
      freeChannel(caller, port, channel);
      native.spinUnlock(channel + LOCK);
    }
    unlockBoth(native, eventLock(caller), remoteLock);
    if (open) machine.trace.emit(TRACE.evtchnClose, caller.id, port);
    return open ? 0 : -XEN_EINVAL;
  }
}

/** The domain at the other end of an interdomain channel. */
function remoteOf(domain: Domain, channel: number): Domain | undefined {
  const { u8, u16 } = domain.machine.heap;
  if (u8[channel + STATE] !== ECS_INTERDOMAIN) return undefined;
  return domain.machine.domainById(u16[(channel + REMOTE_DOM) >>> 1]!);
}

/** evtchn_free(): only the port's own pending bit goes; mask, selector and upcall stay as they are. */
function freeChannel(domain: Domain, port: number, channel: number): void {
  const { u8, u16 } = domain.machine.heap;
  clearPending(domain, port);
  u8[channel + STATE] = ECS_FREE;
  u16[(channel + NOTIFY_VCPU) >>> 1] = 0;
}

/** EVTCHNOP_send: sets the other end's port pending. To an unbound port it is dropped. */
export function evtchnSend(caller: Domain, port: number): number {
  const { machine } = caller;
  if (port === 0 || !portIsValid(caller, port)) return -XEN_EINVAL;
  const { native } = machine;
  const { u8, u16, u32 } = machine.heap;
  const channel = evtchnOf(caller, port);
  // With our channel locked the other end cannot be closed under us.
  native.spinLock(channel + LOCK);
  let result = 0;
  const state = u8[channel + STATE];
  if (state === ECS_INTERDOMAIN) {
    const remoteDom = u16[(channel + REMOTE_DOM) >>> 1]!;
    const remotePort = u32[(channel + REMOTE_PORT) >>> 2]!;
    const remote = machine.domainById(remoteDom);
    if (remote !== undefined) setPending(remote, remotePort);
    machine.trace.emit(TRACE.evtchnSend, caller.id, port, remoteDom, remotePort);
  } else if (state === ECS_IPI) setPending(caller, port);
  else if (state !== ECS_UNBOUND) result = -XEN_EINVAL;
  native.spinUnlock(channel + LOCK);
  if (result === 0) caller.count(COUNTER.notificationsSent);
  return result;
}

/** EVTCHNOP_unmask. A valid port that is free, or port 0, changes nothing. */
export function evtchnUnmask(caller: Domain, port: number): number {
  if (!portIsValid(caller, port)) return -XEN_EINVAL;
  const { u8 } = caller.machine.heap;
  if (u8[evtchnOf(caller, port) + STATE] !== ECS_FREE) unmask(caller, port);
  return 0;
}

/** struct evtchn_status. `remoteDom` and `remotePort` are written where the status has them. */
export interface EvtchnStatus {
  dom: number;
  port: number;
  /** EVTCHNSTAT_* */
  status: number;
  vcpu: number;
  remoteDom: number;
  remotePort: number;
}

/** EVTCHNOP_status. Another domain's port takes privilege. */
export function evtchnStatus(caller: Domain, op: EvtchnStatus): number {
  const { machine } = caller;
  const domain = op.dom === DOMID_SELF ? caller : machine.domainById(op.dom);
  if (domain === undefined) return -XEN_ESRCH;
  if (!portIsValid(domain, op.port)) return -XEN_EINVAL;
  if (domain !== caller && !caller.privileged) return -XEN_EPERM;
  const { u8, u16, u32 } = machine.heap;
  const channel = evtchnOf(domain, op.port);
  op.vcpu = u16[(channel + NOTIFY_VCPU) >>> 1]!;
  const state = u8[channel + STATE];
  if (state === ECS_UNBOUND) {
    op.status = EVTCHNSTAT_unbound;
    op.remoteDom = u16[(channel + REMOTE_DOM) >>> 1]!;
  } else if (state === ECS_INTERDOMAIN) {
    op.status = EVTCHNSTAT_interdomain;
    op.remoteDom = u16[(channel + REMOTE_DOM) >>> 1]!;
    op.remotePort = u32[(channel + REMOTE_PORT) >>> 2]!;
  } else op.status = EVTCHNSTAT_closed;
  return 0;
}

/** evtchn_destroy(): closes every port of a dying domain. */
export function closeAllPorts(domain: Domain): void {
  for (let port = 1; portIsValid(domain, port); port++) evtchnClose(domain, port);
}

/** Frees the port structs; the domain is gone from everybody's sight. */
export function destroyEventChannels(domain: Domain): void {
  const { machine, base } = domain;
  const { u32 } = machine.heap;
  const list = u32[(base + EC.bucket_list) >>> 2]!;
  if (list === 0) return; // a domain whose creation failed
  const pages = Math.ceil(u32[(base + EC.valid_evtchns) >>> 2]! / EVTCHNS_PER_PAGE);
  for (let i = 0; i < pages; i++) freeXenHeapPage(machine, u32[(list << 10) + i]!);
  freeXenHeapPage(machine, list);
}
