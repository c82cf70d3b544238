/** Domains without a guest kernel, for event channel operations as they are. */
import {
  createDomain,
  type CreateDomainOptions,
  createMachine,
  type Domain,
  type EvtchnStatus,
  Hypercalls,
  PAGE_SIZE,
} from '@ringside/gnttab-core';
import { DOMID_SELF, sharedInfo, vcpuInfo } from '@ringside/gnttab-core/abi';
import {
  evtchnBindIpi,
  evtchnBindVcpu,
  evtchnBindVirq,
  isBlocked,
} from '@ringside/gnttab-core/hypervisor';

export const NOBODY = 999;

/** A domain and its shared info page, with the upcalls that it got counted instead of taken. */
export class Vm {
  readonly domain: Domain;
  readonly calls: Hypercalls;
  upcalls = 0;
  /** The virtual CPUs that got an upcall, and those that were woken, in order. */
  up: number[] = [];
  woken: number[] = [];

  constructor(domain: Domain) {
    this.domain = domain;
    this.calls = new Hypercalls(domain);
    const { machine } = domain;
    const { onUpcall, onWake } = machine;
    machine.onUpcall = (domid, vcpu) => {
      if (domid === domain.id) {
        this.upcalls += 1;
        this.up.push(vcpu);
      }
      onUpcall?.(domid, vcpu);
    };
    machine.onWake = (domid, vcpu) => {
      if (domid === domain.id) this.woken.push(vcpu);
      onWake?.(domid, vcpu);
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

  ipi(vcpu: number): number {
    const op = { vcpu, port: 0 };
    const result = evtchnBindIpi(this.domain, op);
    return result < 0 ? result : op.port;
  }

  virq(virq: number, vcpu = 0): number {
    const op = { virq, vcpu, port: 0 };
    const result = evtchnBindVirq(this.domain, op);
    return result < 0 ? result : op.port;
  }

  /** EVTCHNOP_bind_vcpu. */
  move(port: number, vcpu: number): number {
    return evtchnBindVcpu(this.domain, { port, vcpu });
  }

  send(port: number): number {
    return this.calls.evtchnSend(port);
  }

  close(port: number): number {
    return this.calls.evtchnClose(port);
  }

  /** What EVTCHNOP_status says of a port, or -errno. */
  status(port: number, dom: number = DOMID_SELF): number | Partial<EvtchnStatus> {
    const op = { dom, port, status: -99, vcpu: -99, remoteDom: -99, remotePort: -99, virq: -99 };
    const result = this.calls.evtchnStatus(op);
    if (result < 0) return result;
    const { status, vcpu, remoteDom, remotePort, virq } = op;
    return {
      status,
      ...(vcpu !== 0 && { vcpu }),
      ...(remoteDom !== -99 && { remoteDom }),
      ...(remotePort !== -99 && { remotePort }),
      ...(virq !== -99 && { virq }),
    };
  }

  blocked = (vcpu = 0): boolean => isBlocked(this.domain, vcpu);

  #at(offsetBytes: number): number {
    return this.domain.sharedInfo * PAGE_SIZE + offsetBytes;
  }

  /** Where a bit is: its byte, and its place in it. */
  #place(what: Bits, bit: number, vcpu: number): { at: number; mask: number } {
    const { abi } = this.domain;
    const info = vcpu * vcpuInfo[abi].size;
    const offset = {
      pending: sharedInfo[abi].offset.evtchn_pending,
      mask: sharedInfo[abi].offset.evtchn_mask,
      selector: info + vcpuInfo[abi].offset.evtchn_pending_sel,
      upcall: info + vcpuInfo[abi].offset.evtchn_upcall_pending,
      upcallMask: info + vcpuInfo[abi].offset.evtchn_upcall_mask,
    }[what];
    return { at: this.#at(offset + (bit >>> 3)), mask: 1 << (bit & 7) };
  }

  #bit(what: Bits, bit: number, vcpu = 0): boolean {
    const { at, mask } = this.#place(what, bit, vcpu);
    return (this.domain.machine.u8[at]! & mask) !== 0;
  }

  /** Writes a bit as the guest would. */
  set(what: Bits, bit: number, value: boolean, vcpu = 0): void {
    const { u8 } = this.domain.machine;
    const { at, mask } = this.#place(what, bit, vcpu);
    u8[at] = value ? u8[at]! | mask : u8[at]! & ~mask;
  }

  pending = (port: number): boolean => this.#bit('pending', port);
  masked = (port: number): boolean => this.#bit('mask', port);
  selected = (word: number, vcpu = 0): boolean => this.#bit('selector', word, vcpu);
  upcallPending = (vcpu = 0): boolean => this.#bit('upcall', 0, vcpu);
  upcallMasked = (vcpu = 0): boolean => this.#bit('upcallMask', 0, vcpu);

  /** Everything delivered is taken: all bits clear, no upcall counted, nobody woken. */
  settle(): void {
    this.domain.machine.u8.fill(0, this.#at(0), this.#at(PAGE_SIZE));
    this.upcalls = 0;
    this.up = [];
    this.woken = [];
  }
}
type Bits = 'pending' | 'mask' | 'selector' | 'upcall' | 'upcallMask';

/** Three domains, the first one privileged, and whoever else is created. */
export function vms(each: Partial<CreateDomainOptions> = {}) {
  const machine = createMachine({ memoryPages: 1024, seed: 1 });
  const create = (options: Partial<CreateDomainOptions> = {}) =>
    new Vm(createDomain(machine, { pages: 4, ...each, ...options }));
  return { machine, create, a: create({ privileged: true }), b: create(), c: create() };
}

/** Two domains with a channel between them, nothing pending. */
export function channel(each: Partial<CreateDomainOptions> = {}) {
  const all = vms(each);
  const { a, b } = all;
  const remote = b.alloc(a.id);
  const local = a.bind(b.id, remote);
  for (const vm of [a, b]) vm.settle();
  return { ...all, local, remote };
}
