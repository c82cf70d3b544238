/**
 * A guest's side of FIFO delivery, as event_channel.h ("FIFO ABI") describes it: a control block for each virtual CPU, an
 * event array, and an upcall that takes the queues empty, the most urgent first.
 */
import { type Domain, PAGE_SIZE } from '@ringside/gnttab-core';
import {
  EVTCHN_FIFO_BUSY,
  EVTCHN_FIFO_LINK_MASK,
  EVTCHN_FIFO_LINKED,
  EVTCHN_FIFO_MASKED,
  EVTCHN_FIFO_PENDING,
  evtchnFifoControlBlock,
} from '@ringside/gnttab-core/abi';
import { evtchnExpandArray, evtchnInitControl, gfnToMfn } from '@ringside/gnttab-core/hypervisor';
import { EventGuest } from './event-guest.ts';

const { size: CONTROL_SIZE } = evtchnFifoControlBlock.x86_64;
const { ready: READY, head: HEAD } = evtchnFifoControlBlock.x86_64.offset;
export const WORDS_PER_PAGE = 1024;
export const PENDING = 1 << EVTCHN_FIFO_PENDING;
export const MASKED = 1 << EVTCHN_FIFO_MASKED;
export const LINKED = 1 << EVTCHN_FIFO_LINKED;
export const BUSY = 1 << EVTCHN_FIFO_BUSY;

/** Own pages: the control blocks of all virtual CPUs are in the first, the event array begins with the second. */
const CONTROL_GFN = 0;
const ARRAY_GFN = 1;

/** A PV guest. */
export class FifoGuest extends EventGuest {
  /** Pages of the event array so far. */
  #pages = 0;

  /** EVTCHNOP_init_control: 0 or -errno. `gfn` is what is said to be its page. */
  init(vcpu = 0, controlGfn = gfnToMfn(this.domain, CONTROL_GFN)): number {
    const op = { controlGfn, offset: vcpu * CONTROL_SIZE, vcpu, linkBits: 0 };
    return evtchnInitControl(this.domain, op);
  }

  /** EVTCHNOP_expand_array with the next page: 0 or -errno. */
  expand(): number {
    const result = evtchnExpandArray(this.domain, gfnToMfn(this.domain, ARRAY_GFN + this.#pages));
    if (result === 0) this.#pages += 1;
    return result;
  }

  /** EVTCHNOP_reset has taken the pages back. All its words are zero, as the header wants them to begin with. */
  forget(): void {
    for (let page = -1; page < this.#pages; page++) {
      const at = gfnToMfn(this.domain, ARRAY_GFN + page) * PAGE_SIZE;
      this.domain.machine.heap.u8.fill(0, at, at + PAGE_SIZE);
    }
    this.#pages = 0;
  }

  /** Index in bank 0's words of a port's event word. */
  at(port: number): number {
    const frame = gfnToMfn(this.domain, ARRAY_GFN + Math.floor(port / WORDS_PER_PAGE));
    return (frame * PAGE_SIZE) / 4 + (port % WORDS_PER_PAGE);
  }

  word(port: number): number {
    return this.words[this.at(port)]!;
  }

  set(port: number, bits: number): void {
    Atomics.or(this.words, this.at(port), bits);
  }

  clear(port: number, bits: number): void {
    Atomics.and(this.words, this.at(port), ~bits);
  }

  mask(port: number): void {
    this.set(port, MASKED);
  }

  pending(port: number): boolean {
    return (this.word(port) & PENDING) !== 0;
  }

  #control(vcpu: number): number {
    return (gfnToMfn(this.domain, CONTROL_GFN) * PAGE_SIZE + vcpu * CONTROL_SIZE) / 4;
  }

  /** The bit of each queue that has become non-empty. */
  ready(vcpu = 0): number {
    return this.words[this.#control(vcpu) + READY / 4]!;
  }

  head(priority: number, vcpu = 0): number {
    return this.words[this.#control(vcpu) + HEAD / 4 + priority]!;
  }

  /** Takes the ready bits, as an upcall begins; returns them. */
  acknowledge(vcpu = 0): number {
    return Atomics.exchange(this.words, this.#control(vcpu) + READY / 4, 0);
  }

  protected override scan(vcpu: number, take: (port: number) => void): void {
    /** The next event of each queue; none: the queue's head in the control block is. */
    const next = new Map<number, number>();
    for (let ready = this.acknowledge(vcpu); ready !== 0; ready |= this.acknowledge(vcpu)) {
      const priority = 31 - Math.clz32(ready & -ready);
      const port = next.get(priority) ?? this.head(priority, vcpu);
      const link = this.#unlink(port);
      if (link === 0) {
        next.delete(priority);
        ready &= ~(1 << priority);
      } else next.set(priority, link);
      const word = this.word(port);
      if ((word & PENDING) === 0 || (word & MASKED) !== 0) continue;
      this.clear(port, PENDING);
      take(port);
    }
  }

  /** Takes the first event off its queue, LINKED and link in one step; returns the link. */
  #unlink(port: number): number {
    const at = this.at(port);
    for (;;) {
      // While BUSY is set, Xen is about to write the link.
      const word = this.words[at]! & ~BUSY;
      const unlinked = word & ~(LINKED | EVTCHN_FIFO_LINK_MASK);
      if (Atomics.compareExchange(this.words, at, word, unlinked) === word) {
        return word & EVTCHN_FIFO_LINK_MASK;
      }
    }
  }
}

/** The domain has FIFO delivery from now on, for all its virtual CPUs, with so many pages of event words. */
export function fifoGuest(domain: Domain, pages = 1): FifoGuest {
  const guest = new FifoGuest(domain);
  for (let vcpu = 0; vcpu < domain.vcpus; vcpu++) guest.init(vcpu);
  for (let page = 0; page < pages; page++) guest.expand();
  return guest;
}
