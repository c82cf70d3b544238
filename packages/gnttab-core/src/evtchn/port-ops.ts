/**
 * How events reach a domain (struct evtchn_port_ops): two-level or FIFO delivery, each as one table. An implementation
 * gets valid ports that are the guest's.
 */
import type { Domain } from '../machine/machine.ts';

export interface PortOps {
  /** max_evtchns(): ports are below this. */
  maxPorts(this: void, domain: Domain): number;
  /** An event of the port for this virtual CPU. */
  setPending(this: void, domain: Domain, vcpu: number, port: number): void;
  clearPending(this: void, domain: Domain, port: number): void;
  /** Clears the mask, and delivers what is pending. */
  unmask(this: void, domain: Domain, port: number): void;
  isPending(this: void, domain: Domain, port: number): boolean;
  isMasked(this: void, domain: Domain, port: number): boolean;
  /** A free port that must not be allocated yet. */
  isBusy(this: void, domain: Domain, port: number): boolean;
  /** evtchn_port_init(): the port was bound. */
  bound(this: void, domain: Domain, port: number): void;
  /** 0 or -errno. Not there: there are no priorities. */
  setPriority?(this: void, domain: Domain, port: number, priority: number): number;
}
