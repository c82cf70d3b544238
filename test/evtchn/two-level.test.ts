/**
 * Event channels with two-level delivery (event_channel.h; xen.h, struct shared_info): who may do what with which port,
 * which bits each operation changes, and that no event is lost.
 */
import {
  bootGuest,
  createDomain,
  createMachine,
  destroyDomain,
  type EventPort,
  type EvtchnStatus,
  Hypercalls,
  PAGE_SIZE,
} from '@ringside/gnttab-core';
import {
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_unbound,
  vcpuInfo,
  XEN_EINVAL,
} from '@ringside/gnttab-core/abi';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { channel, type Vm, vms } from './vm.ts';

describe('EVTCHNOP_send', () => {
  it('sets the other end pending, and only that', () => {
    const { a, b, local, remote } = channel();
    expect(a.send(local)).toBe(0);
    expect([b.pending(remote), b.upcalls, a.pending(local), a.upcalls]).toEqual([
      true,
      1,
      false,
      0,
    ]);
  });

  it.each([
    ['port 0', 0, -XEN_EINVAL],
    ['a free port', 9, -XEN_EINVAL],
    ['a port that is not valid', 64, -XEN_EINVAL],
    ['an unbound port: it is dropped', 2, 0],
  ])('%s', (_, port, result) => {
    const { a, b } = channel();
    a.alloc(b.id);
    expect(a.send(port)).toBe(result);
    expect([a.upcalls, b.upcalls]).toEqual([0, 0]);
    expect(a.domain.counters().notificationsSent).toBe(result === 0 ? 1 : 0);
  });
});

describe('two-level delivery', () => {
  /** Which bits were set before; whether each is set after a send, and whether there was an upcall. */
  it.each([
    { before: [], after: ['pending', 'selector', 'upcall'], kicked: 1 },
    { before: ['pending'], after: ['pending'], kicked: 0 },
    { before: ['mask'], after: ['pending', 'mask'], kicked: 0 },
    { before: ['selector'], after: ['pending', 'selector'], kicked: 0 },
    { before: ['upcall'], after: ['pending', 'selector', 'upcall'], kicked: 0 },
    { before: ['pending', 'mask'], after: ['pending', 'mask'], kicked: 0 },
    { before: ['selector', 'upcall'], after: ['pending', 'selector', 'upcall'], kicked: 0 },
    { before: ['mask', 'selector'], after: ['pending', 'mask', 'selector'], kicked: 0 },
  ] as const)('send with $before set', ({ before, after, kicked }) => {
    const { a, b, local, remote } = channel();
    const all = ['pending', 'mask', 'selector', 'upcall'] as const;
    for (const what of before)
      b.set(what, what === 'selector' || what === 'upcall' ? 0 : remote, true);
    a.send(local);
    const bits = {
      pending: b.pending(remote),
      mask: b.masked(remote),
      selector: b.selected(0),
      upcall: b.upcallPending(),
    };
    expect(all.filter((what) => bits[what])).toEqual(after);
    expect(b.upcalls).toBe(kicked);
  });

  it('each word of 64 ports has its selector bit', () => {
    const { a, b } = vms();
    for (let n = 0; n < 200; n++) b.alloc(a.id);
    for (const remote of [1, 63, 64, 130, 191]) {
      const local = a.bind(b.id, remote);
      for (const vm of [a, b]) vm.settle();
      a.send(local);
      const words = Array.from({ length: 64 }, (_, word) => word).filter((word) =>
        b.selected(word),
      );
      expect(words).toEqual([Math.floor(remote / 64)]);
      expect(b.pending(remote)).toBe(true);
    }
  });

  it('under i386 a word has 32 ports', () => {
    const { a, b } = vms({ abi: 'i386' });
    for (let n = 0; n < 200; n++) b.alloc(a.id);
    for (const remote of [1, 31, 32, 191]) {
      const local = a.bind(b.id, remote);
      for (const vm of [a, b]) vm.settle();
      a.send(local);
      const words = Array.from({ length: 32 }, (_, word) => word).filter((word) =>
        b.selected(word),
      );
      expect(words).toEqual([Math.floor(remote / 32)]);
      expect([b.pending(remote), b.up]).toEqual([true, [0]]);
    }
  });

  it('each virtual CPU has its selector and upcall; what is pending does not move with the port', () => {
    const { a, b, local, remote } = channel({ vcpus: 4 });
    expect(b.move(remote, 3)).toBe(0);
    a.send(local);
    expect([b.up, b.selected(0), b.selected(0, 3), b.upcallPending(3)]).toEqual([
      [3],
      false,
      true,
      true,
    ]);
    expect(b.move(remote, 1)).toBe(0);
    expect([b.selected(0, 1), b.selected(0, 3)]).toEqual([false, true]);
    b.settle();
    a.send(local);
    expect(b.up).toEqual([1]);
  });

  it('a virtual CPU above 31 has no vcpu_info: all such of all domains share one', () => {
    const { b, c } = vms({ vcpus: 40 });
    const ports = [b.ipi(32), b.ipi(33)];
    const others = c.ipi(39);
    for (const port of ports) expect(b.send(port)).toBe(0);
    expect(c.send(others)).toBe(0);
    expect([b.up, c.up, b.pending(ports[1]!), c.pending(others)]).toEqual([[32], [], true, true]);
  });

  it('the upcall is bit 0 of its byte, whatever else the guest keeps there', () => {
    const { a, b, local } = channel();
    const { u8 } = b.domain.machine.heap;
    const at = b.domain.sharedInfo * PAGE_SIZE + vcpuInfo.x86_64.offset.evtchn_upcall_pending;
    u8[at] = 0xfe;
    a.send(local);
    expect([u8[at], b.upcalls]).toEqual([0xff, 1]);
  });
});

describe('EVTCHNOP_unmask', () => {
  it.each([
    { name: 'not masked', before: ['pending'], kicked: 0, selector: false },
    { name: 'masked, nothing pending', before: ['mask'], kicked: 0, selector: false },
    { name: 'masked and pending', before: ['mask', 'pending'], kicked: 1, selector: true },
    {
      name: 'masked and pending, selected',
      before: ['mask', 'pending', 'selector'],
      kicked: 0,
      selector: true,
    },
    {
      name: 'masked and pending, upcall pending',
      before: ['mask', 'pending', 'upcall'],
      kicked: 0,
      selector: true,
    },
  ] as const)('$name', ({ before, kicked, selector }) => {
    const { b, remote } = channel();
    for (const what of before)
      b.set(what, what === 'selector' || what === 'upcall' ? 0 : remote, true);
    expect(b.calls.evtchnUnmask(remote)).toBe(0);
    expect([b.masked(remote), b.upcalls, b.selected(0)]).toEqual([false, kicked, selector]);
  });

  it.each([
    ['port 0', 0, 0],
    ['a valid port that is free', 9, 0],
    ['a port that is not valid', 64, -XEN_EINVAL],
  ])('%s: nothing is done', (_, port, result) => {
    const { b } = channel();
    b.set('mask', port, true);
    b.set('pending', port, true);
    expect(b.calls.evtchnUnmask(port)).toBe(result);
    expect([b.masked(port), b.upcalls]).toEqual([true, 0]);
  });
});

it('a port number is used again only after it was closed, whatever is opened and closed', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(4), fc.nat(30)), { maxLength: 80 }), (steps) => {
      const { a, b } = vms();
      /** The model: what each port of either domain should be. */
      const ports = new Map([a, b].map((vm) => [vm, new Map<number, string>()]));
      const other = (vm: Vm) => (vm === a ? b : a);
      const lowest = (vm: Vm) => {
        let port = 1;
        while (ports.get(vm)!.has(port)) port++;
        return port;
      };
      for (const [step, n] of steps) {
        const vm = n % 2 === 0 ? a : b;
        const peer = other(vm);
        const [mine, theirs] = [ports.get(vm)!, ports.get(peer)!];
        if (step <= 1) {
          const expected = lowest(vm);
          expect(vm.alloc(peer.id)).toBe(expected);
          mine.set(expected, 'unbound');
        } else if (step === 2) {
          const expected = lowest(vm);
          const bindable = theirs.get(n) === 'unbound';
          expect(vm.bind(peer.id, n)).toBe(bindable ? expected : -XEN_EINVAL);
          if (bindable) {
            mine.set(expected, `bound ${n}`);
            theirs.set(n, `bound ${expected}`);
          }
        } else {
          const was = mine.get(n);
          expect(vm.close(n)).toBe(was === undefined ? -XEN_EINVAL : 0);
          mine.delete(n);
          if (was?.startsWith('bound')) theirs.set(Number(was.slice(6)), 'unbound');
        }
        for (const [vm2, state] of ports) {
          for (let port = 0; port < 40; port++) {
            const { status, remotePort } = vm2.status(port) as EvtchnStatus;
            const expected = state.get(port);
            if (expected === undefined) expect(status).toBe(EVTCHNSTAT_closed);
            else if (expected === 'unbound') expect(status).toBe(EVTCHNSTAT_unbound);
            else
              expect([status, remotePort]).toEqual([
                EVTCHNSTAT_interdomain,
                Number(expected.slice(6)),
              ]);
          }
        }
      }
    }),
    { numRuns: 30 },
  );
});

describe.each(['x86_64', 'i386'] as const)('a guest’s ports, %s', (abi) => {
  function guests(seed = 1) {
    const machine = createMachine({ memoryPages: 1024, seed, traceRecords: 0 });
    const [a, b] = [0, 1].map(() => bootGuest(createDomain(machine, { pages: 8, abi })));
    return { machine, a: a!, b: b! };
  }
  const seen = (port: EventPort) => {
    const events = { count: 0, done: false };
    port.events$.subscribe({
      next: () => (events.count += 1),
      complete: () => (events.done = true),
    });
    return events;
  };
  const rest = (machine: { scheduler: { sleep(ns: number): Promise<void> } }) =>
    machine.scheduler.sleep(1e9);

  it('the first event after binding is spurious; several may arrive as one', async () => {
    const { machine, a, b } = guests();
    const mine = a.events.allocUnbound(b.id);
    const theirs = b.events.bindInterdomain(a.id, mine.port);
    const [here, there] = [seen(mine), seen(theirs)];
    await rest(machine);
    expect([here.count, there.count]).toEqual([0, 1]);
    for (let n = 0; n < 5; n++) mine.notify();
    await rest(machine);
    expect(there.count).toBe(2);
  });

  it('a port that is closed says so, and hears nothing more', async () => {
    const { machine, a, b } = guests();
    const mine = a.events.allocUnbound(b.id);
    const theirs = b.events.bindInterdomain(a.id, mine.port);
    const events = seen(theirs);
    await rest(machine);
    mine.notify();
    theirs.close();
    theirs.close();
    mine.notify();
    theirs.notify();
    await rest(machine);
    expect(events).toEqual({ count: 1, done: true });
    expect([a.events.open, b.events.open]).toEqual([1, 0]);
  });

  it('what was sent before the kernel came up is delivered when it does', async () => {
    const machine = createMachine({ memoryPages: 1024, seed: 1 });
    const a = bootGuest(createDomain(machine, { pages: 8 }));
    const late = createDomain(machine, { pages: 8 });
    const early = new Hypercalls(late);
    // The firmware binds a port, and is told something, before there is a kernel.
    const port = a.events.allocUnbound(late.id);
    expect(
      early.evtchnBindInterdomain({ remoteDom: a.id, remotePort: port.port, localPort: 0 }),
    ).toBe(0);
    port.notify();
    await rest(machine);
    const b = bootGuest(late);
    const mine = b.events.allocUnbound(a.id);
    const theirs = a.events.bindInterdomain(b.id, mine.port);
    const events = seen(mine);
    theirs.notify();
    await rest(machine);
    expect(events.count).toBe(1);
  });

  it('an upcall under way when its domain dies touches nothing', async () => {
    const { machine, a, b } = guests();
    const mine = a.events.allocUnbound(b.id);
    const theirs = b.events.bindInterdomain(a.id, mine.port);
    await rest(machine);
    const events = seen(theirs);
    mine.notify();
    destroyDomain(b.domain);
    const heir = createDomain(machine, { pages: 8, domid: b.id });
    const before = heir.counters();
    await rest(machine);
    expect(heir.counters()).toEqual(before);
    expect(events.count).toBe(0);
  });

  it('no wake-up is lost, in whatever order things happen', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const { machine, a, b } = guests(seed);
        const random = machine.random.fork('test');
        const sides = [a, b] as const;
        // Several channels; what matters to a receiver is that it looks after the last thing was put there.
        const channels = Array.from({ length: 5 }, () => {
          const mine = a.events.allocUnbound(b.id);
          return { mine, theirs: b.events.bindInterdomain(a.id, mine.port) };
        });
        const mail = channels.flatMap(({ mine, theirs }) => [
          { from: mine, to: theirs, put: 0, seen: 0 },
          { from: theirs, to: mine, put: 0, seen: 0 },
        ]);
        for (const box of mail) box.to.events$.subscribe(() => (box.seen = box.put));
        const senders = mail.map(async (box) => {
          for (let n = 0; n < 10; n++) {
            await machine.scheduler.sleep(random.below(3000));
            if (random.below(4) === 0) box.to.mask();
            box.put += 1;
            box.from.notify();
            if (random.below(2) === 0) await machine.scheduler.sleep(random.below(1000));
            box.to.unmask();
          }
        });
        await Promise.all(senders);
        await rest(machine);
        expect(mail.map(({ seen: last }) => last)).toEqual(mail.map(({ put }) => put));
        expect(sides.map(({ events }) => events.open)).toEqual([5, 5]);
      }),
      { numRuns: 25 },
    );
  });
});
