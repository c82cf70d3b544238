/** Virtual CPUs that wait for events: upcalls, blocking and polling (Xen's sched.h, event.h). */
import { vcpuInfo } from '../abi/xen.ts';
import { VPF_blocked } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { type MachineAddress, PAGE_SIZE } from '../machine/page.ts';
import { vcpuOf } from '../machine/vcpu.ts';
import { testAndSetBit } from './guest-words.ts';
import { EC, VC } from './structs.ts';

const { evtchn_upcall_pending: UPCALL_PENDING } = vcpuInfo.x86_64.offset;
// Constants of this module: V8 folds them into the code, what is imported it does not.
const {
  vcpu_info_frame: VCPU_INFO_FRAME,
  vcpu_info_offset: VCPU_INFO_OFFSET,
  pause_flags: PAUSE_FLAGS,
  poll_evtchn: POLL_EVTCHN,
} = VC;
const { poll_mask: POLL_MASK } = EC;
const BLOCKED = VPF_blocked;

/** Where a virtual CPU's vcpu_info is. */
export function vcpuInfoAddress(domain: Domain, vcpu: number): MachineAddress {
  const { u16, u32 } = domain.machine;
  const struct = vcpuOf(domain, vcpu);
  const frame = u32[(struct + VCPU_INFO_FRAME) >>> 2]!;
  return frame * PAGE_SIZE + u16[(struct + VCPU_INFO_OFFSET) >>> 1]!;
}

/** vcpu_mark_events_pending(): kicks the virtual CPU when evtchn_upcall_pending goes from 0 to 1. */
export function markEventsPending(domain: Domain, vcpu: number): void {
  const { machine } = domain;
  if (testAndSetBit(machine, vcpuInfoAddress(domain, vcpu) + UPCALL_PENDING, 0)) return;
  machine.kick(domain.id, vcpu);
  vcpuUnblock(domain, vcpu);
}

/** The virtual CPU waits for an event. */
export const isBlocked = (domain: Domain, vcpu: number): boolean =>
  (domain.machine.native.load(vcpuOf(domain, vcpu) + PAUSE_FLAGS) & BLOCKED) !== 0;

/** It is about to wait: whoever has an event for it from now on wakes it. */
export function setBlocked(domain: Domain, vcpu: number): void {
  domain.machine.native.or(vcpuOf(domain, vcpu) + PAUSE_FLAGS, BLOCKED);
}

/** It does not wait (any more); true if it did. */
export const clearBlocked = (domain: Domain, vcpu: number): boolean =>
  (domain.machine.native.and(vcpuOf(domain, vcpu) + PAUSE_FLAGS, ~BLOCKED) & BLOCKED) !== 0;

const pollWord = ({ base }: Domain, vcpu: number): number => base + POLL_MASK + (vcpu >>> 5) * 4;

/** Its bit of the domain's poll_mask is set. */
export const isPolling = (domain: Domain, vcpu: number): boolean =>
  (domain.machine.native.load(pollWord(domain, vcpu)) & (1 << (vcpu & 31))) !== 0;

export function setPolling(domain: Domain, vcpu: number): void {
  domain.machine.native.or(pollWord(domain, vcpu), 1 << (vcpu & 31));
}

/** Clears the bit; true if it was set. */
export function clearPolling(domain: Domain, vcpu: number): boolean {
  const bit = 1 << (vcpu & 31);
  return (domain.machine.native.and(pollWord(domain, vcpu), ~bit) & bit) !== 0;
}

/** vcpu.poll_evtchn: the one port polled; -1: several or none; 0: it does not poll. */
export const pollEvtchn = (domain: Domain, vcpu: number): number =>
  domain.machine.native.load(vcpuOf(domain, vcpu) + POLL_EVTCHN);

export function setPollEvtchn(domain: Domain, vcpu: number, port: number): void {
  Atomics.store(domain.machine.i32, (vcpuOf(domain, vcpu) + POLL_EVTCHN) >>> 2, port);
}

/** vcpu_unblock(): a virtual CPU that waits is runnable again; its poll has ended, if it was one. */
export function vcpuUnblock(domain: Domain, vcpu: number): void {
  if (!clearBlocked(domain, vcpu)) return;
  if (pollEvtchn(domain, vcpu) !== 0) {
    setPollEvtchn(domain, vcpu, 0);
    // Another waker may have seen the bit, and would wake a later wait.
    if (clearPolling(domain, vcpu)) clearBlocked(domain, vcpu);
  }
  domain.machine.onWake?.(domain.id, vcpu);
}

/** evtchn_check_pollers(): a port became pending; wakes those that poll it, or may. */
export function checkPollers(domain: Domain, port: number): void {
  const { native } = domain.machine;
  for (let first = 0; first < domain.vcpus; first += 32) {
    for (let mask = native.load(pollWord(domain, first)); mask !== 0; mask &= mask - 1) {
      const vcpu = first + (31 - Math.clz32(mask & -mask));
      const polled = pollEvtchn(domain, vcpu);
      if ((polled <= 0 || polled === port) && clearPolling(domain, vcpu)) {
        setPollEvtchn(domain, vcpu, 0);
        vcpuUnblock(domain, vcpu);
      }
    }
  }
}
