/**
 * Event channels with two-level delivery (event_channel.h; xen.h, struct shared_info): who may do what with which port,
 * which bits each operation changes, and that no event is lost.
 */
import {
  bootGuest,
  createDomain,
  createMachine,
  destroyDomain,
  type Domain,
  type EventPort,
  type EvtchnStatus,
  Hypercalls,
  PAGE_SIZE,
} from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_unbound,
  sharedInfo,
  vcpuInfo,
  XEN_EINVAL,
  XEN_ENOSPC,
  XEN_EPERM,
  XEN_ESRCH,
} from '@ringside/gnttab-core/abi';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const NOBODY = 999;
const { evtchn_pending, evtchn_mask } = sharedInfo.x86_64.offset;
const { evtchn_upcall_pending, evtchn_pending_sel } = vcpuInfo.x86_64.offset;

/** A domain and its shared info page, with the upcalls that it got counted instead of taken. */
class Vm {
  readonly domain: Domain;
  readonly calls: Hypercalls;
  upcalls = 0;

  constructor(domain: Domain) {
    this.domain = domain;
    this.calls = new Hypercalls(domain);
    const { machine } = domain;
    const kick = machine.kick.bind(machine);
    machine.kick = (domid) => {
      if (domid === domain.id) this.upcalls += 1;
      kick(domid);
    };
  }

  get id(): number {
    return this.domain.id;
  }

  alloc(remoteDom: number, dom: number = DOMID_SELF): number {
    const op = { dom, remoteDom, port: 0 };
    const result = this.calls.evtchnAllocUnbound(op);
    return result < 0 ? result : op.port;
  }

  bind(remoteDom: number, remotePort: number): number {
    const op = { remoteDom, remotePort, localPort: 0 };
    const result = this.calls.evtchnBindInterdomain(op);
    return result < 0 ? result : op.localPort;
  }

  send(port: number): number {
    return this.calls.evtchnSend(port);
  }

  close(port: number): number {
    return this.calls.evtchnClose(port);
  }

  /** What EVTCHNOP_status says of a port, or -errno. */
  status(port: number, dom: number = DOMID_SELF): number | Partial<EvtchnStatus> {
    const op = { dom, port, status: -99, vcpu: -99, remoteDom: -99, remotePort: -99 };
    const result = this.calls.evtchnStatus(op);
    if (result < 0) return result;
    const { status, remoteDom, remotePort } = op;
    return {
      status,
      ...(remoteDom !== -99 && { remoteDom }),
      ...(remotePort !== -99 && { remotePort }),
    };
  }

  #at(offsetBytes: number): number {
    return this.domain.sharedInfo * PAGE_SIZE + offsetBytes;
  }

  #bit(bitmap: number, bit: number): boolean {
    return ((this.domain.machine.heap.u8[this.#at(bitmap + (bit >>> 3))]! >>> (bit & 7)) & 1) === 1;
  }

  /** Writes a bit as the guest would. */
  set(what: 'pending' | 'mask' | 'selector' | 'upcall', bit: number, value: boolean): void {
    const { u8 } = this.domain.machine.heap;
    const offset = {
      pending: evtchn_pending,
      mask: evtchn_mask,
      selector: evtchn_pending_sel,
      upcall: evtchn_upcall_pending,
    }[what];
    const at = this.#at(offset + (bit >>> 3));
    u8[at] = value ? u8[at]! | (1 << (bit & 7)) : u8[at]! & ~(1 << (bit & 7));
  }

  pending = (port: number): boolean => this.#bit(evtchn_pending, port);
  masked = (port: number): boolean => this.#bit(evtchn_mask, port);
  selected = (word: number): boolean => this.#bit(evtchn_pending_sel, word);
  upcallPending = (): boolean => this.#bit(evtchn_upcall_pending, 0);

  /** Everything delivered is taken: all bits clear, no upcall counted. */
  settle(): void {
    const { u8 } = this.domain.machine.heap;
    u8.fill(0, this.#at(0), this.#at(PAGE_SIZE));
    this.upcalls = 0;
  }
}

function vms() {
  const machine = createMachine({ memoryPages: 1024, seed: 1 });
  const create = (options = {}) => new Vm(createDomain(machine, { pages: 4, ...options }));
  return { machine, create, a: create({ privileged: true }), b: create(), c: create() };
}

/** Two domains with a channel between them, nothing pending. */
function channel() {
  const all = vms();
  const { a, b } = all;
  const remote = b.alloc(a.id);
  const local = a.bind(b.id, remote);
  for (const vm of [a, b]) vm.settle();
  return { ...all, local, remote };
}

describe('EVTCHNOP_alloc_unbound', () => {
  it('gives the lowest free port, from 1 on; port 0 is reserved', () => {
    const { a, b } = vms();
    expect([a.alloc(b.id), a.alloc(b.id), a.alloc(b.id)]).toEqual([1, 2, 3]);
    a.close(2);
    expect([a.alloc(b.id), a.alloc(b.id)]).toEqual([2, 4]);
    expect(a.status(0)).toEqual({ status: EVTCHNSTAT_closed });
  });

  it.each([
    ['for oneself by id', 'b', 'b', 1],
    ['for another domain, with privilege', 'a', 'b', 1],
    ['for another domain, without', 'b', 'c', -XEN_EPERM],
    ['for no domain', 'b', NOBODY, -XEN_ESRCH],
  ] as const)('%s', (_, who, whom, result) => {
    const all = vms();
    const dom = typeof whom === 'number' ? whom : all[whom].id;
    expect(all[who].alloc(all.c.id, dom)).toBe(result);
  });

  it('looks for a port before it asks for privilege', () => {
    const { b, create } = vms();
    const full = create({ maxPort: 1 });
    full.alloc(b.id);
    expect(b.alloc(b.id, full.id)).toBe(-XEN_ENOSPC);
  });

  it('does not validate the remote domain; DOMID_SELF there is the caller', () => {
    const { a, b } = vms();
    expect(a.status(a.alloc(NOBODY))).toEqual({ status: EVTCHNSTAT_unbound, remoteDom: NOBODY });
    const port = a.alloc(DOMID_SELF, b.id);
    expect(b.status(port)).toEqual({ status: EVTCHNSTAT_unbound, remoteDom: a.id });
  });

  it('ends at the domain’s limit, and at 4095', () => {
    const { b, create } = vms();
    const few = create({ maxPort: 5 });
    expect(Array.from({ length: 6 }, () => few.alloc(b.id))).toEqual([1, 2, 3, 4, 5, -XEN_ENOSPC]);
    few.close(3);
    expect(few.alloc(b.id)).toBe(3);
    const many = create({ maxPort: 0xffff_ffff });
    for (let port = 1; port < 4096; port++) expect(many.alloc(b.id)).toBe(port);
    expect(many.alloc(b.id)).toBe(-XEN_ENOSPC);
  });

  it('touches no bit: stale ones stay', () => {
    const { a, b } = vms();
    a.set('pending', 1, true);
    a.set('mask', 1, true);
    expect(a.alloc(b.id)).toBe(1);
    expect([a.pending(1), a.masked(1), a.upcalls]).toEqual([true, true, 0]);
  });
});

describe('EVTCHNOP_bind_interdomain', () => {
  it('joins both ports and sets the local one pending; the peer gets nothing', () => {
    const { a, b } = vms();
    const remote = b.alloc(a.id);
    const local = a.bind(b.id, remote);
    const interdomain = { status: EVTCHNSTAT_interdomain };
    expect(a.status(local)).toEqual({ ...interdomain, remoteDom: b.id, remotePort: remote });
    expect(b.status(remote)).toEqual({ ...interdomain, remoteDom: a.id, remotePort: local });
    expect([a.pending(local), a.selected(0), a.upcallPending(), a.upcalls]).toEqual([
      true,
      true,
      true,
      1,
    ]);
    expect([b.pending(remote), b.upcallPending(), b.upcalls]).toEqual([false, false, 0]);
  });

  it.each([
    ['no such domain', { remoteDom: NOBODY }, -XEN_ESRCH],
    ['port 0', { remotePort: 0 }, -XEN_EINVAL],
    ['a port that is not valid', { remotePort: 64 }, -XEN_EINVAL],
    ['the highest port', { remotePort: 0xffff_ffff }, -XEN_EINVAL],
    ['a free port', { remotePort: 9 }, -XEN_EINVAL],
    ['a port reserved for another', { remotePort: 2 }, -XEN_EINVAL],
    ['a port that is bound', { remotePort: 3 }, -XEN_EINVAL],
  ])('%s', (_, change, result) => {
    const { a, b, c } = vms();
    expect([b.alloc(a.id), b.alloc(c.id), b.alloc(a.id)]).toEqual([1, 2, 3]);
    expect(a.bind(b.id, 3)).toBe(1);
    a.settle();
    const op = { remoteDom: b.id, remotePort: 1, localPort: -99, ...change };
    expect(a.calls.evtchnBindInterdomain(op)).toBe(result);
    expect(op.localPort).toBe(-99);
    expect(a.upcalls).toBe(0);
    expect(a.alloc(b.id)).toBe(2); // no port was used up
  });

  it('finds its own port before it looks at the remote one', () => {
    const { b, create } = vms();
    const full = create({ maxPort: 1 });
    full.alloc(b.id);
    expect(full.bind(b.id, 9)).toBe(-XEN_ENOSPC);
    expect(full.bind(NOBODY, 9)).toBe(-XEN_ESRCH);
  });

  it('works inside one domain', () => {
    const { b } = vms();
    const first = b.alloc(DOMID_SELF);
    const second = b.bind(DOMID_SELF, first);
    expect([first, second]).toEqual([1, 2]);
    b.settle();
    expect(b.send(first)).toBe(0);
    expect([b.pending(first), b.pending(second)]).toEqual([false, true]);
    expect(b.close(second)).toBe(0);
    expect(b.status(first)).toEqual({ status: EVTCHNSTAT_unbound, remoteDom: b.id });
  });
});

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
      const words = Array.from({ length: 64 }, (_, word) => word).filter(b.selected);
      expect(words).toEqual([Math.floor(remote / 64)]);
      expect(b.pending(remote)).toBe(true);
    }
  });

  it('the upcall is bit 0 of its byte, whatever else the guest keeps there', () => {
    const { a, b, local } = channel();
    const { u8 } = b.domain.machine.heap;
    const at = b.domain.sharedInfo * PAGE_SIZE + evtchn_upcall_pending;
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

describe('EVTCHNOP_close', () => {
  it('frees the port; the other end is unbound, reserved for the closer', () => {
    const { a, b, local, remote } = channel();
    expect(a.close(local)).toBe(0);
    expect(a.status(local)).toEqual({ status: EVTCHNSTAT_closed });
    expect(b.status(remote)).toEqual({ status: EVTCHNSTAT_unbound, remoteDom: a.id });
    expect(b.send(remote)).toBe(0);
    expect(a.upcalls).toBe(0);
    expect(a.bind(b.id, remote)).toBe(local);
  });

  it.each([
    ['port 0', 0],
    ['a free port', 9],
    ['a port that is not valid', 64],
  ])('%s: EINVAL', (_, port) => {
    const { a } = channel();
    expect(a.close(port)).toBe(-XEN_EINVAL);
  });

  it('a second time: EINVAL', () => {
    const { a, local } = channel();
    expect([a.close(local), a.close(local)]).toEqual([0, -XEN_EINVAL]);
  });

  it('clears the own pending bit, never mask, selector or upcall, nor anything of the peer’s', () => {
    const { a, b, local, remote } = channel();
    for (const [vm, port] of [
      [a, local],
      [b, remote],
    ] as const) {
      vm.set('pending', port, true);
      vm.set('mask', port, true);
      vm.set('selector', 0, true);
      vm.set('upcall', 0, true);
    }
    a.close(local);
    const bits = (vm: Vm, port: number) => [
      vm.pending(port),
      vm.masked(port),
      vm.selected(0),
      vm.upcallPending(),
    ];
    expect(bits(a, local)).toEqual([false, true, true, true]);
    expect(bits(b, remote)).toEqual([true, true, true, true]);
  });

  it('of a dead domain’s channels leaves the peers’ ports unbound, reserved for the dead id', () => {
    const { a, b, local } = channel();
    destroyDomain(b.domain);
    expect(a.status(local)).toEqual({ status: EVTCHNSTAT_unbound, remoteDom: b.id });
    expect(a.send(local)).toBe(0);
    expect(a.close(local)).toBe(0);
  });
});

describe('EVTCHNOP_status', () => {
  it.each([
    ['a free port', 'a', 'a', 9, { status: EVTCHNSTAT_closed }],
    ['port 0', 'a', 'a', 0, { status: EVTCHNSTAT_closed }],
    ['a port that is not valid', 'a', 'a', 64, -XEN_EINVAL],
    ['another’s, with privilege', 'a', 'c', 9, { status: EVTCHNSTAT_closed }],
    ['another’s, without', 'b', 'c', 9, -XEN_EPERM],
    ['another’s that is not valid: EINVAL comes first', 'b', 'c', 64, -XEN_EINVAL],
    ['nobody’s', 'b', NOBODY, 1, -XEN_ESRCH],
  ] as const)('%s', (_, who, whom, port, expected) => {
    const all = channel();
    const dom = typeof whom === 'number' ? whom : all[whom].id;
    expect(all[who].status(port, dom)).toEqual(expected);
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

describe('a guest’s ports', () => {
  function guests(seed = 1) {
    const machine = createMachine({ memoryPages: 1024, seed, traceRecords: 0 });
    const [a, b] = [0, 1].map(() => bootGuest(createDomain(machine, { pages: 8 })));
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
