/** event_channel_op, sched_op and vcpu_op as binary hypercalls: structs in guest memory, in each layout. */
import { createMachine, Hypercalls } from '@ringside/gnttab-core';
import {
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_vcpu_op,
  DOMID_SELF,
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_ipi,
  EVTCHNOP_bind_pirq,
  EVTCHNOP_bind_vcpu,
  EVTCHNOP_bind_virq,
  EVTCHNOP_close,
  EVTCHNOP_expand_array,
  EVTCHNOP_init_control,
  EVTCHNOP_reset,
  EVTCHNOP_send,
  EVTCHNOP_set_priority,
  EVTCHNOP_status,
  EVTCHNOP_unmask,
  evtchnAllocUnbound,
  evtchnBindInterdomain,
  evtchnBindIpi,
  evtchnBindPirq,
  evtchnBindVcpu,
  evtchnBindVirq,
  evtchnClose,
  evtchnExpandArray,
  evtchnInitControl,
  evtchnReset,
  evtchnSend,
  evtchnSetPriority,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_ipi,
  EVTCHNSTAT_unbound,
  EVTCHNSTAT_virq,
  evtchnStatus,
  evtchnUnmask,
  type Initializer,
  schedPoll,
  schedShutdown,
  SCHEDOP_block,
  SCHEDOP_poll,
  SCHEDOP_shutdown,
  SCHEDOP_watchdog,
  SCHEDOP_yield,
  SHUTDOWN_reboot,
  type StructByAbi,
  type Table,
  VCPUOP_is_up,
  VCPUOP_register_vcpu_info,
  vcpuRegisterVcpuInfo,
  VIRQ_TIMER,
  XEN_EACCES,
  XEN_EBUSY,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
} from '@ringside/gnttab-core/abi';
import { isBlocked, isPending } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { BinaryGuest, kinds, NULL, preemptAlways } from '../hypercall/binary-guest.ts';

/** Command 14: Xen's own, for a reset that goes on. */
const EVTCHNOP_reset_cont = 14;
const UNTOUCHED = 0xa5a5_a5a5;

describe.each(kinds)('%s, %s', (...kind) => {
  const [, abi] = kind;

  function world() {
    const machine = createMachine({ memoryPages: 2048, seed: 1 });
    const create = () => new BinaryGuest(machine, kind, { abi, vcpus: 2 });
    const [a, b] = [create(), create()];
    const call = (guest: BinaryGuest, cmd: number, arg: number) =>
      guest.hypercall(__HYPERVISOR_event_channel_op, cmd, arg);
    /** Makes the call with a struct: the result, and the struct afterwards. */
    const op = <T extends Table>(
      guest: BinaryGuest,
      cmd: number,
      struct: StructByAbi<T>,
      value: Initializer<T>,
    ) => {
      const va = guest.struct(struct, value);
      return { result: call(guest, cmd, va), out: guest.at(struct, va) };
    };
    const status = (guest: BinaryGuest, port: number) =>
      op(guest, EVTCHNOP_status, evtchnStatus, { dom: DOMID_SELF, port }).out;
    return { machine, a, b, call, op, status };
  }

  it('ports are made, used and closed', () => {
    const { a, b, op, status } = world();
    const { out: unbound } = op(b, EVTCHNOP_alloc_unbound, evtchnAllocUnbound, {
      dom: DOMID_SELF,
      remote_dom: a.id,
    });
    expect(unbound).toEqual({ dom: DOMID_SELF, remote_dom: a.id, port: 1 });
    expect(status(b, 1)).toMatchObject({ status: EVTCHNSTAT_unbound, vcpu: 0 });
    expect(status(b, 1).u.unbound.dom).toBe(a.id);
    const { out: bound } = op(a, EVTCHNOP_bind_interdomain, evtchnBindInterdomain, {
      remote_dom: b.id,
      remote_port: 1,
    });
    expect(bound.local_port).toBe(1);
    expect(status(a, 1)).toMatchObject({ status: EVTCHNSTAT_interdomain });
    expect(status(a, 1).u.interdomain).toEqual({ dom: b.id, port: 1 });
    expect(op(a, EVTCHNOP_send, evtchnSend, { port: 1 }).result).toBe(0);
    expect(isPending(b.domain, 1)).toBe(true);
    const ipi = op(a, EVTCHNOP_bind_ipi, evtchnBindIpi, { vcpu: 1 }).out.port;
    expect(status(a, ipi)).toMatchObject({ status: EVTCHNSTAT_ipi, vcpu: 1 });
    const timer = { virq: VIRQ_TIMER, vcpu: 1 };
    const virq = op(a, EVTCHNOP_bind_virq, evtchnBindVirq, timer).out.port;
    expect(status(a, virq)).toMatchObject({ status: EVTCHNSTAT_virq, vcpu: 1 });
    expect(status(a, virq).u.virq).toBe(VIRQ_TIMER);
    expect(op(a, EVTCHNOP_bind_vcpu, evtchnBindVcpu, { port: 1, vcpu: 1 }).result).toBe(0);
    expect(status(a, 1).vcpu).toBe(1);
    expect(op(a, EVTCHNOP_unmask, evtchnUnmask, { port: 1 }).result).toBe(0);
    expect(op(a, EVTCHNOP_close, evtchnClose, { port: 1 }).result).toBe(0);
    expect(status(a, 1).status).toBe(EVTCHNSTAT_closed);
    expect(op(a, EVTCHNOP_reset, evtchnReset, { dom: DOMID_SELF }).result).toBe(0);
    expect(status(a, virq).status).toBe(EVTCHNSTAT_closed);
  });

  it('goes over to FIFO delivery', () => {
    const { a, op } = world();
    const expand = () => {
      return op(a, EVTCHNOP_expand_array, evtchnExpandArray, { array_gfn: BigInt(a.gmfn(2)) });
    };
    expect(expand().result).toBe(-XEN_EOPNOTSUPP);
    const block = { control_gfn: BigInt(a.gmfn(1)), offset: 64, vcpu: 0 };
    const { result, out } = op(a, EVTCHNOP_init_control, evtchnInitControl, block);
    expect([result, out.link_bits]).toEqual([0, 17]);
    expect(expand().result).toBe(0);
    const { port } = op(a, EVTCHNOP_bind_ipi, evtchnBindIpi, { vcpu: 0 }).out;
    const priority = (of: number, value: number) =>
      op(a, EVTCHNOP_set_priority, evtchnSetPriority, { port: of, priority: value }).result;
    expect([priority(port, 15), priority(port, 16), priority(9, 0), priority(64, 0)]).toEqual([
      0,
      -XEN_EINVAL,
      -XEN_EACCES,
      -XEN_EINVAL,
    ]);
    expect(op(a, EVTCHNOP_send, evtchnSend, { port }).result).toBe(0);
    const word = a.read(a.page(2) + port * 4, 4);
    expect(word).toEqual(new Uint8Array([0, 0, 0, 0xa0]));
    expect(a.read(a.page(1) + 64, 4)).toEqual(new Uint8Array([0, 0x80, 0, 0]));
  });

  it('an error leaves OUT fields as they were', () => {
    const { a, op } = world();
    const { result, out } = op(a, EVTCHNOP_alloc_unbound, evtchnAllocUnbound, {
      dom: 77,
      remote_dom: 0,
    });
    expect([result, out.port]).toEqual([-XEN_ESRCH, UNTOUCHED]);
    expect(op(a, EVTCHNOP_bind_pirq, evtchnBindPirq, { pirq: 0 }).result).toBe(-XEN_EPERM);
    expect(op(a, EVTCHNOP_bind_pirq, evtchnBindPirq, { pirq: 16 }).result).toBe(-XEN_EINVAL);
  });

  it('of a status that has no other end, the union is left as it was', () => {
    const { a, op } = world();
    const { out } = op(a, EVTCHNOP_status, evtchnStatus, { dom: DOMID_SELF, port: 1 });
    expect([out.status, out.vcpu, out.u.pirq]).toEqual([EVTCHNSTAT_closed, 0, UNTOUCHED]);
  });

  it('what cannot be read is EFAULT, for every operation; an unknown one is ENOSYS first', () => {
    const { a, call } = world();
    for (let cmd = 0; cmd <= EVTCHNOP_reset_cont; cmd++) {
      expect(call(a, cmd, a.beforeEnd(1))).toBe(-XEN_EFAULT);
    }
    for (const cmd of [15, 99, -1]) expect(call(a, cmd, NULL)).toBe(-XEN_ENOSYS);
  });

  it('a preempted reset goes on, and nobody notices', () => {
    const { machine, a, b, op, status } = world();
    for (let port = 1; port <= 200; port++) {
      op(a, EVTCHNOP_alloc_unbound, evtchnAllocUnbound, { dom: DOMID_SELF, remote_dom: b.id });
    }
    const times = preemptAlways(machine);
    expect(op(a, EVTCHNOP_reset, evtchnReset, { dom: DOMID_SELF }).result).toBe(0);
    expect(times()).toBeGreaterThan(2);
    expect(status(a, 200).status).toBe(EVTCHNSTAT_closed);
    expect(op(a, EVTCHNOP_reset_cont, evtchnReset, { dom: DOMID_SELF }).result).toBe(-XEN_EBUSY);
  });

  describe('sched_op', () => {
    const sched = (guest: BinaryGuest, cmd: number, arg = 0) =>
      guest.hypercall(__HYPERVISOR_sched_op, cmd, arg);
    const ports = (guest: BinaryGuest, ...list: number[]) =>
      guest.bytes(new Uint8Array(new Uint32Array(list).buffer));
    const pollStruct = (guest: BinaryGuest, list: number, count: number) =>
      guest.struct(schedPoll, { ports: BigInt(list), nr_ports: count, timeout: 0n });

    it('yield, block, and what there is not', () => {
      const { a } = world();
      expect([sched(a, SCHEDOP_yield), sched(a, SCHEDOP_block)]).toEqual([0, 0]);
      expect(isBlocked(a.domain, 0)).toBe(true);
      expect(sched(a, SCHEDOP_watchdog)).toBe(-XEN_ENOSYS);
    });

    it('poll', () => {
      const { a, op } = world();
      const { port } = op(a, EVTCHNOP_bind_ipi, evtchnBindIpi, { vcpu: 1 }).out;
      const poll = (...list: number[]) =>
        sched(a, SCHEDOP_poll, pollStruct(a, ports(a, ...list), list.length));
      expect([poll(port), isBlocked(a.domain, 0)]).toEqual([0, true]);
      op(a, EVTCHNOP_send, evtchnSend, { port });
      expect([isBlocked(a.domain, 0), poll(port), isBlocked(a.domain, 0)]).toEqual([
        false,
        0,
        false,
      ]);
      expect(poll(9)).toBe(-XEN_EINVAL);
    });

    it('poll of what cannot be read: EFAULT, and it does not wait', () => {
      const { a, op } = world();
      const { port } = op(a, EVTCHNOP_bind_ipi, evtchnBindIpi, { vcpu: 1 }).out;
      expect(sched(a, SCHEDOP_poll, a.beforeEnd(1))).toBe(-XEN_EFAULT);
      const cut = a.beforeEnd(4);
      a.write(cut, new Uint8Array(new Uint32Array([port]).buffer));
      expect(sched(a, SCHEDOP_poll, pollStruct(a, cut, 2))).toBe(-XEN_EFAULT);
      expect(isBlocked(a.domain, 0)).toBe(false);
      expect(sched(a, SCHEDOP_poll, pollStruct(a, cut, 129))).toBe(-XEN_EINVAL);
    });

    it('shutdown', () => {
      const { a } = world();
      expect(sched(a, SCHEDOP_shutdown, a.struct(schedShutdown, { reason: SHUTDOWN_reboot }))).toBe(
        0,
      );
      expect(a.domain.shutdownCode).toBe(SHUTDOWN_reboot);
    });
  });

  it('vcpu_op registers a vcpu_info', () => {
    const { a } = world();
    const vcpuOp = (cmd: number, vcpu: number, arg: number) =>
      a.hypercall(__HYPERVISOR_vcpu_op, cmd, vcpu, arg);
    const area = a.struct(vcpuRegisterVcpuInfo, { mfn: BigInt(a.gmfn(3)), offset: 128 });
    expect(vcpuOp(VCPUOP_register_vcpu_info, 2, NULL)).toBe(-XEN_ENOENT);
    expect(vcpuOp(VCPUOP_is_up, 0, NULL)).toBe(-XEN_ENOSYS);
    expect(vcpuOp(VCPUOP_register_vcpu_info, 1, a.beforeEnd(1))).toBe(-XEN_EFAULT);
    expect(vcpuOp(VCPUOP_register_vcpu_info, 1, area)).toBe(0);
    expect(a.read(a.page(3) + 128, 1)).toEqual(new Uint8Array([1]));
    expect(vcpuOp(VCPUOP_register_vcpu_info, 1, area)).toBe(-XEN_EBUSY);
  });
});

it('what cannot be written back is EFAULT, and has happened all the same', () => {
  const machine = createMachine({ memoryPages: 2048, seed: 1 });
  const [a, b] = [0, 1].map(() => new BinaryGuest(machine, ['pv', 'x86_64']));
  const va = a!.page(5);
  const calls = new Hypercalls(a!.domain);
  const bytes = new DataView(new ArrayBuffer(evtchnAllocUnbound.x86_64.size));
  evtchnAllocUnbound.x86_64.encode(bytes, 0, { dom: DOMID_SELF, remote_dom: b!.id });
  a!.write(va, new Uint8Array(bytes.buffer));
  expect(calls.updateVaMapping(va, a!.mfn(5), false)).toBe(0);
  const result = a!.hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, va);
  expect(result).toBe(-XEN_EFAULT);
  const op = { dom: DOMID_SELF, port: 1, status: 0, vcpu: 0, remoteDom: 0, remotePort: 0, virq: 0 };
  expect(calls.evtchnStatus(op)).toBe(0);
  expect(op).toMatchObject({ status: EVTCHNSTAT_unbound, remoteDom: b!.id });
});
