/** A thread of the event channel tests: attaches to the machine's memory, and sends events or takes them. */
import { parentPort, workerData } from 'node:worker_threads';
import { type Domain, Machine, type MachineShare } from '@ringside/gnttab-core';
import {
  evtchnBindVcpu,
  evtchnSend,
  evtchnSetPriority,
  evtchnUnmask,
} from '@ringside/gnttab-core/hypervisor';
import type { EventGuest } from './event-guest.ts';
import { FifoGuest } from './fifo-guest.ts';
import { TwoLevelGuest } from './two-level-guest.ts';

/** What a thread is told. */
export interface EventJob {
  readonly share: MachineShare;
  readonly kind: 'send' | 'take';
  readonly fifo: boolean;
  readonly domid: number;
  /** send: how many events through each port. */
  readonly rounds: number;
  /** The domain's own ports that are meant, and the index of the first one's letter box. */
  readonly ports: readonly number[];
  readonly firstBox: number;
  /** Byte offset in bank 0 of words: threads still to start, threads that still send, and the letter boxes. */
  readonly at: number;
}

const { share, kind, fifo, domid, rounds, ports, firstBox, at } = workerData as EventJob;
const machine = new Machine(share);
const domain: Domain = machine.domainById(domid)!;
const { i32 } = machine;
const STARTING = at >>> 2;
const SENDING = STARTING + 1;
const boxOf = (index: number): number => STARTING + 16 + firstBox + index;

/** Something that is different each time, and the same in each run. */
let state = domid * 7919 + 1;
const below = (limit: number): number => {
  state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
  return (state >>> 8) % limit;
};

function send(): void {
  for (let round = 0; round < rounds; round++) {
    ports.forEach((port, index) => {
      Atomics.add(i32, boxOf(index), 1);
      evtchnSend(domain, port);
    });
  }
  Atomics.sub(i32, SENDING, 1);
}

/** Takes events until nobody sends any more; the number of letter boxes that nobody looked into since they were filled. */
function take(): number {
  const guest: EventGuest = fifo ? new FifoGuest(domain) : new TwoLevelGuest(domain);
  const seen = ports.map(() => 0);
  const look = (port: number) => {
    const index = ports.indexOf(port);
    guest.mask(port);
    if (fifo) evtchnSetPriority(domain, { port, priority: below(2) });
    evtchnBindVcpu(domain, { port, vcpu: below(domain.vcpus) });
    seen[index] = Atomics.load(i32, boxOf(index));
    evtchnUnmask(domain, port);
  };
  for (let last = false; !last;) {
    last = Atomics.load(i32, SENDING) === 0;
    for (let vcpu = 0; vcpu < domain.vcpus; vcpu++) guest.upcall(vcpu, look);
  }
  return seen.filter((count, index) => count !== Atomics.load(i32, boxOf(index))).length;
}

// All threads start together.
Atomics.sub(i32, STARTING, 1);
while (Atomics.load(i32, STARTING) > 0);
if (kind === 'send') send();
parentPort!.postMessage(kind === 'take' ? take() : 0);
