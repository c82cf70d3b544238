/** EVTCHNOP_reset (event_channel.h): what it closes, who may ask for it, and what happens when it is preempted. */
import {
  EVTCHNSTAT_closed,
  EVTCHNSTAT_unbound,
  VIRQ_TIMER,
  XEN_EAGAIN,
  XEN_EBUSY,
  XEN_EINVAL,
  XEN_EPERM,
  XEN_ESRCH,
} from '@ringside/gnttab-core/abi';
import {
  domainPauseBySystemcontroller,
  evtchnReset,
  usesFifo,
  XEN_INTERNAL_ERESTART,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { fifoGuest } from './fifo-guest.ts';
import { NOBODY, type Vm, vms } from './vm.ts';

const reset = (caller: Vm, whose: { id: number } = caller) => evtchnReset(caller.domain, whose.id);
const isOpen = (vm: Vm, port: number) =>
  (vm.status(port) as { status: number }).status !== EVTCHNSTAT_closed;

it('closes every port; peers are unbound, and a VIRQ can be bound again', () => {
  const { a, b } = vms({ vcpus: 2 });
  const ports = [b.alloc(a.id), b.ipi(1), b.virq(VIRQ_TIMER, 1), b.alloc(b.id)];
  const theirs = a.bind(b.id, ports[0]!);
  ports.push(b.bind(b.id, ports[3]!));
  expect(reset(b)).toBe(0);
  expect(ports.filter((port) => isOpen(b, port))).toEqual([]);
  expect(a.status(theirs)).toEqual({ status: EVTCHNSTAT_unbound, remoteDom: b.id });
  expect(b.virq(VIRQ_TIMER, 1)).toBe(1);
});

it('ends FIFO delivery: its pages are given back, and the limit is that of two levels again', () => {
  const { a, b } = vms({ pages: 8 });
  const guest = fifoGuest(b.domain);
  b.alloc(a.id);
  expect(reset(b)).toBe(0);
  expect(usesFifo(b.domain)).toBe(false);
  expect(guest.init()).toBe(0);
});

describe('who may', () => {
  it.each([
    ['oneself', 'b', 'b', 0],
    ['nobody', 'a', NOBODY, -XEN_ESRCH],
    ['another, without privilege', 'b', 'c', -XEN_EPERM],
    ['another, which is not paused', 'a', 'b', -XEN_EINVAL],
  ] as const)('%s', (_, who, whom, result) => {
    const all = vms();
    const id = typeof whom === 'number' ? whom : all[whom].id;
    expect(reset(all[who], { id })).toBe(result);
  });

  it('the toolstack, and the device model’s domain, while the domain is paused', () => {
    const { a, b, create } = vms();
    const model = create({ target: b.id });
    domainPauseBySystemcontroller(b.domain, 2);
    expect([reset(a, b), reset(model, b)]).toEqual([0, 0]);
    domainPauseBySystemcontroller(b.domain, -1);
    expect(reset(a, b)).toBe(0);
    domainPauseBySystemcontroller(b.domain, -1);
    expect([reset(a, b), reset(model, b)]).toEqual([-XEN_EINVAL, -XEN_EINVAL]);
  });
});

describe('preempted', () => {
  function half() {
    const { machine, a, b } = vms({ vcpus: 2 });
    for (let port = 1; port <= 130; port++) b.alloc(a.id);
    machine.preemptCheck = () => true;
    expect(reset(b)).toBe(-XEN_INTERNAL_ERESTART);
    return { machine, a, b, resume: () => evtchnReset(b.domain, b.id, true) };
  }

  it('after 64 ports; resumed it goes on from there', () => {
    const { b, resume } = half();
    expect([isOpen(b, 64), isOpen(b, 65)]).toEqual([false, true]);
    expect(resume()).toBe(-XEN_INTERNAL_ERESTART);
    expect([isOpen(b, 128), isOpen(b, 129)]).toEqual([false, true]);
    expect([resume(), isOpen(b, 130)]).toEqual([0, false]);
  });

  it('another reset meanwhile: EBUSY', () => {
    const { machine, b, resume } = half();
    expect(reset(b)).toBe(-XEN_EBUSY);
    machine.preemptCheck = () => false;
    expect([resume(), reset(b)]).toEqual([0, 0]);
  });

  it('none to be resumed: EBUSY', () => {
    const { b } = vms();
    expect(evtchnReset(b.domain, b.id, true)).toBe(-XEN_EBUSY);
  });

  it('a port that was opened meanwhile survives: EAGAIN, and delivery stays as it is', () => {
    const { machine, a, b } = vms({ pages: 8, vcpus: 1 });
    fifoGuest(b.domain);
    for (let port = 1; port <= 70; port++) b.alloc(a.id);
    machine.preemptCheck = () => true;
    expect(reset(b)).toBe(-XEN_INTERNAL_ERESTART);
    machine.preemptCheck = () => false;
    expect(b.alloc(a.id)).toBe(1);
    expect(evtchnReset(b.domain, b.id, true)).toBe(-XEN_EAGAIN);
    expect([isOpen(b, 1), isOpen(b, 70), usesFifo(b.domain)]).toEqual([true, false, true]);
    expect([reset(b), usesFifo(b.domain)]).toEqual([0, false]);
  });
});
