/** EVTCHNOP_reset: closes all ports of a domain (event_channel.h). */
import { XEN_EAGAIN, XEN_EBUSY, XEN_EINVAL, XEN_EPERM, XEN_ESRCH } from '../abi/errno.ts';
import { DOMAIN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { domainByAnyId } from './bind.ts';
import { closePort } from './close.ts';
import { endFifo } from './fifo-control.ts';
import { eventLock } from './locks.ts';
import { EC, portIsValid } from './structs.ts';

/** errno.h, for Xen itself: the hypercall was preempted, and goes on with another leg. */
export const XEN_INTERNAL_ERESTART = 85;
/** EVTCHNOP_reset asks whether it should let others have a turn after each port whose number ends with these bits clear. */
const PREEMPT_MASK = 0x3f;

const PAUSES = DOMAIN.controller_pause_count >>> 2;

/** domain_pause_by_systemcontroller(): the toolstack has paused the domain `count` times more (less if negative). */
export function domainPauseBySystemcontroller({ machine, base }: Domain, count: number): void {
  Atomics.add(machine.i32, (base >>> 2) + PAUSES, count);
}

/**
 * EVTCHNOP_reset: closes all ports that Xen does not consume, and ends FIFO delivery. Another domain must be paused by the
 * toolstack. -ERESTART if it was preempted (`Machine.preemptCheck`, after every 64 ports): it is to be called again with
 * `resuming`, which is the hypercall's command 14. -EAGAIN if ports were opened meanwhile.
 */
export function evtchnReset(caller: Domain, dom: number, resuming = false): number {
  const domain = domainByAnyId(caller, dom);
  if (domain === undefined) return -XEN_ESRCH;
  if (!caller.mayActOn(domain)) return -XEN_EPERM;
  if (domain !== caller && domain.machine.i32[(domain.base >>> 2) + PAUSES] === 0) {
    return -XEN_EINVAL;
  }
  const first = beginReset(domain, resuming);
  return first === 0 ? -XEN_EBUSY : closeFrom(domain, first);
}

/** Where to begin; 0 if another reset is under way, or none that could be resumed. */
function beginReset({ machine, base }: Domain, resuming: boolean): number {
  const next = (base + EC.next_evtchn) >>> 2;
  if (resuming) return Atomics.load(machine.u32, next);
  return Atomics.compareExchange(machine.u32, next, 0, 1) === 0 ? 1 : 0;
}

function closeFrom(domain: Domain, first: number): number {
  const { machine, base } = domain;
  const next = (base + EC.next_evtchn) >>> 2;
  for (let port = first; portIsValid(domain, port); port++) {
    closePort(domain, port, true);
    // Xen closes the port that it stopped at once more; one that stopped there again would never end.
    if ((port & PREEMPT_MASK) === 0 && machine.preemptCheck() && port > first) {
      Atomics.store(machine.u32, next, port);
      return -XEN_INTERNAL_ERESTART;
    }
  }
  machine.native.spinLock(eventLock(domain));
  Atomics.store(machine.u32, next, 0);
  const { u32 } = machine;
  const closed = u32[(base + EC.active_evtchns) >>> 2] === u32[(base + EC.xen_evtchns) >>> 2];
  if (closed) endFifo(domain);
  machine.native.spinUnlock(eventLock(domain));
  return closed ? 0 : -XEN_EAGAIN;
}
