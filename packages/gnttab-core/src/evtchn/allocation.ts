/** A domain's ports: how they come to be, are found free, and go (Xen's event_channel.c). */
import { XEN_EBUSY, XEN_EINVAL, XEN_ENOMEM, XEN_ENOSPC } from '../abi/errno.ts';
import { allocXenHeapPage, freeXenHeapPage } from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { clearPending, isBusy, maxEvtchns } from './delivery.ts';
import {
  consumerIsXen,
  EC,
  ECS_FREE,
  ECS_RESERVED,
  evtchn,
  EVTCHNS_PER_GROUP,
  EVTCHNS_PER_PAGE,
  evtchnOf,
  portIsValid,
} from './structs.ts';

const { state: STATE, notify_vcpu_id: NOTIFY_VCPU, xen_consumer: XEN_CONSUMER } = evtchn.offset;

/** Gives a domain its event channels. `maxPort` is the highest port it may have. False when memory is exhausted. */
export function initPorts(domain: Domain, maxPort: number): boolean {
  const { machine, base } = domain;
  const list = allocXenHeapPage(machine);
  if (list === INVALID_MFN) return false;
  machine.u32[(base + EC.bucket_list) >>> 2] = list;
  machine.u32[(base + EC.max_evtchn_port) >>> 2] = maxPort;
  if (!addGroup(domain)) return false;
  machine.u8[evtchnOf(domain, 0) + STATE] = ECS_RESERVED;
  return true;
}

/** Makes the next ports valid. */
function addGroup(domain: Domain): boolean {
  const { machine, base } = domain;
  const { u32 } = machine;
  const valid = u32[(base + EC.valid_evtchns) >>> 2]!;
  if (valid % EVTCHNS_PER_PAGE === 0) {
    const frame = allocXenHeapPage(machine);
    if (frame === INVALID_MFN) return false;
    u32[(u32[(base + EC.bucket_list) >>> 2]! << 10) + valid / EVTCHNS_PER_PAGE] = frame;
  }
  // Whoever sees the ports valid finds their structs.
  Atomics.store(u32, (base + EC.valid_evtchns) >>> 2, valid + EVTCHNS_PER_GROUP);
  return true;
}

/** evtchn_allocate_port(): 0 if this port is free, and has a struct now; else -errno, EBUSY if it is in use. */
function tryPort(domain: Domain, port: number): number {
  if (port >= maxEvtchns(domain)) return -XEN_ENOSPC;
  if (!portIsValid(domain, port)) return addGroup(domain) ? 0 : -XEN_ENOMEM;
  return isInUse(domain, port) || isBusy(domain, port) ? -XEN_EBUSY : 0;
}

/**
 * get_free_port(): the lowest free port, or -errno. Whoever wants it calls `takePort`. The caller holds the domain's
 * event lock.
 */
export function getFreePort(domain: Domain): number {
  if (domain.isDying) return -XEN_EINVAL;
  const { u32 } = domain.machine;
  const limit = u32[(domain.base + EC.max_evtchn_port) >>> 2]!;
  const firstFree = (domain.base + EC.first_free) >>> 2;
  while (u32[firstFree]! <= limit && isInUse(domain, u32[firstFree]!)) u32[firstFree]! += 1;
  for (let port = u32[firstFree]!; port <= limit; port++) {
    const result = tryPort(domain, port);
    if (result === 0) return port;
    if (result !== -XEN_EBUSY) return result;
  }
  return -XEN_ENOSPC;
}

const isInUse = (domain: Domain, port: number): boolean =>
  portIsValid(domain, port) && domain.machine.u8[evtchnOf(domain, port) + STATE] !== ECS_FREE;

/** A free port is in use from now on, in this state. The caller holds the domain's event lock, and the port's. */
export function takePort(domain: Domain, channel: number, state: number): void {
  const { machine, base } = domain;
  machine.u8[channel + STATE] = state;
  machine.u32[(base + EC.active_evtchns) >>> 2]! += 1;
}

/** Xen consumes the events of a port that was just taken. */
export function takeForXen(domain: Domain, channel: number): void {
  const { machine, base } = domain;
  machine.u8[channel + XEN_CONSUMER] = 1;
  machine.u32[(base + EC.xen_evtchns) >>> 2]! += 1;
}

/**
 * evtchn_free(): only the port's own pending bit goes; mask, selector and upcall, link and LINKED stay as they are. The
 * caller holds the domain's event lock, and the port's.
 */
export function freePort(domain: Domain, port: number, channel: number): void {
  const { machine, base } = domain;
  const { u8, u16, u32 } = machine;
  clearPending(domain, port);
  if (consumerIsXen(domain, channel)) u32[(base + EC.xen_evtchns) >>> 2]! -= 1;
  u32[(base + EC.active_evtchns) >>> 2]! -= 1;
  u8[channel + STATE] = ECS_FREE;
  u8[channel + XEN_CONSUMER] = 0;
  u16[(channel + NOTIFY_VCPU) >>> 1] = 0;
  const firstFree = (base + EC.first_free) >>> 2;
  if (port < u32[firstFree]!) u32[firstFree] = port;
}

/** Frees the port structs; the domain is gone from everybody's sight. */
export function destroyPorts(domain: Domain): void {
  const { machine, base } = domain;
  const { u32 } = machine;
  const list = u32[(base + EC.bucket_list) >>> 2]!;
  if (list === 0) return; // a domain whose creation failed
  const pages = Math.ceil(u32[(base + EC.valid_evtchns) >>> 2]! / EVTCHNS_PER_PAGE);
  for (let i = 0; i < pages; i++) freeXenHeapPage(machine, u32[(list << 10) + i]!);
  freeXenHeapPage(machine, list);
}
