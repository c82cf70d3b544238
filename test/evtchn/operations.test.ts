/** EVTCHNOP_* (event_channel.h): what each operation answers and leaves behind. */
import { destroyDomain } from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_unbound,
  XEN_EINVAL,
  XEN_ENOSPC,
  XEN_EPERM,
  XEN_ESRCH,
} from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { channel, NOBODY, type Vm, vms } from './vm.ts';

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
