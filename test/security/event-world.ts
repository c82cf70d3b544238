/** What the event channel cases need: a hostile guest, honest neighbours, and the probe after every attack. */
import {
  createDomain,
  type CreateDomainOptions,
  createMachine,
  destroyDomain,
  type DoorOptions,
  freePages,
  HypercallDoor,
  type Machine,
  PAGE_SIZE,
  PV_VA_BASE,
} from '@ringside/gnttab-core';
import {
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_sched_op,
  DOMID_SELF,
  EVTCHNSTAT_closed,
  SCHEDOP_poll,
  XEN_EINVAL,
} from '@ringside/gnttab-core/abi';
import { evtchnStatus, gfnToMfn } from '@ringside/gnttab-core/hypervisor';
import { expect } from 'vitest';
import { Vm } from '../evtchn/vm.ts';

const ARGUMENT_GFN = 7;
const PORTS_AT = 64;
export const NO_TIMEOUT = 0;

/** Hypercalls as a hostile guest makes them: through the binary door, with words of its own as the argument. */
export class EventDoor {
  readonly #vm: Vm;
  readonly #door: HypercallDoor;

  constructor(vm: Vm, options?: DoorOptions) {
    this.#vm = vm;
    this.#door = new HypercallDoor(vm.domain, options);
  }

  #write(offset: number, words: readonly number[]): number {
    const at = gfnToMfn(this.#vm.domain, ARGUMENT_GFN) * PAGE_SIZE + offset;
    for (const [i, word] of words.entries()) this.#vm.domain.machine.u32[at / 4 + i] = word;
    return PV_VA_BASE + ARGUMENT_GFN * PAGE_SIZE + offset;
  }

  /** The argument of the last call, as it is now. */
  argument(words: number): number[] {
    const at = (gfnToMfn(this.#vm.domain, ARGUMENT_GFN) * PAGE_SIZE) / 4;
    return [...this.#vm.domain.machine.u32.subarray(at, at + words)];
  }

  /** event_channel_op (EVTCHNOP_*) with these words as its struct. */
  event(cmd: number, ...words: number[]): number {
    const address = this.#write(0, words);
    return this.#door.hypercall(__HYPERVISOR_event_channel_op, cmd, address);
  }

  /** SCHEDOP_poll, of an x86_64 guest. */
  poll(ports: readonly number[], timeoutNs = NO_TIMEOUT): number {
    const list = this.#write(PORTS_AT, ports);
    const address = this.#write(0, [list, 0, ports.length, 0, timeoutNs, 0]);
    return this.#door.hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, address);
  }
}

/** The ports of a domain that are open. */
export function openPorts({ domain }: Vm): number[] {
  const open: number[] = [];
  for (let port = 0; ; port++) {
    const op = { dom: DOMID_SELF, port, status: 0, vcpu: 0, remoteDom: 0, remotePort: 0, virq: 0 };
    const result = evtchnStatus(domain, op);
    if (result === -XEN_EINVAL) return open;
    expect(result).toBe(0);
    if (op.status !== EVTCHNSTAT_closed) open.push(port);
  }
}

/** An honest channel carries an event, both ways, and leaves nothing open. */
export function probe(a: Vm, b: Vm): void {
  const before = [openPorts(a), openPorts(b)];
  const remote = b.alloc(a.id);
  const local = a.bind(b.id, remote);
  for (const [from, port, to, other] of [
    [a, local, b, remote],
    [b, remote, a, local],
  ] as const) {
    to.settle();
    expect(from.send(port)).toBe(0);
    expect([to.pending(other), to.upcallPending(), to.upcalls]).toEqual([true, true, 1]);
  }
  expect([a.close(local), b.close(remote)]).toEqual([0, 0]);
  for (const vm of [a, b]) vm.settle();
  expect([openPorts(a), openPorts(b)]).toEqual(before);
}

/** The hostile guest's own fate: it ends, and what it had is there again. */
export interface EventScene {
  readonly machine: Machine;
  /** A control domain, the hardware domain too. */
  readonly control: Vm;
  readonly neighbour: Vm;
  /** Whom the hostile guest has channels with. */
  readonly peer: Vm;
  readonly hostile: Vm;
  /** Another domain. */
  readonly create: (options?: Partial<CreateDomainOptions>) => Vm;
  /** The probe, and the end of hostile guest and peer: all pages are free again. */
  readonly end: () => void;
}

/** The neighbours are two-level guests; so is the hostile guest unless it changes that. */
export function scene(options: Partial<CreateDomainOptions> = {}, memoryPages = 512): EventScene {
  const machine = createMachine({ memoryPages, seed: 1 });
  const create = (own: Partial<CreateDomainOptions> = {}) =>
    new Vm(createDomain(machine, { pages: 8, ...own }));
  const control = create({ privileged: true });
  const neighbour = create();
  const baseline = freePages(machine);
  const peer = create();
  const hostile = create(options);
  const end = () => {
    probe(control, neighbour);
    for (const vm of [hostile, peer]) destroyDomain(vm.domain);
    expect(freePages(machine)).toBe(baseline);
    probe(control, neighbour);
  };
  return { machine, control, neighbour, peer, hostile, create, end };
}

/** A channel between the hostile guest and its peer: the port of each. */
export function connect({ hostile, peer }: EventScene): { own: number; theirs: number } {
  const own = hostile.alloc(peer.id);
  return { own, theirs: peer.bind(hostile.id, own) };
}
