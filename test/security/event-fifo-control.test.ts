/** Security catalogue, event channels: FIFO delivery as it begins: control blocks, event array, events that come meanwhile. */
import { PAGE_SIZE, referenceCount } from '@ringside/gnttab-core';
import {
  EVTCHNOP_expand_array,
  EVTCHNOP_init_control,
  XEN_EINVAL,
  XEN_EOPNOTSUPP,
} from '@ringside/gnttab-core/abi';
import { evtchnBindVcpu, evtchnReset, gfnToMfn, usesFifo } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { FifoGuest, fifoGuest, LINKED, PENDING } from '../evtchn/fifo-guest.ts';
import { TwoLevelGuest } from '../evtchn/two-level-guest.ts';
import type { Vm } from '../evtchn/vm.ts';
import { connect, EventDoor, scene } from './event-world.ts';
import { atEveryStep } from './interleave.ts';

const GUEST_PAGES = 8;

/** References to each page of a guest. */
const references = ({ domain }: Vm): number[] =>
  Array.from({ length: GUEST_PAGES }, (_, gfn) =>
    referenceCount(domain.machine, gfnToMfn(domain, gfn)),
  );

describe('an event for a virtual CPU without control block', () => {
  function withoutBlock(has: number, lacks: number) {
    const all = scene({ vcpus: 2 });
    const { hostile } = all;
    const guest = new FifoGuest(hostile.domain);
    expect([guest.init(has), guest.expand()]).toEqual([0, 0]);
    const channel = connect(all);
    expect(evtchnBindVcpu(hostile.domain, { port: channel.own, vcpu: lacks })).toBe(0);
    hostile.settle();
    return { ...all, ...channel, guest };
  }

  it.each([
    [0, 1],
    [1, 0],
  ])('EV-03: (only virtual CPU %i has one) is dropped until it has', (has, lacks) => {
    const { hostile, peer, own, theirs, guest, end } = withoutBlock(has, lacks);
    for (let n = 0; n < 3; n++) expect(peer.send(theirs)).toBe(0);
    expect([hostile.upcalls, guest.ready(0), guest.ready(1)]).toEqual([0, 0, 0]);
    expect(guest.init(lacks)).toBe(0);
    expect(guest.takeAll(lacks)).toEqual([]);
    expect(peer.send(theirs)).toBe(0);
    expect([guest.takeAll(has), guest.takeAll(lacks)]).toEqual([[], [own]]);
    end();
  });

  it('EV-22: leaves PENDING and LINKED clear', () => {
    const { hostile, peer, own, theirs, guest, end } = withoutBlock(0, 1);
    expect(peer.send(theirs)).toBe(0);
    expect(guest.word(own)).toBe(0);
    // Where there is one, all is well.
    expect(evtchnBindVcpu(hostile.domain, { port: own, vcpu: 0 })).toBe(0);
    expect(peer.send(theirs)).toBe(0);
    expect(guest.word(own)).toBe(PENDING | LINKED);
    end();
  });
});

describe('EVTCHNOP_init_control', () => {
  it.each([
    ['nobody’s frame', () => 0x00ff_ffff, 0],
    ['Xen’s frame', ({ hostile }: ReturnType<typeof scene>) => hostile.domain.base / PAGE_SIZE, 0],
    [
      'a frame of another domain',
      ({ peer }: ReturnType<typeof scene>) => gfnToMfn(peer.domain, 0),
      0,
    ],
    [
      'an offset that is not aligned',
      ({ hostile }: ReturnType<typeof scene>) => gfnToMfn(hostile.domain, 0),
      4,
    ],
    [
      'an offset across the page',
      ({ hostile }: ReturnType<typeof scene>) => gfnToMfn(hostile.domain, 0),
      4032,
    ],
  ])('EV-04: fails with %s, and two-level delivery goes on', (_, frameOf, offset) => {
    const all = scene();
    const { hostile, peer } = all;
    const before = references(hostile);
    const door = new EventDoor(hostile);
    const { own, theirs } = connect(all);
    hostile.settle();
    const init = door.event(EVTCHNOP_init_control, frameOf(all), 0, offset, 0, 0, 0);
    const expand = door.event(EVTCHNOP_expand_array, gfnToMfn(hostile.domain, 1), 0);
    expect([init, expand]).toEqual([-XEN_EINVAL, -XEN_EOPNOTSUPP]);
    expect([usesFifo(hostile.domain), references(hostile)]).toEqual([false, before]);
    expect(peer.send(theirs)).toBe(0);
    expect(new TwoLevelGuest(hostile.domain).takeAll()).toEqual([own]);
    const guest = fifoGuest(hostile.domain);
    expect(usesFifo(hostile.domain)).toBe(true);
    expect([peer.send(theirs), guest.takeAll()]).toEqual([0, [own]]);
    all.end();
  });

  /** The guest goes over to FIFO delivery while its peer sends: the event comes, once. */
  const begin = () => {
    const all = scene({}, 200);
    const { hostile, peer } = all;
    const { own, theirs } = connect(all);
    hostile.settle();
    const guest = new FifoGuest(hostile.domain);
    let sent = false;
    const send = () => {
      peer.send(theirs);
      sent = true;
    };
    const check = () => {
      if (!usesFifo(hostile.domain)) expect([guest.init(), guest.expand()]).toEqual([0, 0]);
      if (!sent) send();
      expect(guest.takeAll()).toEqual([own]);
      expect([peer.send(theirs), guest.takeAll()]).toEqual([0, [own]]);
      all.end();
    };
    return { machine: all.machine, guest, send, check };
  };

  it('EV-12: an event that comes at any step of it, or of EVTCHNOP_expand_array, is not lost', () => {
    const steps = atEveryStep(() => {
      const { machine, guest, send, check } = begin();
      const op = () => expect([guest.init(), guest.expand()]).toEqual([0, 0]);
      return { machine, op, race: send, check };
    });
    expect(steps).toBeGreaterThan(10);
  });

  it('EV-12: nor one in the middle of whose sending it happens', () => {
    atEveryStep(() => {
      const { machine, guest, send, check } = begin();
      const race = () => {
        // May meet a lock of the sender's, and begin anew.
        guest.forget();
        expect([guest.init(), guest.expand()]).toEqual([0, 0]);
      };
      return { machine, op: send, race, check };
    });
  });
});

describe('EVTCHNOP_expand_array', () => {
  it('EV-14: and EVTCHNOP_reset, one at any step of the other', () => {
    for (const first of ['expand', 'reset'] as const) {
      const steps = atEveryStep(() => {
        const all = scene();
        const { machine, hostile, peer } = all;
        const before = references(hostile);
        const guest = new FifoGuest(hostile.domain);
        guest.init();
        connect(all);
        let expanded = 1;
        const expand = () => void (expanded = guest.expand());
        const reset = () => expect(evtchnReset(hostile.domain, hostile.id)).toBe(0);
        const [op, race] = first === 'expand' ? [expand, reset] : [reset, expand];
        return {
          machine,
          op,
          race,
          check: () => {
            if (first === 'reset' || usesFifo(hostile.domain)) reset();
            expect([0, 1, -XEN_EOPNOTSUPP]).toContain(expanded);
            expect([usesFifo(hostile.domain), references(hostile)]).toEqual([false, before]);
            guest.forget();
            expect([guest.init(), guest.expand()]).toEqual([0, 0]);
            const { own, theirs } = connect(all);
            expect([peer.send(theirs), guest.takeAll()]).toEqual([0, [own]]);
            all.end();
          },
        };
      });
      expect(steps).toBeGreaterThan(3);
    }
  });

  it('EV-16: brings the event of a port whose word was not there', () => {
    const all = scene();
    const { hostile, peer } = all;
    const { own, theirs } = connect(all);
    hostile.settle();
    const guest = new FifoGuest(hostile.domain);
    guest.init();
    for (let n = 0; n < 3; n++) expect(peer.send(theirs)).toBe(0);
    expect([hostile.upcalls, guest.word(own)]).toEqual([0, 0]);
    expect(guest.expand()).toBe(0);
    expect([hostile.upcalls, guest.takeAll(), guest.takeAll()]).toEqual([1, [own], []]);
    all.end();
  });

  it('EV-29: adds the words of the next 1024 ports; each port has its own', () => {
    const all = scene({ maxPort: 2100 });
    const { machine, hostile, peer } = all;
    const guest = fifoGuest(hostile.domain, 3);
    for (let port = 1; port <= 2100; port++) hostile.alloc(peer.id);
    for (const port of [1, 1023, 1024, 1025, 2047, 2048, 2049, 2100]) {
      const theirs = peer.bind(hostile.id, port);
      const before = machine.u32.slice();
      expect(peer.send(theirs)).toBe(0);
      const words = Array.from({ length: 3072 }, (_, other) => other);
      const changed = words.filter(
        (other) => machine.u32[guest.at(other)] !== before[guest.at(other)],
      );
      expect(changed).toEqual([port]);
      expect([guest.word(port), guest.head(7)]).toEqual([PENDING | LINKED, port]);
      expect(guest.takeAll()).toEqual([port]);
    }
    all.end();
  });
});
