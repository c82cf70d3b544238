/** EVTCHNOP_close, and whoever else closes ports. */
import { XEN_EINVAL } from '../abi/errno.ts';
import type { Domain } from '../machine/machine.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { freePort } from './allocation.ts';
import { eventLock, lockBoth, portLock, unlockBoth } from './locks.ts';
import {
  consumerIsXen,
  ECS_INTERDOMAIN,
  ECS_RESERVED,
  ECS_UNBOUND,
  ECS_VIRQ,
  evtchn,
  evtchnOf,
  portIsValid,
} from './structs.ts';
import { unbindVirq } from './virq.ts';

const { state: STATE, remote_dom: REMOTE_DOM, remote_port: REMOTE_PORT } = evtchn.offset;

/** EVTCHNOP_close: the port is free; the other end of an interdomain channel is unbound, reserved for the caller. */
export const evtchnClose = (caller: Domain, port: number): number => closePort(caller, port, true);

/** evtchn_close(): 0 or -EINVAL. A guest cannot close a port that Xen consumes. */
export function closePort(domain: Domain, port: number, byGuest: boolean): number {
  const { machine } = domain;
  if (!portIsValid(domain, port)) return -XEN_EINVAL;
  const { native } = machine;
  const channel = evtchnOf(domain, port);
  for (;;) {
    const remote = remoteOf(domain, channel);
    const remoteLock = eventLock(remote ?? domain);
    lockBoth(native, eventLock(domain), remoteLock);
    // The other end may have changed before we had its lock: look again.
    const settled = remoteOf(domain, channel) === remote;
    const result = settled ? closeLocked(domain, port, channel, remote, byGuest) : 0;
    unlockBoth(native, eventLock(domain), remoteLock);
    if (!settled) continue;
    if (result === 0) machine.trace.emit(TRACE.evtchnClose, domain.id, port);
    return result;
  }
}

/** The domain at the other end of an interdomain channel. */
function remoteOf({ machine }: Domain, channel: number): Domain | undefined {
  if (machine.u8[channel + STATE] !== ECS_INTERDOMAIN) return undefined;
  return machine.domainById(machine.u16[(channel + REMOTE_DOM) >>> 1]!);
}

function closeLocked(
  domain: Domain,
  port: number,
  channel: number,
  remote: Domain | undefined,
  byGuest: boolean,
): number {
  const { native, u8, u16, u32 } = domain.machine;
  const state = u8[channel + STATE]!;
  if (state <= ECS_RESERVED || (byGuest && consumerIsXen(domain, channel))) return -XEN_EINVAL;
  if (state === ECS_VIRQ) unbindVirq(domain, channel);
  const other =
    remote === undefined ? channel : evtchnOf(remote, u32[(channel + REMOTE_PORT) >>> 2]!);
  lockBoth(native, portLock(channel), portLock(other));
  freePort(domain, port, channel);
  if (remote !== undefined) {
    u8[other + STATE] = ECS_UNBOUND;
    u16[(other + REMOTE_DOM) >>> 1] = domain.id;
  }
  unlockBoth(native, portLock(channel), portLock(other));
  return 0;
}
