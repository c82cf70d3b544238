/** Security catalogue, event channels: EVTCHNOP_reset, and the end of a domain with many ports. */
import { destroyDomain } from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  EVTCHNOP_reset,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_unbound,
  XEN_EAGAIN,
  XEN_EBUSY,
  XEN_EINVAL,
} from '@ringside/gnttab-core/abi';
import {
  allocUnboundXenEvent,
  evtchnBindVcpu,
  evtchnUnmask,
  freeXenEvent,
  notifyViaXenEvent,
  schedPoll,
  usesFifo,
  vcpuUnblock,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { fifoGuest } from '../evtchn/fifo-guest.ts';
import { TwoLevelGuest } from '../evtchn/two-level-guest.ts';
import { connect, EventDoor, openPorts, scene } from './event-world.ts';
import { countSteps } from './interleave.ts';

const HIGH = 5000;

/** A FIFO guest that has used so many ports; the last one is `own`, and the peer has the other end. */
function highPort(memoryPages = 512) {
  const all = scene({ maxPort: HIGH + 1 }, memoryPages);
  const { hostile, peer } = all;
  const guest = fifoGuest(hostile.domain, 5);
  for (let port = 1; port < HIGH; port++) hostile.alloc(peer.id);
  return { ...all, guest };
}

describe('a port beyond what two-level delivery has', () => {
  it('EV-07: is closed by a reset, and stays valid', () => {
    const all = highPort();
    const { hostile, peer } = all;
    const { own, theirs } = connect(all);
    expect(own).toBe(HIGH);
    const door = new EventDoor(hostile);
    expect(door.event(EVTCHNOP_reset, DOMID_SELF)).toBe(0);
    expect([usesFifo(hostile.domain), openPorts(hostile)]).toEqual([false, []]);
    expect(peer.status(theirs)).toEqual({ status: EVTCHNSTAT_unbound, remoteDom: hostile.id });
    expect(hostile.status(own)).toEqual({ status: EVTCHNSTAT_closed });
    expect([hostile.send(own), hostile.close(own), evtchnUnmask(hostile.domain, own)]).toEqual([
      -XEN_EINVAL,
      -XEN_EINVAL,
      0,
    ]);
    expect([door.poll([own]), evtchnBindVcpu(hostile.domain, { port: own, vcpu: 0 })]).toEqual([
      -XEN_EINVAL,
      -XEN_EINVAL,
    ]);
    expect([peer.send(theirs), peer.close(theirs)]).toEqual([0, 0]);
    all.end();
  });

  it('EV-07: that is Xen’s own survives it, and is as good as ever', () => {
    const all = highPort();
    const { control, hostile, peer } = all;
    let calls = 0;
    const own = allocUnboundXenEvent(
      control.domain,
      hostile.domain,
      0,
      peer.id,
      () => (calls += 1),
    );
    const theirs = peer.bind(hostile.id, own);
    peer.settle();
    expect([own, new EventDoor(hostile).event(EVTCHNOP_reset, DOMID_SELF)]).toEqual([HIGH, 0]);
    expect([usesFifo(hostile.domain), openPorts(hostile)]).toEqual([false, [own]]);
    expect([peer.send(theirs), calls]).toEqual([0, 1]);
    notifyViaXenEvent(hostile.domain, own);
    expect(peer.pending(theirs)).toBe(true);
    expect([hostile.close(own), hostile.send(own)]).toEqual([-XEN_EINVAL, -XEN_EINVAL]);
    freeXenEvent(hostile.domain, own);
    expect(openPorts(hostile)).toEqual([]);
    expect(peer.status(theirs)).toMatchObject({ status: EVTCHNSTAT_unbound });
    all.end();
  });
});

describe('a reset that is preempted', () => {
  /** 200 channels of a FIFO guest; `meanwhile` is done once, at the first preemption. */
  function preempted(meanwhile: (all: ReturnType<typeof many>) => void) {
    const all = many(200);
    let asked = 0;
    all.machine.preemptCheck = () => {
      asked += 1;
      if (asked === 1) meanwhile(all);
      return true;
    };
    const result = new EventDoor(all.hostile).event(EVTCHNOP_reset, DOMID_SELF);
    all.machine.preemptCheck = () => false;
    expect(asked).toBeGreaterThanOrEqual(3);
    return { ...all, result };
  }

  function many(count: number) {
    const all = scene();
    const guest = fifoGuest(all.hostile.domain);
    const channels = Array.from({ length: count }, () => connect(all));
    return { ...all, guest, channels };
  }

  it('EV-10: refuses another one', () => {
    const others: number[] = [];
    const { result, hostile, end } = preempted((all) => {
      const second = new EventDoor(all.hostile);
      others.push(
        second.event(EVTCHNOP_reset, DOMID_SELF),
        second.event(EVTCHNOP_reset, all.hostile.id),
      );
    });
    expect([others, result]).toEqual([[-XEN_EBUSY, -XEN_EBUSY], 0]);
    expect([openPorts(hostile), usesFifo(hostile.domain)]).toEqual([[], false]);
    end();
  });

  it('EV-10: leaves FIFO delivery, and a port that was opened behind it', () => {
    const all = preempted((some) => {
      connect(some);
    });
    const { result, hostile, peer, guest, end } = all;
    expect(result).toBe(-XEN_EAGAIN);
    expect([openPorts(hostile), usesFifo(hostile.domain)]).toEqual([[1], true]);
    peer.settle();
    const status = hostile.status(1) as { remotePort: number };
    expect(peer.send(status.remotePort)).toBe(0);
    expect(guest.takeAll()).toEqual([1]);
    expect(new EventDoor(hostile).event(EVTCHNOP_reset, DOMID_SELF)).toBe(0);
    expect([openPorts(hostile), usesFifo(hostile.domain)]).toEqual([[], false]);
    end();
  });

  it('EV-10: lets the ports that are still open be used, and closed, and the closed ones not', () => {
    const { result, channels, hostile, peer, end } = preempted((all) => {
      const [gone, open] = [all.channels[9]!, all.channels[150]!];
      expect(all.peer.send(gone.theirs)).toBe(0);
      expect([all.hostile.send(gone.own), schedPoll(all.hostile.domain, 0, [gone.own])]).toEqual([
        -XEN_EINVAL,
        -XEN_EINVAL,
      ]);
      expect(all.peer.send(open.theirs)).toBe(0);
      expect(all.guest.takeAll()).toEqual([open.own]);
      expect(evtchnBindVcpu(all.hostile.domain, { port: open.own, vcpu: 0 })).toBe(0);
      expect(evtchnUnmask(all.hostile.domain, open.own)).toBe(0);
      expect(schedPoll(all.hostile.domain, 0, [open.own])).toBe(0);
      vcpuUnblock(all.hostile.domain, 0);
      expect(all.hostile.close(open.own)).toBe(0);
    });
    expect([result, openPorts(hostile), openPorts(peer).length]).toEqual([0, [], channels.length]);
    for (const { theirs } of channels) {
      expect(peer.status(theirs)).toEqual({ status: EVTCHNSTAT_unbound, remoteDom: hostile.id });
    }
    end();
  });
});

describe('many ports', () => {
  /** A domain with so many channels to its peer. */
  function crowded(count: number) {
    const all = scene({}, 1024);
    for (let n = 0; n < count; n++) connect(all);
    return all;
  }

  it('EV-11: a reset of 3,000 lets others have a turn after every 64', () => {
    const all = crowded(3000);
    const { machine, hostile, peer } = all;
    const left: number[] = [openPorts(hostile).length];
    machine.preemptCheck = () => {
      left.push(openPorts(hostile).length);
      return true;
    };
    expect(new EventDoor(hostile).event(EVTCHNOP_reset, DOMID_SELF)).toBe(0);
    machine.preemptCheck = () => false;
    const slices = left.slice(1).map((count, n) => left[n]! - count);
    expect(slices.length).toBeGreaterThanOrEqual(3000 / 64 - 1);
    expect(Math.max(...slices)).toBe(64);
    expect([openPorts(hostile), openPorts(peer).length]).toEqual([[], 3000]);
    all.end();
  });

  // A domain's end is not a hypercall, and nothing preempts it here; so each port has to cost the same.
  it('EV-11: the end of a domain takes as many steps for each of 3,000 as for each of 64', () => {
    const steps = (count: number) => {
      const all = crowded(count);
      const taken = countSteps(all.machine, () => destroyDomain(all.hostile.domain));
      expect(openPorts(all.peer)).toHaveLength(count);
      all.end();
      return taken;
    };
    const none = steps(0);
    const each = (count: number) => (steps(count) - none) / count;
    const few = each(64);
    expect(few).toBeGreaterThan(1);
    expect(each(3000)).toBeLessThanOrEqual(2 * few);
  });
});

it('EV-26: a guest goes to FIFO delivery, back, and to FIFO again, as a new kernel does', () => {
  const all = scene({ vcpus: 2 });
  const { hostile, peer } = all;
  for (let round = 0; round < 3; round++) {
    const guest = fifoGuest(hostile.domain);
    const first = connect(all);
    expect([peer.send(first.theirs), guest.takeAll(), peer.send(first.theirs)]).toEqual([
      0,
      [1],
      0,
    ]);
    // Left on its queue.
    expect(new EventDoor(hostile).event(EVTCHNOP_reset, DOMID_SELF)).toBe(0);
    expect([openPorts(hostile), usesFifo(hostile.domain)]).toEqual([[], false]);
    guest.forget();
    hostile.settle();
    const two = new TwoLevelGuest(hostile.domain);
    const second = connect(all);
    expect([second.own, peer.send(second.theirs), two.takeAll()]).toEqual([1, 0, [1]]);
    expect(hostile.close(1)).toBe(0);
  }
  all.end();
});
