/**
 * A guest kernel's event channels: takes upcalls apart (selector, pending, mask) and hands each event to its port.
 * Source: event_channel.h, xen.h (struct shared_info), two-level delivery.
 */
import { DOMID_SELF, sharedInfo, vcpuInfo } from '../abi/xen.ts';
import { XENMAPSPACE_shared_info } from '../abi/memory.ts';
import type { Hypercalls } from '../hypercall/hypercalls.ts';
import { COUNTER } from '../machine/counters.ts';
import type { Bank } from '../machine/bank.ts';
import type { Domain } from '../machine/machine.ts';
import { bankOffset, type DomId, type Port } from '../machine/page.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { EventChannelError } from './errors.ts';
import { EventPort } from './event-port.stream.ts';
import type { GuestMemory } from './memory.ts';

const { evtchn_upcall_pending: UPCALL_PENDING } = vcpuInfo.x86_64.offset;

/** A guest's ports, and the upcall that serves them all. */
export class EventPorts {
  readonly #domain: Domain;
  readonly #memory: GuestMemory;
  readonly #hypercalls: Hypercalls;
  readonly #sharedInfo: number;
  /** Where the bits are in it: of pending ports, of masked ones, and the selector. */
  readonly #pending: number;
  readonly #mask: number;
  readonly #selector: number;
  /** Words of 32 bits in an `unsigned long`: as many has the selector, and for as many stands each of its bits. */
  readonly #longWords: number;
  readonly #ports = new Map<number, EventPort>();
  #bank!: Bank;

  /** Maps the shared info page and takes the domain's upcalls. Throws GuestMemoryError. */
  constructor(domain: Domain, memory: GuestMemory, hypercalls: Hypercalls) {
    this.#domain = domain;
    this.#memory = memory;
    this.#hypercalls = hypercalls;
    const { abi } = domain;
    this.#pending = sharedInfo[abi].offset.evtchn_pending;
    this.#mask = sharedInfo[abi].offset.evtchn_mask;
    this.#selector = vcpuInfo[abi].offset.evtchn_pending_sel;
    this.#longWords = abi === 'i386' ? 1 : 2;
    this.#sharedInfo = memory.mapXenFrame(XENMAPSPACE_shared_info, 0, domain.sharedInfo);
    domain.machine.upcalls.set(domain.id, () => this.#upcall());
    // What came before there was anybody to take it: it raised no upcall, and nothing after it would.
    const info = this.#info();
    if (Atomics.load(this.#bank.u8, info + UPCALL_PENDING) !== 0) domain.machine.kick(domain.id);
  }

  /** Ports open at the moment. */
  get open(): number {
    return this.#ports.size;
  }

  /** EVTCHNOP_alloc_unbound: a port that `remote` may bind to. Throws EventChannelError. */
  allocUnbound(remote: DomId): EventPort {
    const op = { dom: DOMID_SELF, remoteDom: remote, port: 0 };
    const result = this.#hypercalls.evtchnAllocUnbound(op);
    if (result < 0) throw new EventChannelError(`allocating a port for domain ${remote}`, result);
    return this.#add(op.port);
  }

  /** EVTCHNOP_bind_interdomain: a local port joined to `remotePort` of `remote`. Throws EventChannelError. */
  bindInterdomain(remote: DomId, remotePort: Port): EventPort {
    const op = { remoteDom: remote, remotePort, localPort: 0 };
    const result = this.#hypercalls.evtchnBindInterdomain(op);
    if (result < 0) {
      throw new EventChannelError(`binding to port ${remotePort} of domain ${remote}`, result);
    }
    return this.#add(op.localPort);
  }

  #add(number: number): EventPort {
    const port = new EventPort(number as Port, {
      send: () => {
        const result = this.#hypercalls.evtchnSend(number);
        if (result < 0) throw new EventChannelError(`notifying through port ${number}`, result);
      },
      suppressed: () => {
        this.#domain.count(COUNTER.notificationsSuppressed);
        this.#domain.machine.trace.emit(TRACE.evtchnHeld, this.#domain.id, number);
      },
      mask: () => {
        const info = this.#info();
        Atomics.or(
          this.#bank.i32,
          ((info + this.#mask) >>> 2) + (number >>> 5),
          1 << (number & 31),
        );
      },
      unmask: () => void this.#hypercalls.evtchnUnmask(number),
      close: () => {
        this.#ports.delete(number);
        this.#hypercalls.evtchnClose(number);
      },
    });
    this.#ports.set(number, port);
    return port;
  }

  /** Byte offset of the shared info page in `#bank`, reached through the guest's mapping of it. */
  #info(): number {
    const address = this.#memory.translate(this.#sharedInfo, 'write');
    this.#bank = this.#memory.bankOf(address);
    return bankOffset(address);
  }

  /**
   * The upcall: clear the flag, take the selector, then each pending and unmasked port, and look again if the flag was
   * set meanwhile. Flag, selector and pending bits are cleared *before* what they stand for is looked at: an event that
   * comes later sets them again.
   */
  #upcall(): void {
    if (!this.#domain.alive) return; // destroyed since the upcall was posted
    this.#domain.count(COUNTER.upcalls);
    this.#domain.machine.trace.emit(TRACE.upcall, this.#domain.id, 0);
    const info = this.#info();
    const { u8, i32 } = this.#bank;
    const longWords = this.#longWords;
    const selectors = (info + this.#selector) >>> 2;
    do {
      Atomics.store(u8, info + UPCALL_PENDING, 0);
      for (let word = 0; word < longWords; word++) {
        const selector = Atomics.exchange(i32, selectors + word, 0);
        for (let rest = selector; rest !== 0; rest &= rest - 1) {
          const first = (word * 32 + (31 - Math.clz32(rest & -rest))) * longWords;
          for (let i = 0; i < longWords; i++) this.#deliver(info, i32, first + i);
        }
      }
    } while (Atomics.load(u8, info + UPCALL_PENDING) !== 0);
  }

  /** Delivers the events of 32 ports: word `word` of the pending bits. */
  #deliver(info: number, i32: Int32Array<ArrayBufferLike>, word: number): void {
    const pendingWord = ((info + this.#pending) >>> 2) + word;
    const mask = Atomics.load(i32, ((info + this.#mask) >>> 2) + word);
    let pending = Atomics.load(i32, pendingWord) & ~mask;
    for (; pending !== 0; pending &= pending - 1) {
      const bit = pending & -pending;
      Atomics.and(i32, pendingWord, ~bit);
      this.#ports.get(word * 32 + (31 - Math.clz32(bit)))?.deliver();
    }
  }
}
