/** Whatever is done with event channels, locks are taken in the order of docs/architecture.md ("Locks"), and let go. */
import { createDomain, createMachine, destroyDomain } from '@ringside/gnttab-core';
import { VIRQ_ARGO, VIRQ_TBUF, VIRQ_TIMER } from '@ringside/gnttab-core/abi';
import {
  allocUnboundXenEvent,
  evtchnReset,
  evtchnSetPriority,
  freeXenEvent,
  gfnToMfn,
  notifyViaXenEvent,
  registerVcpuInfo,
  schedPoll,
  sendGlobalVirq,
  sendVcpuVirq,
  setVirqHandler,
} from '@ringside/gnttab-core/hypervisor';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { watchLocks } from '../grant/checked-locks.ts';
import { fifoGuest } from './fifo-guest.ts';
import { Vm } from './vm.ts';

/** More than fit into a domain's own frame. */
const VCPUS = 10;
const VIRQS = [VIRQ_TIMER, VIRQ_ARGO, VIRQ_TBUF];

/** What a domain does, with another and two small numbers. */
const doings: Readonly<Record<string, (vm: Vm, other: Vm, n: number, m: number) => unknown>> = {
  alloc: (vm, other) => vm.alloc(other.id),
  bind: (vm, other, n) => vm.bind(other.id, n),
  ipi: (vm, _, n) => vm.ipi(n % VCPUS),
  virq: (vm, _, n, m) => vm.virq(VIRQS[n % 3]!, n % 3 === 0 ? m % VCPUS : 0),
  send: (vm, _, n) => vm.send(n),
  close: (vm, _, n) => vm.close(n),
  move: (vm, _, n, m) => vm.move(n, m % VCPUS),
  status: (vm, _, n) => vm.status(n),
  unmask: (vm, _, n) => vm.calls.evtchnUnmask(n),
  prioritise: (vm, _, n, m) => evtchnSetPriority(vm.domain, { port: n, priority: m }),
  poll: (vm, _, n, m) => schedPoll(vm.domain, m % VCPUS, [n]),
  fifo: (vm, _, n) => fifoGuest(vm.domain, n % 2),
  settle: (vm) => vm.settle(),
  reset: (vm) => evtchnReset(vm.domain, vm.id),
  raise: (vm, _, n, m) => sendVcpuVirq(vm.domain, m % VCPUS, VIRQS[n % 3]!),
  raiseGlobal: (vm) => sendGlobalVirq(vm.domain.machine, VIRQ_TBUF),
  handle: (vm) => setVirqHandler(vm.domain, VIRQ_TBUF),
  xenAlloc: (vm, other, n) =>
    allocUnboundXenEvent(vm.domain, vm.domain, n % VCPUS, other.id, () =>
      notifyViaXenEvent(vm.domain, n),
    ),
  xenFree: (vm, _, n) => freeXenEvent(vm.domain, n),
  xenNotify: (vm, _, n) => notifyViaXenEvent(vm.domain, n),
  vcpuInfo: (vm, _, n) =>
    registerVcpuInfo(vm.domain, n % VCPUS, gfnToMfn(vm.domain, 3), (n % VCPUS) * 64),
  die: (vm) => destroyDomain(vm.domain),
};

it('each step lets go of all that it took', () => {
  const number = fc.nat(12);
  const step = fc.tuple(
    // Death and reset seldom: they leave little to do.
    fc.oneof(
      { weight: 30, arbitrary: fc.constantFrom(...Object.keys(doings)) },
      {
        weight: 60,
        arbitrary: fc.constantFrom('alloc', 'bind', 'ipi', 'send', 'virq', 'xenAlloc'),
      },
    ),
    fc.nat(2),
    fc.nat(2),
    number,
    number,
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
      const machine = createMachine({ memoryPages: 2048, traceRecords: 0, seed: 1 });
      const born = () => new Vm(createDomain(machine, { pages: 8, vcpus: VCPUS }));
      const vms = [born(), born(), born()];
      const held = watchLocks(machine);
      for (const [name, who, whom, n, m] of steps) {
        const vm = vms[who]!;
        doings[name]!(vm, vms[whom]!, n, m);
        expect(held).toEqual([]);
        if (!vm.domain.alive) vms[who] = born();
      }
    }),
  );
});
