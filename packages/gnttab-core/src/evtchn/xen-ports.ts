/**
 * Ports that Xen consumes itself, as for a device model (Xen's event.h, "alloc_unbound_xen_event_channel"): events from the
 * other end call a function, and the guest whose port it is sees nothing of them. The functions are this thread's.
 */
import { XEN_EPERM } from '../abi/errno.ts';
import type { Domain, XenConsumer } from '../machine/machine.ts';
import { getFreePort, takeForXen, takePort } from './allocation.ts';
import { closePort } from './close.ts';
import { setPending } from './delivery.ts';
import { eventLock, portLock } from './locks.ts';
import {
  ECS_INTERDOMAIN,
  ECS_UNBOUND,
  evtchn,
  evtchnOf,
  notifyVcpuOf,
  portIsValid,
} from './structs.ts';

const {
  state: STATE,
  remote_dom: REMOTE_DOM,
  remote_port: REMOTE_PORT,
  notify_vcpu_id: NOTIFY_VCPU,
} = evtchn.offset;

/** Port numbers are below this. */
const PORTS = 2 ** 17;
const keyOf = (domain: Domain, port: number): number => domain.id * PORTS + port;

/**
 * alloc_unbound_xen_event_channel(): a port of `domain`, on behalf of a caller that may act on it, that `remoteDom` can bind
 * to and Xen consumes. The port, or -errno.
 */
export function allocUnboundXenEvent(
  caller: Domain,
  domain: Domain,
  vcpu: number,
  remoteDom: number,
  consumer: XenConsumer,
): number {
  const { machine } = domain;
  const { native, u16 } = machine;
  native.spinLock(eventLock(domain));
  let port = getFreePort(domain);
  if (port > 0 && !caller.mayActOn(domain)) port = -XEN_EPERM;
  if (port > 0) {
    const channel = evtchnOf(domain, port);
    native.spinLock(portLock(channel));
    u16[(channel + REMOTE_DOM) >>> 1] = remoteDom;
    u16[(channel + NOTIFY_VCPU) >>> 1] = vcpu;
    takePort(domain, channel, ECS_UNBOUND);
    takeForXen(domain, channel);
    native.spinUnlock(portLock(channel));
    machine.xenConsumers.set(keyOf(domain, port), consumer);
  }
  native.spinUnlock(eventLock(domain));
  return port;
}

/** free_xen_event_channel(). */
export function freeXenEvent(domain: Domain, port: number): void {
  closePort(domain, port, false);
  domain.machine.xenConsumers.delete(keyOf(domain, port));
}

/** notify_via_xen_event_channel(): notifies the other end; nothing happens if there is none. */
export function notifyViaXenEvent(domain: Domain, port: number): void {
  const { machine } = domain;
  const { native, u8, u16, u32 } = machine;
  if (!portIsValid(domain, port)) return;
  const channel = evtchnOf(domain, port);
  native.spinLock(portLock(channel));
  if (u8[channel + STATE] === ECS_INTERDOMAIN) {
    const remote = machine.domainById(u16[(channel + REMOTE_DOM) >>> 1]!)!;
    const remotePort = u32[(channel + REMOTE_PORT) >>> 2]!;
    setPending(remote, remotePort, evtchnOf(remote, remotePort));
  }
  native.spinUnlock(portLock(channel));
}

/** An event for a port that Xen consumes: its handler runs, if it is this thread's. */
export function notifyXen(domain: Domain, port: number): void {
  const consumer = domain.machine.xenConsumers.get(keyOf(domain, port));
  consumer?.(domain.id, notifyVcpuOf(domain, evtchnOf(domain, port)), port);
}

/** A dying domain's ports are closed: nobody hears of them any more. */
export function forgetXenConsumers(domain: Domain): void {
  const { xenConsumers } = domain.machine;
  for (const key of xenConsumers.keys()) {
    if (Math.floor(key / PORTS) === domain.id) xenConsumers.delete(key);
  }
}
