/**
 * Two-level delivery: a pending bit for each port, and above it a selector bit for each word of pending bits
 * (event_channel.h and xen.h, struct shared_info). All are words that the guest writes too, so each change is atomic.
 */
import { sharedInfo, vcpuInfo } from '../abi/xen.ts';
import type { Domain } from '../machine/machine.ts';

const { evtchn_pending: PENDING, evtchn_mask: MASK } = sharedInfo.x86_64.offset;
const { evtchn_upcall_pending: UPCALL_PENDING, evtchn_pending_sel: SELECTOR } =
  vcpuInfo.x86_64.offset;

/** Ports of two-level delivery with a 64-bit shared info page (EVTCHN_2L_NR_CHANNELS). */
export const EVTCHN_2L_NR_CHANNELS = 4096;
/** A selector bit stands for this many ports (a 64-bit word). */
const PORTS_PER_SELECTOR_BIT = 64;

const page = (domain: Domain): number => domain.sharedInfo << 12;

/** Sets a bit of a bitmap at a byte offset of bank 0; true if it was set already. */
function testAndSetBit(domain: Domain, bitmap: number, bit: number): boolean {
  const mask = 1 << (bit & 31);
  return (Atomics.or(domain.machine.heap.i32, (bitmap >>> 2) + (bit >>> 5), mask) & mask) !== 0;
}

function testAndClearBit(domain: Domain, bitmap: number, bit: number): boolean {
  const mask = 1 << (bit & 31);
  return (Atomics.and(domain.machine.heap.i32, (bitmap >>> 2) + (bit >>> 5), ~mask) & mask) !== 0;
}

function testBit(domain: Domain, bitmap: number, bit: number): boolean {
  const word = Atomics.load(domain.machine.heap.i32, (bitmap >>> 2) + (bit >>> 5));
  return (word & (1 << (bit & 31))) !== 0;
}

/**
 * evtchn_2l_set_pending(): nothing more happens if the port was pending; else, unless it is masked, the selector bit and
 * then the upcall, each only on its own 0 to 1.
 */
export function setPending(domain: Domain, port: number): void {
  const info = page(domain);
  if (testAndSetBit(domain, info + PENDING, port)) return;
  if (!testBit(domain, info + MASK, port)) select(domain, port);
}

/** evtchn_2l_clear_pending(). */
export function clearPending(domain: Domain, port: number): void {
  testAndClearBit(domain, page(domain) + PENDING, port);
}

export const isPending = (domain: Domain, port: number): boolean =>
  testBit(domain, page(domain) + PENDING, port);

/** evtchn_2l_unmask(): an event that came while the port was masked is delivered now. */
export function unmask(domain: Domain, port: number): void {
  const info = page(domain);
  if (testAndClearBit(domain, info + MASK, port) && testBit(domain, info + PENDING, port)) {
    select(domain, port);
  }
}

function select(domain: Domain, port: number): void {
  const vcpu = page(domain); // vcpu_info[0]
  const bit = Math.floor(port / PORTS_PER_SELECTOR_BIT);
  if (!testAndSetBit(domain, vcpu + SELECTOR, bit)) markEventsPending(domain, vcpu);
}

/** vcpu_mark_events_pending(): kicks the vCPU when evtchn_upcall_pending goes from 0 to 1. */
function markEventsPending(domain: Domain, vcpu: number): void {
  const { machine } = domain;
  const previous = Atomics.or(machine.heap.u8, vcpu + UPCALL_PENDING, 1);
  if ((previous & 1) === 0) machine.kick(domain.id);
}
