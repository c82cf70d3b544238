/** Security catalogue, event channels: port numbers, and the structs behind them. */
import { PAGE_SIZE } from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_close,
  EVTCHNOP_send,
  EVTCHNOP_unmask,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_unbound,
  sharedInfo,
  XEN_EINVAL,
  XEN_ENOMEM,
  XEN_ENOSPC,
} from '@ringside/gnttab-core/abi';
import { isBlocked, limitXenHeap, vcpuUnblock } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { fifoGuest } from '../evtchn/fifo-guest.ts';
import { connect, EventDoor, openPorts, scene } from './event-world.ts';
import { atEveryStep } from './interleave.ts';

/** Ports whose structs share a page of Xen's. */
const PORTS_PER_PAGE = 128;

describe('the struct of a port', () => {
  it.each([
    ['no memory', -XEN_ENOMEM, { maxPort: 0xffff_ffff }],
    ['no permission', -XEN_ENOSPC, { maxPort: PORTS_PER_PAGE - 1 }],
  ])('EV-01: for which there is %s is not there, and may be later', (_, error, options) => {
    const all = scene(options);
    const { machine, hostile, peer } = all;
    const door = new EventDoor(hostile);
    for (let port = 1; port < PORTS_PER_PAGE; port++) expect(hostile.alloc(peer.id)).toBe(port);
    limitXenHeap(machine, 0);
    expect([hostile.alloc(peer.id), hostile.bind(peer.id, 1)]).toEqual([error, error]);
    for (const cmd of [EVTCHNOP_close, EVTCHNOP_send, EVTCHNOP_unmask]) {
      expect(door.event(cmd, PORTS_PER_PAGE)).toBe(-XEN_EINVAL);
    }
    expect(hostile.status(PORTS_PER_PAGE)).toBe(-XEN_EINVAL);
    limitXenHeap(machine, -1);
    if (error === -XEN_ENOSPC) hostile.close(PORTS_PER_PAGE - 1);
    const { own, theirs } = connect(all);
    expect(own).toBe(error === -XEN_ENOSPC ? PORTS_PER_PAGE - 1 : PORTS_PER_PAGE);
    expect(peer.send(theirs)).toBe(0);
    expect(hostile.pending(own)).toBe(true);
    all.end();
  });

  it('EV-08: is there for whoever sees its port valid, at every step of the allocation', () => {
    const steps = atEveryStep(() => {
      const all = scene();
      const { machine, hostile, peer } = all;
      for (let port = 1; port < PORTS_PER_PAGE; port++) hostile.alloc(peer.id);
      // Another virtual CPU, which meets no lock of the allocation's on its way.
      const seen: unknown[] = [];
      let port = 0;
      return {
        machine,
        op: () => (port = hostile.alloc(peer.id)),
        race: () => seen.push(hostile.status(PORTS_PER_PAGE), hostile.send(PORTS_PER_PAGE)),
        check: () => {
          expect(port).toBe(PORTS_PER_PAGE);
          for (const status of seen.slice(0, -1)) {
            expect([
              -XEN_EINVAL,
              { status: EVTCHNSTAT_closed },
              { status: EVTCHNSTAT_unbound, remoteDom: peer.id },
            ]).toContainEqual(status);
          }
          expect([-XEN_EINVAL, 0, undefined]).toContain(seen.at(-1));
          expect(hostile.pending(PORTS_PER_PAGE)).toBe(false);
          all.end();
        },
      };
    });
    expect(steps).toBeGreaterThan(5);
  });

  it('EV-23: stays when the ports around it are closed', () => {
    const all = scene({ maxPort: 3000 });
    const { hostile, peer } = all;
    for (let port = 1; port <= 3000; port++) hostile.alloc(peer.id);
    const sparse = [5, 3000];
    for (let port = 1; port <= 3000; port++) if (!sparse.includes(port)) hostile.close(port);
    expect(openPorts(hostile)).toEqual(sparse);
    for (let port = 1; port <= 3000; port++) {
      const open = sparse.includes(port);
      expect(hostile.send(port)).toBe(open ? 0 : -XEN_EINVAL);
      expect(hostile.calls.evtchnUnmask(port)).toBe(0);
    }
    const theirs = peer.bind(hostile.id, 3000);
    peer.send(theirs);
    expect([hostile.pending(3000), hostile.alloc(peer.id)]).toEqual([true, 1]);
    all.end();
  });
});

describe('a poll', () => {
  it('EV-05: of any port answers; none waits for a port that cannot have events', () => {
    const all = scene();
    const { hostile, peer } = all;
    const { own } = connect(all);
    const unbound = hostile.alloc(peer.id);
    hostile.settle();
    const door = new EventDoor(hostile);
    const ports = [...Array.from({ length: 5001 }, (_, port) => port), 0x7fff_ffff, 0xffff_ffff];
    for (const port of ports) {
      const usable = port === own || port === unbound;
      expect(door.poll([port], 1), `port ${port}`).toBe(usable ? 0 : -XEN_EINVAL);
      expect(isBlocked(hostile.domain, 0), `port ${port}`).toBe(usable);
      vcpuUnblock(hostile.domain, 0);
    }
    all.end();
  });

  it('EV-05: with a timeout ends with it', async () => {
    const all = scene();
    const { machine, hostile } = all;
    const { own } = connect(all);
    hostile.settle();
    const door = new EventDoor(hostile);
    expect(door.poll([own], machine.clock.nowNs() + 1000)).toBe(0);
    expect(isBlocked(hostile.domain, 0)).toBe(true);
    await machine.scheduler.sleep(2000);
    expect(isBlocked(hostile.domain, 0)).toBe(false);
    all.end();
  });

  it('EV-05: of closed ports among open ones is refused, and waits for none of them', () => {
    const all = scene();
    const { hostile } = all;
    const { own } = connect(all);
    hostile.settle();
    const door = new EventDoor(hostile);
    for (const bad of [0, own + 1, 64, 0xffff_ffff]) {
      expect(door.poll([own, own, bad])).toBe(-XEN_EINVAL);
      expect(isBlocked(hostile.domain, 0)).toBe(false);
    }
    expect(door.poll(Array.from({ length: 129 }, () => own))).toBe(-XEN_EINVAL);
    all.end();
  });
});

describe('the number of ports', () => {
  it.each([
    ['two-level, 64 bits', { maxPort: 0xffff_ffff }, 4095],
    ['two-level, 32 bits', { maxPort: 0xffff_ffff, abi: 'i386' }, 1023],
    ['two-level, with a quota', { maxPort: 100 }, 100],
    ['FIFO, with a quota', { maxPort: 4500, fifo: true }, 4500],
  ] as const)('EV-06: ends where it has to: %s', (_, options, last) => {
    const all = scene(options);
    const { hostile, peer } = all;
    if ('fifo' in options) fifoGuest(hostile.domain);
    const door = new EventDoor(hostile);
    const alloc = () => door.event(EVTCHNOP_alloc_unbound, DOMID_SELF | (peer.id << 16), 0);
    for (let port = 1; port <= last; port++) {
      expect(alloc()).toBe(0);
      expect(door.argument(2)[1]).toBe(port);
    }
    for (let n = 0; n < 3; n++) {
      expect(alloc()).toBe(-XEN_ENOSPC);
      expect(hostile.bind(peer.id, 1)).toBe(-XEN_ENOSPC);
    }
    expect(openPorts(hostile)).toHaveLength(last);
    expect(hostile.close(77)).toBe(0);
    expect([alloc(), door.argument(2)[1], alloc()]).toEqual([0, 77, -XEN_ENOSPC]);
    all.end();
  });

  it('EV-09: of a 32-bit guest is 1024, and what follows the mask in its page stays as it is', () => {
    const all = scene({ abi: 'i386', maxPort: 0xffff_ffff });
    const { machine, hostile, peer } = all;
    const { evtchn_mask: mask } = sharedInfo.i386.offset;
    const page = hostile.domain.sharedInfo * PAGE_SIZE;
    const after = machine.heap.u8.subarray(page + mask + 1024 / 8, page + PAGE_SIZE).fill(0xa5);
    for (let port = 1; port < 1024; port++) expect(hostile.alloc(peer.id)).toBe(port);
    expect(hostile.alloc(peer.id)).toBe(-XEN_ENOSPC);
    const own = [1, 31, 32, 1022, 1023];
    for (const port of own) {
      expect(peer.send(peer.bind(hostile.id, port))).toBe(0);
      expect(machine.heap.u8[page + sharedInfo.i386.offset.evtchn_pending + (port >>> 3)]).not.toBe(
        0,
      );
      expect(hostile.calls.evtchnUnmask(port)).toBe(0);
    }
    for (const port of [1024, 1025, 4095, 4096]) {
      expect([hostile.send(port), hostile.calls.evtchnUnmask(port)]).toEqual([
        -XEN_EINVAL,
        -XEN_EINVAL,
      ]);
    }
    expect(after.every((byte) => byte === 0xa5)).toBe(true);
    all.end();
  });
});
