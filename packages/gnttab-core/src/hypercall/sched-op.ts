/** HYPERVISOR_sched_op (sched.h): waiting for events, and stopping. Nothing runs here: a virtual CPU that waits is a state. */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS } from '../abi/errno.ts';
import {
  SCHEDOP_block,
  SCHEDOP_poll,
  SCHEDOP_shutdown,
  SCHEDOP_yield,
  schedPoll,
  schedShutdown,
} from '../abi/sched.ts';
import { domainShutdown, MAX_POLL_PORTS, pollPorts, schedBlock } from '../evtchn/index.ts';
import type { Caller } from './caller.ts';
import { GuestStruct, wide } from './guest-handle.ts';
import { type Hypercall, uint, word } from './registers.ts';

const REASON_MASK = 0xff;

/** sched_op(cmd, arg) for a caller. */
export function schedOp(caller: Caller): Hypercall {
  const { domain, vcpu, access } = caller;
  const poll = polling(caller);
  const shutdown = new GuestStruct(access, schedShutdown[access.abi]);
  return ([cmdRegister, argRegister]) => {
    const arg = word(argRegister, access.abi);
    switch (uint(cmdRegister)) {
      case SCHEDOP_yield:
        return 0;
      case SCHEDOP_block:
        return schedBlock(domain, vcpu);
      case SCHEDOP_poll:
        return poll(arg);
      case SCHEDOP_shutdown:
        domainShutdown(domain, shutdown.read(arg).reason & REASON_MASK);
        return 0;
      default:
        return -XEN_ENOSYS;
    }
  };
}

function polling({ domain, vcpu, access }: Caller) {
  const guest = new GuestStruct(access, schedPoll[access.abi]);
  return (arg: number): number => {
    const { ports_lo, ports_hi, nr_ports: count, timeout_lo, timeout_hi } = guest.read(arg);
    const ports = wide(ports_lo, ports_hi);
    if (count > MAX_POLL_PORTS) return -XEN_EINVAL;
    if (!access.okay(ports, count, 4)) return -XEN_EFAULT;
    const portAt = (index: number): number => access.readUint(ports, index);
    return pollPorts(domain, vcpu, count, portAt, wide(timeout_lo, timeout_hi));
  };
}
