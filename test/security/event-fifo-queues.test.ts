/** Security catalogue, event channels: the queues of FIFO delivery, whose links are in the guest's memory. */
import {
  EVTCHN_FIFO_LINK_MASK,
  EVTCHN_FIFO_PRIORITY_DEFAULT,
  EVTCHNOP_set_priority,
} from '@ringside/gnttab-core/abi';
import { evtchnSetPriority } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { BUSY, fifoGuest, LINKED, PENDING } from '../evtchn/fifo-guest.ts';
import { connect, EventDoor, scene } from './event-world.ts';
import { watchSteps } from './interleave.ts';

/** A FIFO guest with channels to its peer: own port by own port, what the peer sends to. */
function channels(count: number) {
  const all = scene();
  const { hostile, peer } = all;
  const guest = fifoGuest(hostile.domain);
  const theirs = new Map<number, number>();
  for (let n = 0; n < count; n++) {
    const channel = connect(all);
    theirs.set(channel.own, channel.theirs);
  }
  const send = (own: number) => expect(peer.send(theirs.get(own)!)).toBe(0);
  const setPriority = (port: number, priority: number) =>
    expect(evtchnSetPriority(hostile.domain, { port, priority })).toBe(0);
  return { ...all, guest, send, setPriority, ports: [...theirs.keys()] };
}

/** A reserved bit of an event word: what a guest does with it is its own affair, and makes each of Xen's attempts fail. */
const RESERVED = 1 << 20;
const link = (word: number): number => word & EVTCHN_FIFO_LINK_MASK;

describe('a guest that changes the word of its last event all the time', () => {
  /** Port 1 is the tail; port 2 is sent while `meddle` comes before every compare and exchange. */
  function linked(meddle: (attempt: number, guest: ReturnType<typeof fifoGuest>) => void) {
    const all = channels(3);
    const { machine, guest, send } = all;
    send(1);
    let steps = 0;
    let attempts = 0;
    {
      // Throws if a lock is left held.
      using _watch = watchSteps(machine, (name) => {
        steps += 1;
        if (name === 'cas' || name === 'compareExchange') meddle(++attempts, guest);
      });
      send(2);
      send(2);
    }
    return { ...all, steps, attempts };
  }
  // Not Atomics: those are watched.
  const toggle = (guest: ReturnType<typeof fifoGuest>, bits: number) => {
    guest.domain.machine.i32[guest.at(1)]! ^= bits;
  };

  it('EV-15: loses the event, and nobody waits for it', () => {
    const { guest, steps, attempts, send, end } = linked((_, it) => toggle(it, RESERVED));
    expect(attempts).toBeGreaterThan(1);
    expect(attempts).toBeLessThan(10);
    expect(steps).toBeLessThan(100);
    expect([guest.word(1) & BUSY, link(guest.word(1))]).toEqual([0, 0]);
    expect(guest.takeAll()).toEqual([1]);
    // Its other ports are as good as ever once it behaves: port 2 is off the queue when the guest says so.
    guest.clear(2, LINKED);
    send(3);
    send(2);
    expect(guest.takeAll()).toEqual([3, 2]);
    end();
  });

  it('EV-15: and then takes it off the queue has the event as the head of the next', () => {
    const { guest, end } = linked((attempt, it) => {
      toggle(it, RESERVED);
      if (attempt === 2) it.domain.machine.i32[it.at(1)] = 0;
    });
    expect(guest.word(1) & BUSY).toBe(0);
    expect([guest.head(EVTCHN_FIFO_PRIORITY_DEFAULT), guest.word(2)]).toEqual([
      2,
      PENDING | LINKED,
    ]);
    expect(guest.takeAll()).toEqual([2]);
    end();
  });

  it('EV-15: only now and then is linked to all the same', () => {
    const { guest, end } = linked((attempt, it) => {
      if (attempt < 3) toggle(it, RESERVED);
    });
    expect([guest.word(1) & BUSY, link(guest.word(1))]).toEqual([0, 2]);
    expect(guest.takeAll()).toEqual([1, 2]);
    end();
  });
});

describe('a queue', () => {
  it('EV-17: is ready only when it has a new head', () => {
    const { hostile, guest, send, end } = channels(3);
    const bit = 1 << EVTCHN_FIFO_PRIORITY_DEFAULT;
    send(1);
    expect([guest.ready(), guest.head(7), hostile.upcalls]).toEqual([bit, 1, 1]);
    // The guest has seen that, and is about to take the queue.
    guest.acknowledge();
    send(2);
    expect([guest.ready(), guest.head(7), link(guest.word(1)), hostile.upcalls]).toEqual([
      0, 1, 2, 1,
    ]);
    // It takes both, and then there is a new head.
    for (const port of [1, 2]) guest.clear(port, PENDING | LINKED | EVTCHN_FIFO_LINK_MASK);
    send(3);
    expect([guest.ready(), guest.head(7), link(guest.word(2))]).toEqual([bit, 3, 0]);
    expect(guest.takeAll()).toEqual([3]);
    end();
  });

  it.each([0, 3, 15])(
    'EV-18: that its last event has left for priority %i begins anew',
    (other) => {
      const { guest, send, setPriority, end } = channels(3);
      send(1);
      expect(guest.takeAll()).toEqual([1]);
      setPriority(1, other);
      send(1);
      send(2);
      expect([guest.head(other), guest.head(7)]).toEqual([1, 2]);
      expect([guest.word(1), guest.word(2)]).toEqual([PENDING | LINKED, PENDING | LINKED]);
      send(3);
      expect(guest.takeAll()).toEqual(other < 7 ? [1, 2, 3] : [2, 3, 1]);
      end();
    },
  );

  it('EV-18: keeps an event whose priority changes until it is taken', () => {
    const { guest, send, setPriority, end } = channels(2);
    send(1);
    setPriority(1, 0);
    send(2);
    send(1);
    expect(guest.takeAll()).toEqual([1, 2]);
    send(2);
    send(1);
    expect(guest.takeAll()).toEqual([1, 2]);
    expect(guest.head(0)).toBe(1);
    end();
  });
});

describe('a port number', () => {
  it('EV-19: is not used again while its event is on a queue', () => {
    const { hostile, peer, guest, send, end } = channels(3);
    for (const port of [1, 2, 3]) send(port);
    expect(hostile.close(2)).toBe(0);
    expect(guest.word(2) & (PENDING | LINKED)).toBe(LINKED);
    expect(hostile.alloc(peer.id)).toBe(4);
    expect(guest.takeAll()).toEqual([1, 3]);
    expect(hostile.alloc(peer.id)).toBe(2);
    end();
  });

  it('EV-19: that the guest marks so is its own loss', () => {
    const { hostile, peer, guest, end } = channels(1);
    guest.set(2, LINKED);
    expect([hostile.alloc(peer.id), peer.alloc(hostile.id)]).toEqual([3, 2]);
    guest.clear(2, LINKED);
    expect(hostile.alloc(peer.id)).toBe(2);
    end();
  });

  it('EV-20: that is used again has the default priority', () => {
    const { hostile, peer, guest, end } = channels(1);
    const door = new EventDoor(hostile);
    expect(door.event(EVTCHNOP_set_priority, 1, 0)).toBe(0);
    hostile.close(1);
    expect(hostile.alloc(peer.id)).toBe(1);
    peer.send(peer.bind(hostile.id, 1));
    expect([guest.ready(), guest.head(7), guest.head(0)]).toEqual([1 << 7, 1, 0]);
    end();
  });
});
