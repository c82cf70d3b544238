/** VCPUOP_register_vcpu_info (vcpu.h): a virtual CPU's event flags move into a page of the guest's own. */
import { createDomain, createMachine, destroyDomain, PAGE_SIZE } from '@ringside/gnttab-core';
import { vcpuInfo, XEN_EBUSY, XEN_EINVAL, XEN_ENOENT, XEN_ENXIO } from '@ringside/gnttab-core/abi';
import { gfnToMfn, registerVcpuInfo, writableTypeCount } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { Vm } from './vm.ts';

const kinds = [
  ['pv', 'x86_64'],
  ['pv', 'i386'],
  ['translated', 'x86_64'],
  ['translated', 'i386'],
] as const;

describe.each(kinds)('%s, %s', (type, abi) => {
  function world() {
    const machine = createMachine({ memoryPages: 1024, seed: 1 });
    const vm = new Vm(createDomain(machine, { pages: 4, vcpus: 40, type, abi }));
    const { domain } = vm;
    const mfn = (gfn: number) => gfnToMfn(domain, gfn);
    /** As the guest names its page. */
    const name = (gfn: number) => (domain.translated ? gfn : mfn(gfn));
    const info = (gfn: number, offset: number) =>
      vcpuInfo[abi].decode(machine.heap.view, mfn(gfn) * PAGE_SIZE + offset);
    const register = (vcpu: number, gfn: number, offset = 0) =>
      registerVcpuInfo(domain, vcpu, name(gfn), offset);
    const pins = (gfn: number) => writableTypeCount(machine, mfn(gfn));
    return { machine, vm, name, info, register, pins };
  }
  /** Its selector is aligned so. */
  const align = abi === 'i386' ? 4 : 8;
  const allOnes = abi === 'i386' ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn;

  it('what was there comes along; then everything counts as pending, with an upcall', () => {
    const { vm, info, register } = world();
    vm.set('upcallMask', 0, true, 1);
    expect(register(1, 2, 64)).toBe(0);
    expect(info(2, 64)).toMatchObject({
      evtchn_upcall_pending: 1,
      evtchn_upcall_mask: 1,
      evtchn_pending_sel: allOnes,
    });
    expect(vm.up).toEqual([1]);
  });

  it('no upcall if one was pending', () => {
    const { vm, register } = world();
    vm.set('upcall', 0, true, 1);
    expect([register(1, 2), vm.up]).toEqual([0, []]);
  });

  it('the old place is dead: events go to the new one', () => {
    const { machine, vm, info, register } = world();
    register(0, 2, 128);
    const port = vm.ipi(0);
    machine.u8.fill(0, gfnToMfn(vm.domain, 2) * PAGE_SIZE, gfnToMfn(vm.domain, 3) * PAGE_SIZE);
    vm.send(port);
    expect(info(2, 128)).toMatchObject({ evtchn_upcall_pending: 1, evtchn_pending_sel: 1n });
    expect([vm.upcallPending(), vm.selected(0), vm.pending(port)]).toEqual([false, false, true]);
  });

  it('a virtual CPU that had none begins with upcalls masked', () => {
    const { vm, info, register } = world();
    expect(register(39, 1)).toBe(0);
    expect(info(1, 0)).toMatchObject({ evtchn_upcall_pending: 1, evtchn_upcall_mask: 1 });
    expect(vm.up).toEqual([39]);
  });

  it.each([
    ['no such virtual CPU, and all else wrong', 40, 99, 1, -XEN_ENOENT],
    ['misaligned', 0, 1, align - 2, -XEN_ENXIO],
    ['misaligned by half', 0, 1, align / 2, -XEN_ENXIO],
    ['across the end of the page', 0, 1, PAGE_SIZE - 64 + align, -XEN_ENXIO],
    ['beyond the page', 0, 1, PAGE_SIZE, -XEN_ENXIO],
    ['at the end of the page', 0, 1, PAGE_SIZE - 64, 0],
    ['aligned', 0, 1, align, 0],
    ['no page of the guest’s', 0, 99, 0, -XEN_EINVAL],
  ])('%s', (_, vcpu, gfn, offset, result) => {
    const { register, pins } = world();
    expect(register(vcpu, gfn, offset)).toBe(result);
    expect(pins(1)).toBe((type === 'pv' ? 1 : 0) + (result === 0 ? 1 : 0));
  });

  it('once for each virtual CPU, in one page or in several; their death lets go', () => {
    const { vm, register, pins } = world();
    const before = pins(1);
    expect([register(0, 1), register(1, 1, 64), register(0, 2), register(9, 2)]).toEqual([
      0,
      0,
      -XEN_EBUSY,
      0,
    ]);
    expect([pins(1), pins(2)]).toEqual([before + 2, before + 1]);
    destroyDomain(vm.domain);
    expect([pins(1), pins(2)]).toEqual([0, 0]);
  });

  it('not in a page of another domain’s', () => {
    const { machine, vm } = world();
    const other = createDomain(machine, { pages: 4 });
    expect(registerVcpuInfo(vm.domain, 0, gfnToMfn(other, 1), 0)).toBe(-XEN_EINVAL);
  });
});

it('in a foreign bank its owner hears of what is written', () => {
  const machine = createMachine({ memoryPages: 1024, seed: 1 });
  const written: number[] = [];
  const buffer = new ArrayBuffer(8 * PAGE_SIZE);
  const bank = machine.addForeignBank({ buffer, written: (at) => void written.push(at) });
  const vm = new Vm(createDomain(machine, { pages: 8, bank, type: 'translated' }));
  expect(registerVcpuInfo(vm.domain, 0, 3, 64)).toBe(0);
  const at = 3 * PAGE_SIZE + 64;
  expect(new Uint8Array(buffer)[at]).toBe(1);
  expect(new Set(written)).toEqual(new Set([at, at + 8, at + 12]));
});
