/**
 * FIFO delivery (event_channel.h, "FIFO ABI"): an event word for each port in the guest's event array, linked into queues by
 * priority, whose heads are in the control block of each virtual CPU. Guests write to all of it: nothing is trusted, and
 * each change is atomic.
 */
import { XEN_EINVAL } from '../abi/errno.ts';
import {
  EVTCHN_FIFO_BUSY,
  EVTCHN_FIFO_LINK_MASK,
  EVTCHN_FIFO_LINKED,
  EVTCHN_FIFO_MASKED,
  EVTCHN_FIFO_NR_CHANNELS,
  EVTCHN_FIFO_PENDING,
  EVTCHN_FIFO_PRIORITY_DEFAULT,
  EVTCHN_FIFO_PRIORITY_MIN,
  evtchnFifoControlBlock,
} from '../abi/event-channel.ts';
import { fifoQueue } from '../machine/layout.ts';
import type { Domain, Machine } from '../machine/machine.ts';
import { frameAddress, type MachineAddress, PAGE_SIZE } from '../machine/page.ts';
import { vcpuOf } from '../machine/vcpu.ts';
import {
  casWord,
  loadWord,
  storeWord,
  testAndClearBit,
  testAndSetBit,
  testBit,
} from './guest-words.ts';
import { lockBoth, unlockBoth } from './locks.ts';
import type { PortOps } from './port-ops.ts';
import { EC, evtchn, evtchnOf, notifyVcpuOf, VC } from './structs.ts';
import { checkPollers, markEventsPending } from './vcpu.ts';

const { priority: PRIORITY, fifo_lastq: LASTQ, pending: REMEMBERED } = evtchn.offset;
const { lock: LOCK, tail: TAIL } = fifoQueue.offset;
const { ready: READY, head: HEAD } = evtchnFifoControlBlock.x86_64.offset;
/** Attempts at what a guest, or another sender, can make fail again and again. */
const MAX_TRIES = 4;

/** evtchn_fifo_word_from_port(): where a port's event word is; undefined while its page is missing. */
function wordOf({ machine, base }: Domain, port: number): MachineAddress | undefined {
  const { u32 } = machine;
  if (port >= u32[(base + EC.num_evtchns) >>> 2]!) return undefined;
  return frameAddress(u32[((base + EC.event_array) >>> 2) + (port >>> 10)]!) + (port & 1023) * 4;
}

/** Byte offset in bank 0 of a queue's struct. */
const queueOf = (domain: Domain, vcpu: number, priority: number): number =>
  vcpuOf(domain, vcpu) + VC.queue + priority * fifoQueue.size;

/** A virtual CPU's control block; undefined if it has none. */
export function controlBlockOf(domain: Domain, vcpu: number): MachineAddress | undefined {
  const { u16, u32 } = domain.machine;
  const struct = vcpuOf(domain, vcpu);
  const frame = u32[(struct + VC.control_frame) >>> 2]!;
  return frame === 0 ? undefined : frame * PAGE_SIZE + u16[(struct + VC.control_offset) >>> 1]!;
}

/** The queue that a port was on last, and the priority that it has now: `virtual CPU << 8 | last priority << 4 | priority`. */
const queuesOf = ({ u8, u32 }: Machine, channel: number): number =>
  (Atomics.load(u32, (channel + LASTQ) >>> 2) << 4) | u8[channel + PRIORITY]!;

/**
 * Locks the queue that an event goes to and the one that its port was on last. Either may change meanwhile. Returns
 * `queuesOf`; -1, and no lock is held, if they did so too often.
 */
function lockQueues(domain: Domain, vcpu: number, channel: number): number {
  const { machine } = domain;
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const queues = queuesOf(machine, channel);
    const queue = queueOf(domain, vcpu, queues & 15);
    const last = queueOf(domain, queues >>> 8, (queues >>> 4) & 15);
    lockBoth(machine.native, queue + LOCK, last + LOCK);
    if (queuesOf(machine, channel) === queues) return queues;
    unlockBoth(machine.native, queue + LOCK, last + LOCK);
  }
  return -1;
}

/**
 * evtchn_fifo_set_link(): links the queue's tail to a port, if the tail is on the queue still; false if the guest has taken
 * it off, and the queue is empty.
 */
function setLink(machine: Machine, tail: MachineAddress, port: number): boolean {
  const LINKED = 1 << EVTCHN_FIFO_LINKED;
  for (let tries = 0; tries <= MAX_TRIES; tries++) {
    const word = loadWord(machine, tail);
    if ((word & LINKED) === 0) {
      if (tries > 0) testAndClearBit(machine, tail, EVTCHN_FIFO_BUSY);
      return false;
    }
    const linked = (word & ~((1 << EVTCHN_FIFO_BUSY) | EVTCHN_FIFO_LINK_MASK)) | port;
    if (casWord(machine, tail, word, linked) === word) return true;
    // The guest changes its word: from now on it leaves LINKED alone, if it keeps to the rules.
    if (tries === 0) testAndSetBit(machine, tail, EVTCHN_FIFO_BUSY);
  }
  testAndClearBit(machine, tail, EVTCHN_FIFO_BUSY);
  return true;
}

/** Appends a port to a queue that is locked; true if the queue was empty, and the port is now its head. */
function append(
  domain: Domain,
  control: MachineAddress,
  priority: number,
  queue: number,
  port: number,
) {
  const { machine } = domain;
  const { u32 } = machine;
  const tail = u32[(queue + TAIL) >>> 2]!;
  const word = tail === 0 ? undefined : wordOf(domain, tail);
  const linked = word !== undefined && setLink(machine, word, port);
  if (!linked) storeWord(machine, control + HEAD + priority * 4, port);
  u32[(queue + TAIL) >>> 2] = port;
  return !linked;
}

/** evtchn_fifo_set_pending(). Needs only that the port is valid: one that was closed since is queued, too. */
export function fifoSetPending(domain: Domain, vcpu: number, port: number): void {
  const { machine } = domain;
  const { u8, u32, native } = machine;
  const channel = evtchnOf(domain, port);
  const word = wordOf(domain, port);
  if (word === undefined) {
    u8[channel + REMEMBERED] = 1;
    return;
  }
  // Locked before PENDING is set: a guest that sees it, and finds the event on no queue, would go to sleep.
  const queues = lockQueues(domain, vcpu, channel);
  if (queues < 0) return; // lost: too many changes of the queue
  const priority = queues & 15;
  const queue = queueOf(domain, vcpu, priority);
  const last = queueOf(domain, queues >>> 8, (queues >>> 4) & 15);
  const control = controlBlockOf(domain, vcpu);
  let wasPending = true;
  let isHead = false;
  if (control !== undefined) {
    wasPending = testAndSetBit(machine, word, EVTCHN_FIFO_PENDING);
    const links =
      !testBit(machine, word, EVTCHN_FIFO_MASKED) &&
      !testAndSetBit(machine, word, EVTCHN_FIFO_LINKED);
    if (links) {
      // The last queue is empty now if this was its tail; adding to it would follow a link of another queue.
      if (u32[(last + TAIL) >>> 2] === port) u32[(last + TAIL) >>> 2] = 0;
      Atomics.store(u32, (channel + LASTQ) >>> 2, (vcpu << 4) | priority);
      isHead = append(domain, control, priority, queue, port);
    }
  }
  unlockBoth(native, queue + LOCK, last + LOCK);
  if (isHead && !testAndSetBit(machine, control! + READY, priority)) {
    markEventsPending(domain, vcpu);
  }
  if (!wasPending) checkPollers(domain, port);
}

/** A bit of a port's event word; false while that is missing. */
function wordBit(domain: Domain, port: number, bit: number): boolean {
  const word = wordOf(domain, port);
  return word !== undefined && testBit(domain.machine, word, bit);
}

/** evtchn_port_ops_fifo. */
export const fifoOps: PortOps = {
  maxPorts: () => EVTCHN_FIFO_NR_CHANNELS,
  setPending: fifoSetPending,

  clearPending(domain, port) {
    const word = wordOf(domain, port);
    if (word !== undefined) testAndClearBit(domain.machine, word, EVTCHN_FIFO_PENDING);
  },

  unmask(domain, port) {
    const word = wordOf(domain, port);
    if (word === undefined) return;
    testAndClearBit(domain.machine, word, EVTCHN_FIFO_MASKED);
    if (testBit(domain.machine, word, EVTCHN_FIFO_PENDING)) {
      fifoSetPending(domain, notifyVcpuOf(domain, evtchnOf(domain, port)), port);
    }
  },

  isPending: (domain, port) => wordBit(domain, port, EVTCHN_FIFO_PENDING),
  isMasked: (domain, port) =>
    wordOf(domain, port) === undefined || wordBit(domain, port, EVTCHN_FIFO_MASKED),
  isBusy: (domain, port) => wordBit(domain, port, EVTCHN_FIFO_LINKED),

  bound(domain, port) {
    domain.machine.u8[evtchnOf(domain, port) + PRIORITY] = EVTCHN_FIFO_PRIORITY_DEFAULT;
  },

  setPriority(domain, port, priority) {
    if (priority > EVTCHN_FIFO_PRIORITY_MIN) return -XEN_EINVAL;
    domain.machine.u8[evtchnOf(domain, port) + PRIORITY] = priority;
    return 0;
  },
};
