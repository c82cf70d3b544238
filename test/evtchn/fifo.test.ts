/** FIFO delivery (event_channel.h, "FIFO ABI"): control blocks, the event array, queues, and the way to it and back. */
import { createDomain, createMachine, destroyDomain, PAGE_SIZE } from '@ringside/gnttab-core';
import {
  EVTCHN_FIFO_LINK_MASK,
  XEN_EACCES,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSPC,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
} from '@ringside/gnttab-core/abi';
import {
  evtchnExpandArray,
  evtchnInitControl,
  evtchnReset,
  evtchnSetPriority,
  gfnToMfn,
  usesFifo,
  writableTypeCount,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { BUSY, FifoGuest, fifoGuest, LINKED, MASKED, PENDING } from './fifo-guest.ts';
import { Vm, vms } from './vm.ts';

const LAST_OFFSET = PAGE_SIZE - 72;
const hex = (word: number) => (word >>> 0).toString(16).padStart(8, '0');

/** A domain with FIFO delivery, two virtual CPUs, and ports 1 to `ports` that notify virtual CPU 0. */
function fifo({ ports = 4, pages = 1 } = {}) {
  const machine = createMachine({ memoryPages: 2048, seed: 1 });
  const vm = new Vm(createDomain(machine, { pages: 16, vcpus: 2 }));
  const guest = fifoGuest(vm.domain, pages);
  for (let port = 1; port <= ports; port++) expect(vm.ipi(0)).toBe(port);
  const word = (port: number) => hex(guest.word(port));
  const prioritise = (port: number, priority: number) =>
    evtchnSetPriority(vm.domain, { port, priority });
  return { machine, vm, guest, word, prioritise };
}

describe('EVTCHNOP_init_control', () => {
  const init = (vm: Vm, vcpu: number, offset: number, gfn: number) => {
    const op = { controlGfn: gfn, offset, vcpu, linkBits: 0 };
    const result = evtchnInitControl(vm.domain, op);
    return result === 0 ? op.linkBits : result;
  };

  it.each([
    ['no such virtual CPU, and all else wrong', 4, 4, 99, -XEN_ENOENT],
    ['across the end of the page', 0, LAST_OFFSET + 8, 1, -XEN_EINVAL],
    ['beyond the page', 0, 0xffff_fff8, 1, -XEN_EINVAL],
    ['not aligned to 8', 0, 4, 1, -XEN_EINVAL],
    ['no page of the guest’s', 0, 0, 99, -XEN_EINVAL],
    ['the last possible place', 0, LAST_OFFSET, 1, 17],
  ])('%s', (_, vcpu, offset, gfn, result) => {
    const { b } = vms({ vcpus: 4, type: 'translated' });
    expect(init(b, vcpu, offset, gfn)).toBe(result);
    expect(usesFifo(b.domain)).toBe(result > 0);
    expect(evtchnExpandArray(b.domain, 2)).toBe(result > 0 ? 0 : -XEN_EOPNOTSUPP);
  });

  it('the first block, of whichever virtual CPU, is the whole domain’s change', () => {
    const { b } = vms({ vcpus: 4, type: 'translated' });
    expect([init(b, 3, 0, 1), usesFifo(b.domain)]).toEqual([17, true]);
    expect([init(b, 3, 72, 2), init(b, 0, 0, 99)]).toEqual([-XEN_EINVAL, -XEN_EINVAL]);
    // In the same page, overlapping, or in a page of the array: that is the guest's affair.
    expect([init(b, 0, 8, 1), evtchnExpandArray(b.domain, 1)]).toEqual([17, 0]);
  });

  it('pages are held, once for each use, until reset or death', () => {
    const { machine, vm } = fifo({ pages: 2 });
    const pins = () => [0, 1, 2].map((gfn) => writableTypeCount(machine, gfnToMfn(vm.domain, gfn)));
    // One use each is the guest's own mapping.
    expect(pins()).toEqual([3, 2, 2]);
    expect([evtchnReset(vm.domain, vm.id), pins()]).toEqual([0, [1, 1, 1]]);
    fifoGuest(vm.domain);
    destroyDomain(vm.domain);
    expect(pins()).toEqual([0, 0, 0]);
  });
});

describe('EVTCHNOP_expand_array', () => {
  it('takes 128 pages, and looks at their number first', () => {
    const { vm } = fifo({ ports: 0, pages: 0 });
    const mfn = gfnToMfn(vm.domain, 1);
    expect(evtchnExpandArray(vm.domain, 0xffff_ffff)).toBe(-XEN_EINVAL);
    for (let page = 0; page < 128; page++) expect(evtchnExpandArray(vm.domain, mfn)).toBe(0);
    expect(evtchnExpandArray(vm.domain, 0xffff_ffff)).toBe(-XEN_ENOSPC);
  });
});

describe('a send', () => {
  it('an empty queue: head, then its ready bit, then the upcall', () => {
    const { vm, guest, word } = fifo();
    expect(vm.send(1)).toBe(0);
    expect([word(1), guest.head(7), guest.ready(), vm.up]).toEqual(['a0000000', 1, 1 << 7, [0]]);
  });

  it('a queue with a tail: linked to it, and nothing else', () => {
    const { vm, guest, word } = fifo();
    vm.send(1);
    vm.send(2);
    vm.send(3);
    expect([word(1), word(2), word(3)]).toEqual(['a0000002', 'a0000003', 'a0000000']);
    expect([guest.head(7), vm.up, guest.takeAll()]).toEqual([1, [0], [1, 2, 3]]);
  });

  it('the tail was taken: the queue begins anew, its old link stays', () => {
    const { vm, guest, word } = fifo();
    vm.send(1);
    guest.set(1, 5);
    guest.clear(1, PENDING | LINKED);
    vm.send(2);
    expect([word(1), word(2), guest.head(7)]).toEqual(['00000005', 'a0000000', 2]);
  });

  it.each([
    ['masked', MASKED, MASKED | PENDING, 0],
    ['pending already, and not linked', PENDING, PENDING | LINKED, 1],
    ['linked still', LINKED, LINKED | PENDING, 0],
    ['reserved bits and a stale link', 0x0ffe_0003, PENDING | LINKED | 0x0ffe_0003, 1],
  ])('%s', (_, before, after, upcalls) => {
    const { vm, guest, word } = fifo();
    guest.set(1, before);
    vm.send(1);
    expect([word(1), vm.upcalls]).toEqual([hex(after), upcalls]);
  });

  it('linking clears BUSY of the tail, and keeps its reserved bits', () => {
    const { vm, guest, word } = fifo();
    vm.send(1);
    guest.set(1, BUSY | 0x0ffe_0000 | EVTCHN_FIFO_LINK_MASK);
    vm.send(2);
    expect(word(1)).toBe(hex(PENDING | LINKED | 0x0ffe_0002));
  });

  it('the upcall’s flag, and the ready bit, each only go from 0 to 1', () => {
    const { vm, guest, prioritise } = fifo();
    prioritise(2, 0);
    vm.send(1);
    vm.send(2);
    expect([guest.ready(), vm.up]).toEqual([(1 << 7) | 1, [0]]);
    expect(guest.takeAll()).toEqual([2, 1]);
    vm.send(3);
    expect(vm.up).toEqual([0, 0]);
  });

  it('without a control block it is dropped, pending bit and all', () => {
    const { b } = vms({ pages: 8, vcpus: 2 });
    const guest = new FifoGuest(b.domain);
    guest.init(1);
    guest.expand();
    const port = b.ipi(0);
    expect([b.send(port), guest.word(port)]).toEqual([0, 0]);
    guest.init(0);
    expect([b.send(port), guest.takeAll()]).toEqual([0, [port]]);
  });
});

describe('another queue', () => {
  it('a linked event stays where it is; the next goes to the new one', () => {
    const { vm, guest, prioritise } = fifo();
    vm.send(1);
    prioritise(1, 3);
    vm.send(1);
    expect(guest.ready()).toBe(1 << 7);
    expect(guest.takeAll()).toEqual([1]);
    vm.send(1);
    expect([guest.ready(), guest.head(3)]).toEqual([1 << 3, 1]);
  });

  it('a tail that left its queue is its tail no more', () => {
    const { vm, guest, word, prioritise } = fifo();
    vm.send(1);
    guest.clear(1, LINKED | PENDING);
    prioritise(1, 3);
    vm.send(1);
    vm.send(2);
    // Port 1 is linked again, but on queue 3: port 2 must not follow it there.
    expect([word(1), word(2), guest.head(7)]).toEqual(['a0000000', 'a0000000', 2]);
  });

  it('of another virtual CPU', () => {
    const { a, b } = vms({ pages: 8, vcpus: 2 });
    const guest = fifoGuest(b.domain);
    const remote = b.alloc(a.id);
    const local = a.bind(b.id, remote);
    b.move(remote, 1);
    a.send(local);
    expect([guest.ready(0), guest.head(7, 1), b.up]).toEqual([0, remote, [1]]);
  });
});

describe('EVTCHNOP_set_priority', () => {
  it.each([
    ['not valid', 64, 99, -XEN_EINVAL],
    ['port 0', 0, 99, -XEN_EACCES],
    ['a free port', 9, 99, -XEN_EACCES],
    ['too high a number', 1, 16, -XEN_EINVAL],
    ['the least urgent', 1, 15, 0],
  ])('%s', (_, port, priority, result) => {
    expect(fifo().prioritise(port, priority)).toBe(result);
  });

  it('is not there under two-level delivery', () => {
    const { b } = vms();
    const of = (port: number) => evtchnSetPriority(b.domain, { port, priority: 99 });
    expect([of(0), of(9), of(64)]).toEqual([-XEN_ENOSYS, -XEN_ENOSYS, -XEN_EINVAL]);
  });

  it('binding sets the default, 7', () => {
    const { vm, guest, prioritise } = fifo();
    prioritise(1, 2);
    vm.close(1);
    expect(vm.ipi(0)).toBe(1);
    vm.send(1);
    expect(guest.head(7)).toBe(1);
  });
});

describe('EVTCHNOP_unmask', () => {
  it.each([
    ['nothing pending', MASKED, 0, 0],
    ['pending', MASKED | PENDING, PENDING | LINKED, 1],
    ['pending, not masked', PENDING, PENDING | LINKED, 1],
    ['pending and linked', MASKED | PENDING | LINKED, PENDING | LINKED, 0],
  ])('%s', (_, before, after, upcalls) => {
    const { vm, guest, word } = fifo();
    guest.set(1, before);
    expect(vm.calls.evtchnUnmask(1)).toBe(0);
    expect([word(1), vm.upcalls]).toEqual([hex(after), upcalls]);
  });
});

describe('a free port', () => {
  it('is not allocated while the guest has it linked, whether it ever was open or not', () => {
    const { vm, guest } = fifo();
    vm.send(2);
    vm.close(2);
    guest.set(5, LINKED);
    expect([vm.ipi(0), hex(guest.word(2))]).toEqual([6, hex(LINKED)]);
    guest.clear(2, LINKED);
    guest.clear(5, LINKED);
    expect([vm.ipi(0), vm.ipi(0), vm.ipi(0)]).toEqual([2, 5, 7]);
  });
});

describe('an event whose word is missing', () => {
  it('is remembered, and raised when the word comes, in the order of ports', () => {
    const { vm, guest } = fifo({ pages: 0 });
    for (const port of [3, 1]) vm.send(port);
    expect(vm.up).toEqual([]);
    expect([guest.expand(), vm.up, guest.takeAll()]).toEqual([0, [0], [1, 3]]);
  });

  it('is never forgotten: neither by closing, nor by a reset', () => {
    const { vm, guest } = fifo({ pages: 0, ports: 1 });
    vm.send(1);
    vm.close(1);
    guest.expand();
    expect([guest.takeAll(), evtchnReset(vm.domain, vm.id)]).toEqual([[1], 0]);
    guest.forget();
    guest.init();
    guest.expand();
    expect(guest.takeAll()).toEqual([1]);
  });

  it('what two levels had pending is carried over; mask and selector are not', () => {
    const { b } = vms({ pages: 8 });
    for (let port = 1; port <= 3; port++) b.ipi(0);
    b.set('mask', 2, true);
    b.send(1);
    b.send(2);
    b.settle();
    b.set('pending', 2, true);
    b.set('pending', 3, true);
    b.set('mask', 3, true);
    const guest = fifoGuest(b.domain);
    expect([guest.takeAll(), b.masked(3), b.pending(2)]).toEqual([[2, 3], true, true]);
  });
});

it('the limit is 131,071 ports, or the domain’s', () => {
  const { a, create } = vms();
  const few = create({ pages: 8, maxPort: 5000 });
  for (let port = 1; port < 4096; port++) few.alloc(a.id);
  expect(few.alloc(a.id)).toBe(-XEN_ENOSPC);
  fifoGuest(few.domain, 5);
  for (let port = 4096; port <= 5000; port++) expect(few.alloc(a.id)).toBe(port);
  expect(few.alloc(a.id)).toBe(-XEN_ENOSPC);
});
