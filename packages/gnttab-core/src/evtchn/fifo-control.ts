/** Beginning and ending FIFO delivery: control blocks and event array (event_channel.h; Xen's event_fifo.c). */
import { XEN_EINVAL, XEN_ENOENT, XEN_ENOSPC, XEN_EOPNOTSUPP } from '../abi/errno.ts';
import {
  EVTCHN_FIFO_LINK_BITS,
  EVTCHN_FIFO_MAX_QUEUES,
  EVTCHN_FIFO_NR_CHANNELS,
  EVTCHN_FIFO_PRIORITY_DEFAULT,
  evtchnFifoControlBlock,
} from '../abi/event-channel.ts';
import { EVENT_WORDS_PER_PAGE, fifoQueue, INVALID_MFN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { PAGE_SIZE } from '../machine/page.ts';
import { vcpuOf } from '../machine/vcpu.ts';
import { controlBlockOf, fifoSetPending } from './fifo.ts';
import { mapGuestPage, unmapGuestPage } from './guest-page.ts';
import { eventLock, lockBoth, portLock, unlockBoth } from './locks.ts';
import {
  EC,
  ECS_INTERDOMAIN,
  evtchn,
  evtchnOf,
  hasVcpu,
  notifyVcpuOf,
  portIsValid,
  usesFifo,
  VC,
} from './structs.ts';
import { twoLevelOps } from './two-level.ts';

const {
  state: STATE,
  remote_dom: REMOTE_DOM,
  remote_port: REMOTE_PORT,
  priority: PRIORITY,
  pending: REMEMBERED,
} = evtchn.offset;
const MAX_EVENT_ARRAY_PAGES = EVTCHN_FIFO_NR_CHANNELS / EVENT_WORDS_PER_PAGE;
const CONTROL_BLOCK_ALIGN = 8;

/** struct evtchn_init_control. */
export interface EvtchnInitControl {
  /** The control block's page as the domain names it (PV: mfn), and where it is in it. */
  controlGfn: number;
  offset: number;
  vcpu: number;
  /** OUT: width of a link, 17. */
  linkBits: number;
}

/**
 * EVTCHNOP_init_control: gives a virtual CPU its control block. With the first one the domain goes over to FIFO delivery;
 * what is pending then is raised as the pages of the event array come.
 */
export function evtchnInitControl(caller: Domain, op: EvtchnInitControl): number {
  const { native } = caller.machine;
  if (!hasVcpu(caller, op.vcpu)) return -XEN_ENOENT;
  if (op.offset > PAGE_SIZE - evtchnFifoControlBlock[caller.abi].size) return -XEN_EINVAL;
  if (op.offset % CONTROL_BLOCK_ALIGN !== 0) return -XEN_EINVAL;
  native.spinLock(eventLock(caller));
  const mapped = mapControlBlock(caller, op.vcpu, op.controlGfn, op.offset);
  if (mapped && !usesFifo(caller)) beginFifo(caller);
  native.spinUnlock(eventLock(caller));
  if (!mapped) return -XEN_EINVAL;
  op.linkBits = EVTCHN_FIFO_LINK_BITS;
  return 0;
}

function mapControlBlock(domain: Domain, vcpu: number, gfn: number, offset: number): boolean {
  if (controlBlockOf(domain, vcpu) !== undefined) return false;
  const frame = mapGuestPage(domain, gfn);
  if (frame === INVALID_MFN) return false;
  const { u16, u32 } = domain.machine;
  const struct = vcpuOf(domain, vcpu);
  u16[(struct + VC.control_offset) >>> 1] = offset;
  Atomics.store(u32, (struct + VC.control_frame) >>> 2, frame);
  return true;
}

/** setup_ports(): what two-level delivery has pending is remembered, and every port has the default priority. */
function beginFifo(domain: Domain): void {
  const { native, u8, u32 } = domain.machine;
  const ports = twoLevelOps.maxPorts(domain);
  // First of all: whoever is sending sets the pending bit before we look at the port, or remembers the event itself.
  Atomics.store(u32, (domain.base + EC.fifo) >>> 2, 1);
  for (let port = 1; port < ports && portIsValid(domain, port); port++) {
    const channel = evtchnOf(domain, port);
    const other = otherEnd(domain, channel);
    lockBoth(native, portLock(channel), portLock(other));
    if (twoLevelOps.isPending(domain, port)) u8[channel + REMEMBERED] = 1;
    u8[channel + PRIORITY] = EVTCHN_FIFO_PRIORITY_DEFAULT;
    unlockBoth(native, portLock(channel), portLock(other));
  }
}

/**
 * The port at the other end of an interdomain channel, with whose lock events are sent to this one; else this one. The event
 * lock is held: neither end changes.
 */
function otherEnd({ machine }: Domain, channel: number): number {
  const { u8, u16, u32 } = machine;
  if (u8[channel + STATE] !== ECS_INTERDOMAIN) return channel;
  const remote = machine.domainById(u16[(channel + REMOTE_DOM) >>> 1]!)!;
  return evtchnOf(remote, u32[(channel + REMOTE_PORT) >>> 2]!);
}

/**
 * EVTCHNOP_expand_array: adds a page of event words, named as the domain names it (PV: mfn). Events that were remembered for
 * its ports are raised, in the order of the ports.
 */
export function evtchnExpandArray(caller: Domain, arrayGfn: number): number {
  const { native } = caller.machine;
  native.spinLock(eventLock(caller));
  const result = usesFifo(caller) ? addPage(caller, arrayGfn) : -XEN_EOPNOTSUPP;
  native.spinUnlock(eventLock(caller));
  return result;
}

/** add_page_to_event_array(). */
function addPage(domain: Domain, gfn: number): number {
  const { machine, base } = domain;
  const { native, u8, u32 } = machine;
  const first = u32[(base + EC.num_evtchns) >>> 2]!;
  const page = first / EVENT_WORDS_PER_PAGE;
  if (page === MAX_EVENT_ARRAY_PAGES) return -XEN_ENOSPC;
  const frame = mapGuestPage(domain, gfn);
  if (frame === INVALID_MFN) return -XEN_EINVAL;
  const end = first + EVENT_WORDS_PER_PAGE;
  u32[((base + EC.event_array) >>> 2) + page] = frame;
  // Only now do its words count: who sees that sees the frame.
  Atomics.store(u32, (base + EC.num_evtchns) >>> 2, end);
  for (let port = first; port < end && portIsValid(domain, port); port++) {
    const channel = evtchnOf(domain, port);
    // Whoever has found the word missing has the lock until the event is remembered.
    const other = otherEnd(domain, channel);
    lockBoth(native, portLock(channel), portLock(other));
    if (u8[channel + REMEMBERED] !== 0) {
      fifoSetPending(domain, notifyVcpuOf(domain, channel), port);
    }
    unlockBoth(native, portLock(channel), portLock(other));
  }
  return 0;
}

/** evtchn_fifo_destroy(): lets go of control blocks and event array, and forgets the queues. The event lock is held. */
export function endFifo(domain: Domain): void {
  const { machine, base } = domain;
  const { u32 } = machine;
  if (!usesFifo(domain)) return;
  const words = u32[(base + EC.num_evtchns) >>> 2]!;
  u32[(base + EC.fifo) >>> 2] = 0;
  u32[(base + EC.num_evtchns) >>> 2] = 0;
  for (let page = 0; page * EVENT_WORDS_PER_PAGE < words; page++) {
    unmapGuestPage(domain, u32[((base + EC.event_array) >>> 2) + page]!);
  }
  for (let vcpu = 0; vcpu < domain.vcpus; vcpu++) endControlBlock(domain, vcpu);
}

function endControlBlock(domain: Domain, vcpu: number): void {
  const { machine } = domain;
  const struct = vcpuOf(domain, vcpu);
  const frame = machine.u32[(struct + VC.control_frame) >>> 2]!;
  machine.u32[(struct + VC.control_frame) >>> 2] = 0;
  for (let queue = 0; queue < EVTCHN_FIFO_MAX_QUEUES; queue++) {
    machine.u32[(struct + VC.queue + queue * fifoQueue.size + fifoQueue.offset.tail) >>> 2] = 0;
  }
  if (frame !== 0) unmapGuestPage(domain, frame);
}
