/** SCHEDOP_block, SCHEDOP_poll and SCHEDOP_shutdown (sched.h): when a virtual CPU waits, and what wakes it. */
import { destroyDomain } from '@ringside/gnttab-core';
import {
  SHUTDOWN_crash,
  SHUTDOWN_poweroff,
  VIRQ_DOM_EXC,
  XEN_EINVAL,
} from '@ringside/gnttab-core/abi';
import {
  domainShutdown,
  schedBlock,
  schedPoll,
  vcpuUnblock,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { fifoGuest } from './fifo-guest.ts';
import { vms } from './vm.ts';

/** `b` has ports 1 to 4, whose other ends `a` has under the same numbers. */
function channels(each: Parameters<typeof vms>[0] = {}) {
  const all = vms({ vcpus: 4, ...each });
  const { a, b } = all;
  for (const port of [1, 2, 3, 4]) {
    expect(b.alloc(a.id)).toBe(port);
    expect(a.bind(b.id, port)).toBe(port);
  }
  a.settle();
  const poll = (vcpu: number, ...ports: number[]) => schedPoll(b.domain, vcpu, ports);
  return { ...all, poll };
}

describe('SCHEDOP_block', () => {
  it('lets upcalls through, and waits for one', () => {
    const { a, b } = channels();
    b.set('upcallMask', 0, true);
    expect(schedBlock(b.domain, 0)).toBe(0);
    expect([b.blocked(), b.upcallMasked()]).toEqual([true, false]);
    a.send(1);
    expect([b.blocked(), b.woken]).toEqual([false, [0]]);
  });

  it('does not wait if one is pending', () => {
    const { b } = channels();
    b.set('upcall', 0, true);
    expect([schedBlock(b.domain, 0), b.blocked(), b.woken]).toEqual([0, false, []]);
  });

  it('is not ended by what is masked, until it is unmasked', () => {
    const { a, b } = channels();
    b.set('mask', 1, true);
    schedBlock(b.domain, 0);
    a.send(1);
    expect(b.blocked()).toBe(true);
    b.calls.evtchnUnmask(1);
    expect([b.blocked(), b.woken]).toEqual([false, [0]]);
  });
});

describe('SCHEDOP_poll', () => {
  it.each([
    ['port 0', [0]],
    ['a free port', [40]],
    ['a port that is not valid', [64]],
    ['the second of two', [1, 40]],
    ['more than 128 ports', Array.from({ length: 129 }, () => 1)],
  ])('%s: EINVAL, and it does not wait', (_, ports) => {
    const { b, poll } = channels();
    expect([poll(0, ...ports), b.blocked()]).toEqual([-XEN_EINVAL, false]);
  });

  it.each([
    ['a port is pending', (b: ReturnType<typeof channels>['b']) => b.set('pending', 2, true)],
    ['one is pending, masked', (b) => (b.set('pending', 2, true), b.set('mask', 2, true))],
    ['an upcall would be taken', (b) => b.set('upcall', 0, true)],
  ] satisfies [string, (b: ReturnType<typeof channels>['b']) => void][])(
    'returns at once if %s',
    (_, prepare) => {
      const { b, poll } = channels();
      prepare(b);
      expect([poll(0, 1, 2), b.blocked()]).toEqual([0, false]);
    },
  );

  it('looks at upcalls before it looks at ports', () => {
    const { b, poll } = channels();
    b.set('upcall', 0, true);
    expect(poll(0, 40)).toBe(0);
  });

  it('an upcall that is masked lets a PV guest wait; a translated one’s mask does not count', () => {
    for (const [type, waits] of [
      ['pv', true],
      ['translated', false],
    ] as const) {
      const { b, poll } = channels({ type });
      b.set('upcall', 0, true);
      b.set('upcallMask', 0, true);
      expect([poll(0, 1), b.blocked()]).toEqual([0, waits]);
    }
  });

  it.each([
    ['one port: by that one, masked or not', [1], [1], true],
    ['one port: not by another, masked', [1], [2], false],
    ['several ports: by any', [1, 2], [4], true],
    ['no port: by any', [], [3], true],
  ])('%s', (_, polled, sent, woken) => {
    const { a, b, poll } = channels();
    for (const port of sent) b.set('mask', port, true);
    expect([poll(2, ...polled), b.blocked(2)]).toEqual([0, true]);
    for (const port of sent) a.send(port);
    expect([b.blocked(2), b.woken, b.up]).toEqual([!woken, woken ? [2] : [], []]);
  });

  it('is ended by an upcall, too, and wakes all who poll the port', () => {
    const { a, b, poll } = channels();
    poll(0, 4);
    a.send(1);
    expect([b.up, b.woken]).toEqual([[0], [0]]);
    for (const vcpu of [1, 2, 3]) poll(vcpu, vcpu === 3 ? 2 : 4);
    a.send(4);
    expect(b.woken).toEqual([0, 1, 2]);
    a.send(4);
    expect([b.woken, b.blocked(3)]).toEqual([[0, 1, 2], true]);
  });

  it('a port that was pending already wakes nobody', () => {
    const { a, b, poll } = channels();
    b.set('mask', 1, true);
    a.send(1);
    poll(1, 2);
    a.send(1);
    expect(b.blocked(1)).toBe(true);
  });

  it('can be ended by whoever runs it, once', () => {
    const { b, poll } = channels();
    poll(1, 1);
    for (let times = 0; times < 2; times++) vcpuUnblock(b.domain, 1);
    expect([b.blocked(1), b.woken]).toEqual([false, [1]]);
  });

  it('under FIFO delivery an event without its word, or its control block, wakes nobody', () => {
    const { a, b, poll } = channels({ pages: 8 });
    const guest = fifoGuest(b.domain, 0);
    poll(1, 1);
    a.send(1);
    expect(b.blocked(1)).toBe(true);
    expect(guest.expand()).toBe(0);
    expect([b.blocked(1), b.woken]).toEqual([false, [1]]);
    poll(1, 1);
    expect([guest.pending(1), b.blocked(1)]).toEqual([true, false]);
  });
});

describe('the timeout of a poll', () => {
  it('ends it', async () => {
    const { machine, b } = channels();
    schedPoll(b.domain, 1, [1], machine.clock.nowNs() + 1000);
    await machine.scheduler.sleep(500);
    expect(b.blocked(1)).toBe(true);
    await machine.scheduler.sleep(1000);
    expect([b.blocked(1), b.woken]).toEqual([false, [1]]);
  });

  it('ends no later one, and nothing of a dead domain’s', async () => {
    const { machine, a, b, create } = channels();
    schedPoll(b.domain, 1, [1], machine.clock.nowNs() + 1000);
    a.send(1);
    b.settle();
    schedPoll(b.domain, 1, [2]);
    const late = create();
    schedPoll(late.domain, 0, [], machine.clock.nowNs() + 1000);
    destroyDomain(late.domain);
    const heir = create({ domid: late.id });
    schedPoll(heir.domain, 0, []);
    await machine.scheduler.sleep(5000);
    expect([b.blocked(1), heir.blocked()]).toEqual([true, true]);
  });

  it('that has passed ends it soon', async () => {
    const { machine, b } = channels();
    await machine.scheduler.sleep(5000);
    schedPoll(b.domain, 0, [], 1);
    await machine.scheduler.sleep(1000);
    expect(b.blocked()).toBe(false);
  });
});

describe('SCHEDOP_shutdown', () => {
  it('says why, once, and raises VIRQ_DOM_EXC', () => {
    const { a, b } = channels();
    const port = a.virq(VIRQ_DOM_EXC);
    expect(b.domain.shutdownCode).toBeUndefined();
    domainShutdown(b.domain, SHUTDOWN_poweroff);
    domainShutdown(b.domain, SHUTDOWN_crash);
    expect([b.domain.shutdownCode, a.up, a.pending(port)]).toEqual([SHUTDOWN_poweroff, [0], true]);
  });
});
