/** Security catalogue, event channels: who may bind what, and what becomes of the other end. */
import { destroyDomain } from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_virq,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_unbound,
  VIRQ_ARGO,
  VIRQ_CON_RING,
  VIRQ_DEBUG,
  VIRQ_DOM_EXC,
  VIRQ_TIMER,
  XEN_EBUSY,
  XEN_EEXIST,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSPC,
  XEN_ESRCH,
} from '@ringside/gnttab-core/abi';
import {
  allocUnboundXenEvent,
  evtchnBindVirq,
  sendGlobalVirq,
  sendVcpuVirq,
  setVirqHandler,
  virqEnabled,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { NOBODY, type Vm } from '../evtchn/vm.ts';
import { connect, EventDoor, type EventScene, openPorts, scene } from './event-world.ts';

function bindVirq({ domain }: Vm, virq: number, vcpu = 0): number {
  const op = { virq, vcpu, port: 0 };
  const result = evtchnBindVirq(domain, op);
  return result < 0 ? result : op.port;
}

describe('a port of another domain', () => {
  const targets: [string, (all: EventScene) => { dom: number; port: number }, number][] = [
    [
      'reserved for somebody else',
      ({ peer, control }) => ({ dom: peer.id, port: peer.alloc(control.id) }),
      -XEN_EINVAL,
    ],
    ['port 0', ({ peer }) => ({ dom: peer.id, port: 0 }), -XEN_EINVAL],
    ['a closed port', ({ peer }) => ({ dom: peer.id, port: 9 }), -XEN_EINVAL],
    ['a port that is not valid', ({ peer }) => ({ dom: peer.id, port: 64 }), -XEN_EINVAL],
    ['the highest number', ({ peer }) => ({ dom: peer.id, port: 0xffff_ffff }), -XEN_EINVAL],
    ['bound already', (all) => ({ dom: all.peer.id, port: connect(all).theirs }), -XEN_EINVAL],
    ['a VIRQ', ({ peer }) => ({ dom: peer.id, port: bindVirq(peer, VIRQ_DEBUG) }), -XEN_EINVAL],
    [
      'Xen’s own, for somebody else',
      ({ peer, control }) => ({
        dom: peer.id,
        port: allocUnboundXenEvent(control.domain, peer.domain, 0, control.id, () => {}),
      }),
      -XEN_EINVAL,
    ],
    [
      'one’s own, reserved for the peer',
      ({ hostile, peer }) => ({ dom: DOMID_SELF, port: hostile.alloc(peer.id) }),
      -XEN_EINVAL,
    ],
    ['of nobody', () => ({ dom: NOBODY, port: 1 }), -XEN_ESRCH],
  ];
  it.each(targets)('EV-24: %s is not bound', (_, target, error) => {
    const all = scene();
    const { hostile, peer } = all;
    const { dom, port } = target(all);
    const before = [openPorts(hostile), openPorts(peer), peer.status(port)];
    for (const vm of [hostile, peer]) vm.settle();
    const door = new EventDoor(hostile);
    expect(door.event(EVTCHNOP_bind_interdomain, dom, port, 77)).toBe(error);
    expect(door.argument(3)[2]).toBe(77);
    expect([openPorts(hostile), openPorts(peer), peer.status(port)]).toEqual(before);
    expect([hostile.upcalls, peer.upcalls]).toEqual([0, 0]);
    all.end();
  });

  it('EV-24: that is reserved for the caller is: the local port is pending at once, the other not', () => {
    const all = scene();
    const { hostile, peer } = all;
    const theirs = peer.alloc(hostile.id);
    const own = hostile.bind(peer.id, theirs);
    expect([hostile.pending(own), hostile.upcalls, peer.pending(theirs), peer.upcalls]).toEqual([
      true,
      1,
      false,
      0,
    ]);
    // A second time it is taken.
    expect(hostile.bind(peer.id, theirs)).toBe(-XEN_EINVAL);
    all.end();
  });

  it('EV-24: may be a port of one’s own: a loop, which can be cut at either end', () => {
    const all = scene();
    const { hostile } = all;
    for (const first of [0, 1]) {
      const unbound = hostile.alloc(DOMID_SELF);
      const ends = [unbound, hostile.bind(DOMID_SELF, unbound)];
      hostile.settle();
      expect(hostile.send(ends[0]!)).toBe(0);
      expect(ends.map(hostile.pending)).toEqual([false, true]);
      expect(hostile.close(ends[first]!)).toBe(0);
      expect(hostile.status(ends[1 - first]!)).toEqual({
        status: EVTCHNSTAT_unbound,
        remoteDom: hostile.id,
      });
      expect(hostile.close(ends[1 - first]!)).toBe(0);
    }
    expect(openPorts(hostile)).toEqual([]);
    all.end();
  });
});

describe('a channel whose other end is closed', () => {
  it('EV-25: is unbound; sending does nothing; ten thousand times', () => {
    const all = scene();
    const { hostile, peer } = all;
    const { own, theirs: first } = connect(all);
    let theirs = first;
    for (let round = 0; round < 10_000; round++) {
      hostile.settle();
      if (peer.close(theirs) !== 0) expect.fail(`round ${round}: not closed`);
      if (hostile.send(own) !== 0) expect.fail(`round ${round}: the send is not dropped`);
      if (round % 1000 === 0) {
        expect(hostile.status(own)).toEqual({ status: EVTCHNSTAT_unbound, remoteDom: peer.id });
        expect(peer.pending(theirs)).toBe(false);
      }
      theirs = peer.bind(hostile.id, own);
      if (theirs !== first) expect.fail(`round ${round}: port ${theirs}`);
      peer.settle();
    }
    expect([openPorts(hostile), openPorts(peer)]).toEqual([[own], [theirs]]);
    expect(hostile.status(own)).toMatchObject({ status: EVTCHNSTAT_interdomain });
    all.end();
  });

  it('EV-25: by its domain’s end is as well', () => {
    const all = scene();
    const { hostile, peer } = all;
    const { own, theirs } = connect(all);
    destroyDomain(hostile.domain);
    expect(peer.status(theirs)).toEqual({ status: EVTCHNSTAT_unbound, remoteDom: hostile.id });
    // Who comes next with that id has no channel yet.
    const heir = all.create({ domid: hostile.id });
    expect([peer.send(theirs), heir.pending(own), heir.upcalls]).toEqual([0, false, 0]);
    expect(openPorts(heir)).toEqual([]);
    destroyDomain(heir.domain);
    all.end();
  });
});

describe('a VIRQ', () => {
  it('EV-13: that cannot be bound for want of a port is nobody’s loss', () => {
    const all = scene({ maxPort: 3 });
    const { machine, control, hostile, peer } = all;
    const console = bindVirq(control, VIRQ_CON_RING);
    const debug = bindVirq(control, VIRQ_DEBUG);
    for (let port = 1; port <= 3; port++) hostile.alloc(peer.id);
    const door = new EventDoor(hostile);
    for (const virq of [VIRQ_DEBUG, VIRQ_TIMER, VIRQ_ARGO]) {
      expect(door.event(EVTCHNOP_bind_virq, virq, 0, 0)).toBe(-XEN_ENOSPC);
      expect(virqEnabled(hostile.domain, virq)).toBe(false);
      sendVcpuVirq(hostile.domain, 0, virq);
    }
    expect(hostile.upcalls).toBe(0);
    control.settle();
    sendGlobalVirq(machine, VIRQ_CON_RING);
    sendVcpuVirq(control.domain, 0, VIRQ_DEBUG);
    expect([control.pending(console), control.pending(debug), control.upcalls]).toEqual([
      true,
      true,
      1,
    ]);
    hostile.close(2);
    expect(bindVirq(hostile, VIRQ_DEBUG)).toBe(2);
    control.settle();
    all.end();
  });

  it('EV-27: is bound by whom it is for, once, on a virtual CPU that can have it', () => {
    const all = scene({ vcpus: 2 });
    const { machine, control, hostile } = all;
    const handled = bindVirq(control, VIRQ_CON_RING);
    const bound = bindVirq(hostile, VIRQ_TIMER, 1);
    const door = new EventDoor(hostile);
    for (const [virq, vcpu, error] of [
      [VIRQ_CON_RING, 0, -XEN_EBUSY],
      [VIRQ_DOM_EXC, 0, -XEN_EBUSY],
      [VIRQ_TIMER, 1, -XEN_EEXIST],
      [VIRQ_TIMER, 2, -XEN_ENOENT],
      [VIRQ_TIMER, 0xffff_ffff, -XEN_ENOENT],
      [VIRQ_ARGO, 1, -XEN_EINVAL],
      [VIRQ_CON_RING, 1, -XEN_EINVAL],
      [24, 0, -XEN_EINVAL],
      [0xffff_ffff, 0, -XEN_EINVAL],
    ] as const) {
      expect(door.event(EVTCHNOP_bind_virq, virq, vcpu, 77), `VIRQ ${virq}`).toBe(error);
      expect(door.argument(3)[2]).toBe(77);
    }
    expect(openPorts(hostile)).toEqual([bound]);
    control.settle();
    sendGlobalVirq(machine, VIRQ_CON_RING);
    expect([control.pending(handled), hostile.upcalls]).toEqual([true, 0]);
    // Nobody takes it from a handler that has it bound.
    expect(setVirqHandler(hostile.domain, VIRQ_CON_RING)).toBe(-XEN_EBUSY);
    control.settle();
    all.end();
  });

  it('EV-28: is not given to a dying domain, and comes back from one that dies', () => {
    const all = scene();
    const { machine, control, hostile, peer } = all;
    expect(setVirqHandler(hostile.domain, VIRQ_CON_RING)).toBe(0);
    expect(bindVirq(hostile, VIRQ_CON_RING)).toBe(1);
    const { domain } = hostile;
    destroyDomain(domain);
    expect(setVirqHandler(domain, VIRQ_DOM_EXC)).toBe(-XEN_EINVAL);
    expect(setVirqHandler(domain, VIRQ_CON_RING)).toBe(-XEN_EINVAL);
    expect(bindVirq(peer, VIRQ_CON_RING)).toBe(-XEN_EBUSY);
    const port = bindVirq(control, VIRQ_CON_RING);
    control.settle();
    sendGlobalVirq(machine, VIRQ_CON_RING);
    expect(control.pending(port)).toBe(true);
    control.settle();
    all.end();
  });
});
