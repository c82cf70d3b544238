/** Security catalogue, event channels: delivery, to guests that wait and to Xen itself. */
import { type Domain, PAGE_SIZE } from '@ringside/gnttab-core';
import { vcpuInfo } from '@ringside/gnttab-core/abi';
import {
  allocUnboundXenEvent,
  evtchnUnmask,
  freeXenEvent,
  isBlocked,
  notifyViaXenEvent,
  schedBlock,
  schedPoll,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import type { EventGuest } from '../evtchn/event-guest.ts';
import { fifoGuest } from '../evtchn/fifo-guest.ts';
import { TwoLevelGuest } from '../evtchn/two-level-guest.ts';
import { connect, openPorts, scene } from './event-world.ts';
import { atEveryStep, watchSteps } from './interleave.ts';

const { evtchn_upcall_mask: UPCALL_MASK } = vcpuInfo.x86_64.offset;
const deliveries: [string, (domain: Domain) => EventGuest][] = [
  ['two-level', (domain) => new TwoLevelGuest(domain)],
  ['FIFO', (domain) => fifoGuest(domain)],
];

/** A hostile guest with this delivery and a channel to its peer, nothing pending. */
function connected(guestOf: (domain: Domain) => EventGuest) {
  const all = scene();
  const guest = guestOf(all.hostile.domain);
  const channel = connect(all);
  for (const vm of [all.hostile, all.peer]) vm.settle();
  return { ...all, ...channel, guest };
}

describe.each(deliveries)('%s: a masked port', (_, guestOf) => {
  it('EV-35: that is sent to three times has one upcall, when it is unmasked', () => {
    const { hostile, peer, own, theirs, guest, end } = connected(guestOf);
    guest.mask(own);
    for (let n = 0; n < 3; n++) {
      expect(peer.send(theirs)).toBe(0);
      expect([guest.pending(own), guest.upcallPending(), hostile.upcalls]).toEqual([
        true,
        false,
        0,
      ]);
    }
    for (let n = 0; n < 2; n++) expect(evtchnUnmask(hostile.domain, own)).toBe(0);
    expect(hostile.upcalls).toBe(1);
    expect(guest.takeAll()).toEqual([own]);
    expect(evtchnUnmask(hostile.domain, own)).toBe(0);
    expect([hostile.upcalls, guest.takeAll()]).toEqual([1, []]);
    end();
  });
});

describe.each(deliveries)('%s: a virtual CPU that begins to wait', (_, guestOf) => {
  const waits: [string, boolean, (domain: Domain, port: number) => void, boolean?][] = [
    ['polls, with upcalls', false, (domain, port) => void schedPoll(domain, 0, [port])],
    ['polls, without upcalls', true, (domain, port) => void schedPoll(domain, 0, [port])],
    ['polls a masked port', true, (domain, port) => void schedPoll(domain, 0, [port]), true],
    ['polls for any port', false, (domain) => void schedPoll(domain, 0, [])],
    ['blocks', true, (domain) => void schedBlock(domain, 0)],
  ];
  it.each(waits)(
    'EV-21: %s: does not sleep over an event, whenever it comes',
    (_name, upcallsMasked, wait, masked = false) => {
      const steps = atEveryStep(() => {
        const { machine, hostile, peer, own, theirs, guest, end } = connected(guestOf);
        const { domain } = hostile;
        machine.heap.u8[domain.sharedInfo * PAGE_SIZE + UPCALL_MASK] = Number(upcallsMasked);
        if (masked) guest.mask(own);
        let sent = false;
        return {
          machine,
          op: () => wait(domain, own),
          race: () => {
            peer.send(theirs);
            sent = true;
          },
          check: () => {
            if (!sent) peer.send(theirs);
            expect(isBlocked(domain, 0)).toBe(false);
            expect([guest.pending(own), guest.takeAll()]).toEqual([true, masked ? [] : [own]]);
            end();
          },
        };
      });
      expect(steps).toBeGreaterThan(2);
    },
  );

  it('EV-21: and whoever sends, step by step', () => {
    for (const [, upcallsMasked, wait, masked = false] of waits) {
      atEveryStep(() => {
        const { machine, hostile, peer, own, theirs, guest, end } = connected(guestOf);
        const { domain } = hostile;
        machine.heap.u8[domain.sharedInfo * PAGE_SIZE + UPCALL_MASK] = Number(upcallsMasked);
        if (masked) guest.mask(own);
        let waited = false;
        return {
          machine,
          op: () => void peer.send(theirs),
          race: () => {
            wait(domain, own);
            waited = true;
          },
          check: () => {
            if (!waited) wait(domain, own);
            expect(isBlocked(domain, 0)).toBe(false);
            end();
          },
        };
      });
    }
  });

  it('EV-21: nor over the unmasking of what is pending', () => {
    atEveryStep(() => {
      const { machine, hostile, peer, own, theirs, guest, end } = connected(guestOf);
      guest.mask(own);
      peer.send(theirs);
      let unmasked = false;
      return {
        machine,
        op: () => void schedBlock(hostile.domain, 0),
        race: () => {
          evtchnUnmask(hostile.domain, own);
          unmasked = true;
        },
        check: () => {
          if (!unmasked) evtchnUnmask(hostile.domain, own);
          expect(isBlocked(hostile.domain, 0)).toBe(false);
          expect(guest.takeAll()).toEqual([own]);
          end();
        },
      };
    });
  });
});

describe('Xen’s own handler of an event', () => {
  it('EV-30: may send, bind and close, its own port too: no lock is held', () => {
    const all = scene();
    const { machine, control, hostile, peer } = all;
    const { own, theirs } = connect(all);
    hostile.settle();
    const calls: number[] = [];
    const port = allocUnboundXenEvent(
      control.domain,
      peer.domain,
      0,
      hostile.id,
      (domid, _, at) => {
        calls.push(domid, at);
        notifyViaXenEvent(peer.domain, at);
        expect(peer.send(theirs)).toBe(0);
        const more = peer.alloc(hostile.id);
        expect(hostile.close(hostile.bind(peer.id, more))).toBe(0);
        expect(peer.close(more)).toBe(0);
        freeXenEvent(peer.domain, at);
      },
    );
    const toXen = hostile.bind(peer.id, port);
    hostile.settle();
    {
      // Throws where anybody would wait for a lock that is held.
      using _watch = watchSteps(machine, () => {});
      expect(hostile.send(toXen)).toBe(0);
    }
    expect(calls).toEqual([peer.id, port]);
    expect([hostile.pending(toXen), hostile.pending(own)]).toEqual([true, true]);
    // Unbound now: nothing is called any more.
    expect(hostile.send(toXen)).toBe(0);
    expect(calls).toHaveLength(2);
    expect(openPorts(peer)).toEqual([theirs]);
    all.end();
  });

  it('EV-30: that sends to itself over a second channel runs again, and comes to its end', () => {
    const all = scene();
    const { machine, control, hostile, peer } = all;
    let depth = 0;
    const port = allocUnboundXenEvent(control.domain, peer.domain, 0, hostile.id, () => {
      depth += 1;
      if (depth < 5) hostile.send(toXen);
    });
    const toXen = hostile.bind(peer.id, port);
    {
      using _watch = watchSteps(machine, () => {});
      hostile.send(toXen);
    }
    expect(depth).toBe(5);
    all.end();
  });
});
