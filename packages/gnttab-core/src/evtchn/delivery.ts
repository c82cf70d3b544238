/** Delivery as a domain has chosen it, with what both kinds have in common (event.h: evtchn_port_*). */
import { XEN_EACCES, XEN_ENOSYS } from '../abi/errno.ts';
import type { Domain } from '../machine/machine.ts';
import { fifoOps } from './fifo.ts';
import type { PortOps } from './port-ops.ts';
import { evtchnOf, evtchnUsable, notifyVcpuOf, usesFifo } from './structs.ts';
import { twoLevelOps } from './two-level.ts';

/** domain.evtchn_port_ops. */
const portOps = (domain: Domain): PortOps => (usesFifo(domain) ? fifoOps : twoLevelOps);

const usable = (domain: Domain, port: number): boolean =>
  evtchnUsable(domain, evtchnOf(domain, port));

/** max_evtchns(): ports are below this. */
export const maxEvtchns = (domain: Domain): number => portOps(domain).maxPorts(domain);

/**
 * evtchn_port_set_pending(): an event for the port with its struct at `channel`, and the virtual CPU that it notifies, if the
 * port is open and the guest's.
 */
export function setPending(domain: Domain, port: number, channel: number): void {
  if (!evtchnUsable(domain, channel)) return;
  portOps(domain).setPending(domain, notifyVcpuOf(domain, channel), port);
}

/** evtchn_port_clear_pending(). */
export function clearPending(domain: Domain, port: number): void {
  if (usable(domain, port)) portOps(domain).clearPending(domain, port);
}

/** evtchn_port_unmask(). */
export function unmask(domain: Domain, port: number): void {
  if (usable(domain, port)) portOps(domain).unmask(domain, port);
}

/** evtchn_is_pending(). The port is valid. */
export const isPending = (domain: Domain, port: number): boolean =>
  usable(domain, port) && portOps(domain).isPending(domain, port);

/** evtchn_is_masked(). The port is valid. */
export const isMasked = (domain: Domain, port: number): boolean =>
  !usable(domain, port) || portOps(domain).isMasked(domain, port);

/** evtchn_is_busy(): a free port that the guest still has on a queue. */
export const isBusy = (domain: Domain, port: number): boolean =>
  portOps(domain).isBusy(domain, port);

/** evtchn_port_init(): the port was bound. */
export const portBound = (domain: Domain, port: number): void =>
  portOps(domain).bound(domain, port);

/** evtchn_port_set_priority(): 0 or -errno. The port is valid. */
export function setPriority(domain: Domain, port: number, priority: number): number {
  const { setPriority: set } = portOps(domain);
  if (set === undefined) return -XEN_ENOSYS;
  return usable(domain, port) ? set(domain, port, priority) : -XEN_EACCES;
}
