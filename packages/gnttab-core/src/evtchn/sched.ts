/** Waiting for events (sched.h: SCHEDOP_block, SCHEDOP_poll), as states of virtual CPUs: whoever runs one looks at them. */
import { XEN_EINVAL } from '../abi/errno.ts';
import { VIRQ_DOM_EXC, vcpuInfo } from '../abi/xen.ts';
import { DOMAIN, DOMAIN_shut_down } from '../machine/layout.ts';
import type { Domain, Machine } from '../machine/machine.ts';
import { bankOffset } from '../machine/page.ts';
import { vcpuOf } from '../machine/vcpu.ts';
import { isPending } from './delivery.ts';
import { portLock } from './locks.ts';
import { evtchnOf, evtchnUsable, portIsValid, VC } from './structs.ts';
import {
  clearBlocked,
  clearPolling,
  isBlocked,
  isPolling,
  pollEvtchn,
  setBlocked,
  setPollEvtchn,
  setPolling,
  vcpuInfoAddress,
  vcpuUnblock,
} from './vcpu.ts';
import { sendGlobalVirq } from './virq.ts';

const { evtchn_upcall_pending: UPCALL_PENDING, evtchn_upcall_mask: UPCALL_MASK } =
  vcpuInfo.x86_64.offset;
/** Ports that can be polled at once. */
export const MAX_POLL_PORTS = 128;
/** A host's timer does not count further: the rest of a long timeout is waited for in parts. */
const MAX_SLEEP_NS = 1e15;

/** local_events_need_delivery(): the guest would take an upcall at once. A translated guest's mask is in its CPU. */
function eventsNeedDelivery(domain: Domain, vcpu: number): boolean {
  const info = vcpuInfoAddress(domain, vcpu);
  const { u8 } = domain.machine.bankOf(info);
  const at = bankOffset(info);
  if (Atomics.load(u8, at + UPCALL_PENDING) === 0) return false;
  return domain.translated || Atomics.load(u8, at + UPCALL_MASK) === 0;
}

/** SCHEDOP_block: upcalls are let through, and unless one is pending the virtual CPU waits for one (`isBlocked`). 0. */
export function schedBlock(domain: Domain, vcpu: number): number {
  const { machine } = domain;
  const info = vcpuInfoAddress(domain, vcpu);
  const bank = machine.bankOf(info);
  const at = bankOffset(info) + UPCALL_MASK;
  Atomics.store(bank.u8, at, 0);
  if (bank.foreign) bank.memory.written?.(at, 1);
  setBlocked(domain, vcpu);
  // Looked at after the state is there for others to see: nobody's event falls between.
  if (eventsNeedDelivery(domain, vcpu)) clearBlocked(domain, vcpu);
  return 0;
}

/**
 * SCHEDOP_poll: unless an upcall would be taken, or one of the ports is pending, the virtual CPU waits (`isBlocked`): for
 * one port, if one is named, or for any; or until `timeoutNs` of the machine's clock, if that is not 0. `portAt` is asked
 * for one port after the other, and may throw. 0 or -EINVAL.
 */
export function pollPorts(
  domain: Domain,
  vcpu: number,
  count: number,
  portAt: (index: number) => number,
  timeoutNs = 0,
): number {
  if (count > MAX_POLL_PORTS) return -XEN_EINVAL;
  const poll = Atomics.add(domain.machine.u32, pollsWord(domain, vcpu), 1) + 1;
  setBlocked(domain, vcpu);
  setPollEvtchn(domain, vcpu, -1);
  setPolling(domain, vcpu);
  let waits = false;
  try {
    // Woken already?
    const woken =
      pollEvtchn(domain, vcpu) === 0 || !isBlocked(domain, vcpu) || !isPolling(domain, vcpu);
    if (woken || eventsNeedDelivery(domain, vcpu)) return 0;
    let port = 0;
    for (let i = 0; i < count; i++) {
      port = portAt(i);
      const result = pollPort(domain, port);
      if (result !== 0) return result < 0 ? result : 0;
    }
    if (count === 1) setPollEvtchn(domain, vcpu, port);
    waits = true;
  } finally {
    if (!waits) endPoll(domain, vcpu);
  }
  if (timeoutNs !== 0) void wakeAt(domain, vcpu, poll >>> 0, timeoutNs);
  return 0;
}

/** As `pollPorts`, for ports that are at hand. */
export const schedPoll = (
  domain: Domain,
  vcpu: number,
  ports: readonly number[],
  timeoutNs = 0,
): number => pollPorts(domain, vcpu, ports.length, (i) => ports[i]!, timeoutNs);

function endPoll(domain: Domain, vcpu: number): void {
  setPollEvtchn(domain, vcpu, 0);
  clearPolling(domain, vcpu);
  clearBlocked(domain, vcpu);
}

/** evtchn_port_poll(): 1 if the port is pending, 0 if not, -EINVAL for one that cannot be polled. */
function pollPort(domain: Domain, port: number): number {
  if (!portIsValid(domain, port)) return -XEN_EINVAL;
  const { native } = domain.machine;
  const channel = evtchnOf(domain, port);
  native.spinLock(portLock(channel));
  const pending = evtchnUsable(domain, channel) ? Number(isPending(domain, port)) : -XEN_EINVAL;
  native.spinUnlock(portLock(channel));
  return pending;
}

/** Counts a virtual CPU's polls. */
const pollsWord = (domain: Domain, vcpu: number): number => (vcpuOf(domain, vcpu) + VC.polls) >>> 2;

/** The poll timer. It belongs to one poll, and wakes no later one. */
async function wakeAt(domain: Domain, vcpu: number, poll: number, timeNs: number): Promise<void> {
  const { machine } = domain;
  await until(machine, timeNs);
  if (!domain.alive || Atomics.load(machine.u32, pollsWord(domain, vcpu)) !== poll) return;
  if (clearPolling(domain, vcpu)) vcpuUnblock(domain, vcpu);
}

async function until(machine: Machine, timeNs: number): Promise<void> {
  for (;;) {
    const left = timeNs - machine.clock.nowNs();
    if (left <= 0) return;
    await machine.scheduler.sleep(Math.min(left, MAX_SLEEP_NS));
  }
}

/** domain_shutdown(): the domain has stopped, for a reason (SHUTDOWN_*). Whoever handles VIRQ_DOM_EXC hears of it. */
export function domainShutdown(domain: Domain, reason: number): void {
  const { machine, base } = domain;
  if (domain.shutdownCode !== undefined) return;
  machine.u32[(base + DOMAIN.shutdown_code) >>> 2] = reason;
  machine.u16[(base + DOMAIN.flags) >>> 1]! |= DOMAIN_shut_down;
  sendGlobalVirq(machine, VIRQ_DOM_EXC);
}
