/** Ports that Xen consumes itself: what the guest whose port it is may do with them, and who hears of an event. */
import { destroyDomain } from '@ringside/gnttab-core';
import {
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_unbound,
  XEN_EINVAL,
  XEN_EPERM,
} from '@ringside/gnttab-core/abi';
import {
  allocUnboundXenEvent,
  evtchnReset,
  freeXenEvent,
  notifyViaXenEvent,
  schedPoll,
} from '@ringside/gnttab-core/hypervisor';
import { expect, it } from 'vitest';
import { vms } from './vm.ts';

/** A port of `b` that Xen consumes and `c` may bind to, notifying virtual CPU 1. */
function xenPort() {
  const all = vms({ vcpus: 2 });
  const { a, b, c } = all;
  const calls: number[][] = [];
  const consumer = (...call: number[]) => void calls.push(call);
  const port = allocUnboundXenEvent(a.domain, b.domain, 1, c.id, consumer);
  return { ...all, calls, consumer, port };
}

it('looks like any unbound port', () => {
  const { b, c, port } = xenPort();
  expect(b.status(port)).toEqual({ status: EVTCHNSTAT_unbound, remoteDom: c.id, vcpu: 1 });
});

it('an event calls Xen, every time, and the guest sees nothing of it', () => {
  const { b, c, port, calls } = xenPort();
  const theirs = c.bind(b.id, port);
  expect(b.status(port)).toMatchObject({ status: EVTCHNSTAT_interdomain, remoteDom: c.id });
  expect([c.send(theirs), c.send(theirs)]).toEqual([0, 0]);
  expect(calls).toEqual([
    [b.id, 1, port],
    [b.id, 1, port],
  ]);
  expect([b.pending(port), b.up]).toEqual([false, []]);
});

it('the handler runs without locks: it may notify back', () => {
  const { a, b, c } = vms();
  b.domain.machine.share();
  const port = allocUnboundXenEvent(a.domain, b.domain, 0, c.id, (_, __, at) =>
    notifyViaXenEvent(b.domain, at),
  );
  const theirs = c.bind(b.id, port);
  c.settle();
  expect(c.send(theirs)).toBe(0);
  expect([c.pending(theirs), c.up]).toEqual([true, [0]]);
});

it('Xen notifies the other end, if there is one', () => {
  const { b, c, port } = xenPort();
  notifyViaXenEvent(b.domain, port);
  const theirs = c.bind(b.id, port);
  c.settle();
  notifyViaXenEvent(b.domain, port);
  expect([c.pending(theirs), c.up]).toEqual([true, [0]]);
  notifyViaXenEvent(b.domain, 9);
  notifyViaXenEvent(b.domain, 64);
});

it('the guest can neither close, send through, move nor poll it; unmasking does nothing', () => {
  const { b, c, port } = xenPort();
  c.bind(b.id, port);
  b.set('mask', port, true);
  b.set('pending', port, true);
  expect([b.close(port), b.send(port), b.move(port, 0)]).toEqual([
    -XEN_EINVAL,
    -XEN_EINVAL,
    -XEN_EINVAL,
  ]);
  expect([schedPoll(b.domain, 0, [port]), b.calls.evtchnUnmask(port)]).toEqual([-XEN_EINVAL, 0]);
  expect([b.masked(port), b.pending(port), b.up]).toEqual([true, true, []]);
});

it('the guest’s reset leaves it open; Xen, and the domain’s death, close it', () => {
  const { b, c, port } = xenPort();
  const theirs = c.bind(b.id, port);
  b.set('pending', port, true);
  expect(evtchnReset(b.domain, b.id)).toBe(0);
  expect(b.status(port)).toMatchObject({ status: EVTCHNSTAT_interdomain });
  freeXenEvent(b.domain, port);
  expect(b.status(port)).toEqual({ status: EVTCHNSTAT_closed });
  expect(c.status(theirs)).toEqual({ status: EVTCHNSTAT_unbound, remoteDom: b.id });
  expect([b.pending(port), b.alloc(c.id)]).toEqual([true, port]);
});

it('a domain that died is not called, nor is its namesake', () => {
  const { a, b, c, port, calls, create } = xenPort();
  const theirs = c.bind(b.id, port);
  destroyDomain(b.domain);
  expect([c.send(theirs), c.status(theirs)]).toEqual([
    0,
    { status: EVTCHNSTAT_unbound, remoteDom: b.id },
  ]);
  const heir = create({ domid: b.id });
  expect(c.bind(heir.id, heir.alloc(c.id))).toBeGreaterThan(0);
  expect(calls).toEqual([]);
  expect(a.domain.machine.xenConsumers.size).toBe(0);
});

it('takes privilege over the domain, looked at after a port was found', () => {
  const { b, c, consumer, create } = xenPort();
  const of = (caller: typeof b) => allocUnboundXenEvent(caller.domain, b.domain, 0, c.id, consumer);
  expect(of(c)).toBe(-XEN_EPERM);
  expect(of(create({ target: b.id }))).toBe(2);
  expect(of(b)).toBe(3);
});
