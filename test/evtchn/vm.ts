/** Domains without a guest kernel, for event channel operations as they are. */
import {
  createDomain,
  createMachine,
  type Domain,
  type EvtchnStatus,
  Hypercalls,
  PAGE_SIZE,
} from '@ringside/gnttab-core';
import { DOMID_SELF, sharedInfo, vcpuInfo } from '@ringside/gnttab-core/abi';

export const NOBODY = 999;
export const { evtchn_pending, evtchn_mask } = sharedInfo.x86_64.offset;
export const { evtchn_upcall_pending, evtchn_pending_sel } = vcpuInfo.x86_64.offset;

/** A domain and its shared info page, with the upcalls that it got counted instead of taken. */
export class Vm {
  readonly domain: Domain;
  readonly calls: Hypercalls;
  upcalls = 0;

  constructor(domain: Domain) {
    this.domain = domain;
    this.calls = new Hypercalls(domain);
    const { machine } = domain;
    const kick = machine.kick.bind(machine);
    machine.kick = (domid) => {
      if (domid === domain.id) this.upcalls += 1;
      kick(domid);
    };
  }

  get id(): number {
    return this.domain.id;
  }

  alloc(remoteDom: number, dom: number = DOMID_SELF): number {
    const op = { dom, remoteDom, port: 0 };
    const result = this.calls.evtchnAllocUnbound(op);
    return result < 0 ? result : op.port;
  }

  bind(remoteDom: number, remotePort: number): number {
    const op = { remoteDom, remotePort, localPort: 0 };
    const result = this.calls.evtchnBindInterdomain(op);
    return result < 0 ? result : op.localPort;
  }

  send(port: number): number {
    return this.calls.evtchnSend(port);
  }

  close(port: number): number {
    return this.calls.evtchnClose(port);
  }

  /** What EVTCHNOP_status says of a port, or -errno. */
  status(port: number, dom: number = DOMID_SELF): number | Partial<EvtchnStatus> {
    const op = { dom, port, status: -99, vcpu: -99, remoteDom: -99, remotePort: -99 };
    const result = this.calls.evtchnStatus(op);
    if (result < 0) return result;
    const { status, remoteDom, remotePort } = op;
    return {
      status,
      ...(remoteDom !== -99 && { remoteDom }),
      ...(remotePort !== -99 && { remotePort }),
    };
  }

  #at(offsetBytes: number): number {
    return this.domain.sharedInfo * PAGE_SIZE + offsetBytes;
  }

  #bit(bitmap: number, bit: number): boolean {
    return ((this.domain.machine.heap.u8[this.#at(bitmap + (bit >>> 3))]! >>> (bit & 7)) & 1) === 1;
  }

  /** Writes a bit as the guest would. */
  set(what: 'pending' | 'mask' | 'selector' | 'upcall', bit: number, value: boolean): void {
    const { u8 } = this.domain.machine.heap;
    const offset = {
      pending: evtchn_pending,
      mask: evtchn_mask,
      selector: evtchn_pending_sel,
      upcall: evtchn_upcall_pending,
    }[what];
    const at = this.#at(offset + (bit >>> 3));
    u8[at] = value ? u8[at]! | (1 << (bit & 7)) : u8[at]! & ~(1 << (bit & 7));
  }

  pending = (port: number): boolean => this.#bit(evtchn_pending, port);
  masked = (port: number): boolean => this.#bit(evtchn_mask, port);
  selected = (word: number): boolean => this.#bit(evtchn_pending_sel, word);
  upcallPending = (): boolean => this.#bit(evtchn_upcall_pending, 0);

  /** Everything delivered is taken: all bits clear, no upcall counted. */
  settle(): void {
    const { u8 } = this.domain.machine.heap;
    u8.fill(0, this.#at(0), this.#at(PAGE_SIZE));
    this.upcalls = 0;
  }
}

export function vms() {
  const machine = createMachine({ memoryPages: 1024, seed: 1 });
  const create = (options = {}) => new Vm(createDomain(machine, { pages: 4, ...options }));
  return { machine, create, a: create({ privileged: true }), b: create(), c: create() };
}

/** Two domains with a channel between them, nothing pending. */
export function channel() {
  const all = vms();
  const { a, b } = all;
  const remote = b.alloc(a.id);
  const local = a.bind(b.id, remote);
  for (const vm of [a, b]) vm.settle();
  return { ...all, local, remote };
}
