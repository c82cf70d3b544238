/** What the guests of these tests have in common, however their events reach them. */
import { type Domain, PAGE_SIZE } from '@ringside/gnttab-core';
import { sharedInfo, vcpuInfo } from '@ringside/gnttab-core/abi';

const { vcpu_info: VCPU_INFO } = sharedInfo.x86_64.offset;
const { size: VCPU_INFO_SIZE } = vcpuInfo.x86_64;
const { evtchn_upcall_pending: UPCALL_PENDING } = vcpuInfo.x86_64.offset;

/** A guest that takes its own events; all that it has to go by is in its memory. */
export abstract class EventGuest {
  readonly domain: Domain;

  constructor(domain: Domain) {
    this.domain = domain;
  }

  get id(): number {
    return this.domain.id;
  }

  /** The guest's own words, as bank 0 has them. */
  protected get words(): Int32Array {
    return this.domain.machine.heap.i32;
  }

  /** Byte offset in bank 0 of a virtual CPU's vcpu_info. */
  protected vcpuInfo(vcpu: number): number {
    return this.domain.sharedInfo * PAGE_SIZE + VCPU_INFO + vcpu * VCPU_INFO_SIZE;
  }

  upcallPending(vcpu = 0): boolean {
    return this.domain.machine.heap.u8[this.vcpuInfo(vcpu) + UPCALL_PENDING] !== 0;
  }

  /** The upcall of a virtual CPU: takes its events, each with `take`, until there are none. Nothing without an upcall. */
  upcall(vcpu: number, take: (port: number) => void): void {
    while (this.upcallPending(vcpu)) {
      this.domain.machine.heap.u8[this.vcpuInfo(vcpu) + UPCALL_PENDING] = 0;
      this.scan(vcpu, take);
    }
  }

  /** The ports of one upcall, in the order in which they are taken. */
  takeAll(vcpu = 0): number[] {
    const ports: number[] = [];
    this.upcall(vcpu, (port) => ports.push(port));
    return ports;
  }

  protected abstract scan(vcpu: number, take: (port: number) => void): void;
  abstract mask(port: number): void;
  abstract pending(port: number): boolean;
}
