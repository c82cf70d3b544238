/** HYPERVISOR_event_channel_op (event_channel.h): one struct in, the operation, and what it wrote out. */
import {
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
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_unbound,
  EVTCHNSTAT_virq,
  evtchnAllocUnbound as allocUnboundStruct,
  evtchnBindInterdomain as bindInterdomainStruct,
  evtchnBindIpi as bindIpiStruct,
  evtchnBindPirq as bindPirqStruct,
  evtchnBindVcpu as bindVcpuStruct,
  evtchnBindVirq as bindVirqStruct,
  evtchnClose as closeStruct,
  evtchnExpandArray as expandArrayStruct,
  evtchnInitControl as initControlStruct,
  evtchnReset as resetStruct,
  evtchnSend as sendStruct,
  evtchnSetPriority as setPriorityStruct,
  evtchnStatus as statusStruct,
  evtchnUnmask as unmaskStruct,
} from '../abi/event-channel.ts';
import { XEN_ENOSYS } from '../abi/errno.ts';
import type { Cursor, StructByAbi, Table } from '../abi/struct.ts';
import {
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
  type EvtchnStatus,
  evtchnStatus,
  evtchnUnmask,
  XEN_INTERNAL_ERESTART,
} from '../evtchn/index.ts';
import type { Caller } from './caller.ts';
import { GuestStruct, wide } from './guest-handle.ts';
import { Continuation, type Hypercall, uint, word } from './registers.ts';

/** Xen's own command, with which a preempted reset goes on (EVTCHNOP_reset_cont). */
const EVTCHNOP_reset_cont = 14;

type Operation = (arg: number) => number | Continuation;

/** event_channel_op(cmd, arg) for a caller. */
export function eventChannelOp(caller: Caller): Hypercall {
  const operations = new Map([...bindings(caller), ...actions(caller), ...resets(caller)]);
  return ([cmdRegister, argRegister]) => {
    const operation = operations.get(uint(cmdRegister));
    return operation?.(word(argRegister, caller.access.abi)) ?? -XEN_ENOSYS;
  };
}

/** An operation on a struct without OUT fields. */
function taking<T extends Table>(
  { access }: Caller,
  struct: StructByAbi<T>,
  run: (fields: Cursor<T>) => number,
): Operation {
  const guest = new GuestStruct(access, struct[access.abi]);
  return (arg) => run(guest.read(arg));
}

/** One whose struct is written back if it succeeds. If that is not possible it has happened all the same. */
function answering<T extends Table>(
  { access }: Caller,
  struct: StructByAbi<T>,
  run: (fields: Cursor<T>) => number,
): Operation {
  const guest = new GuestStruct(access, struct[access.abi]);
  return (arg) => {
    const result = run(guest.read(arg));
    if (result === 0) guest.write(arg);
    return result;
  };
}

/** Operations that make ports. */
const bindings = (caller: Caller): [number, Operation][] => {
  const { domain } = caller;
  return [
    [
      EVTCHNOP_alloc_unbound,
      answering(caller, allocUnboundStruct, (fields) => {
        const op = { dom: fields.dom, remoteDom: fields.remote_dom, port: fields.port };
        const result = evtchnAllocUnbound(domain, op);
        fields.port = op.port;
        return result;
      }),
    ],
    [
      EVTCHNOP_bind_interdomain,
      answering(caller, bindInterdomainStruct, (fields) => {
        const { remote_dom: remoteDom, remote_port: remotePort, local_port: localPort } = fields;
        const op = { remoteDom, remotePort, localPort };
        const result = evtchnBindInterdomain(domain, op);
        fields.local_port = op.localPort;
        return result;
      }),
    ],
    [
      EVTCHNOP_bind_virq,
      answering(caller, bindVirqStruct, (fields) => {
        const op = { virq: fields.virq, vcpu: fields.vcpu, port: fields.port };
        const result = evtchnBindVirq(domain, op);
        fields.port = op.port;
        return result;
      }),
    ],
    [
      EVTCHNOP_bind_ipi,
      answering(caller, bindIpiStruct, (fields) => {
        const op = { vcpu: fields.vcpu, port: fields.port };
        const result = evtchnBindIpi(domain, op);
        fields.port = op.port;
        return result;
      }),
    ],
    [
      EVTCHNOP_bind_pirq,
      answering(caller, bindPirqStruct, ({ pirq, flags, port }) =>
        evtchnBindPirq(domain, { pirq, flags, port }),
      ),
    ],
  ];
};

/** Operations on ports, and on how events are delivered. */
const actions = (caller: Caller): [number, Operation][] => {
  const { domain } = caller;
  return [
    [EVTCHNOP_close, taking(caller, closeStruct, ({ port }) => evtchnClose(domain, port))],
    [EVTCHNOP_send, taking(caller, sendStruct, ({ port }) => evtchnSend(domain, port))],
    [EVTCHNOP_unmask, taking(caller, unmaskStruct, ({ port }) => evtchnUnmask(domain, port))],
    [
      EVTCHNOP_bind_vcpu,
      taking(caller, bindVcpuStruct, ({ port, vcpu }) => evtchnBindVcpu(domain, { port, vcpu })),
    ],
    [
      EVTCHNOP_set_priority,
      taking(caller, setPriorityStruct, ({ port, priority }) =>
        evtchnSetPriority(domain, { port, priority }),
      ),
    ],
    [EVTCHNOP_status, answering(caller, statusStruct, (fields) => status(caller, fields))],
    [
      EVTCHNOP_init_control,
      answering(caller, initControlStruct, (fields) => {
        const { control_gfn_lo, control_gfn_hi, offset, vcpu, link_bits: linkBits } = fields;
        const op = { controlGfn: wide(control_gfn_lo, control_gfn_hi), offset, vcpu, linkBits };
        const result = evtchnInitControl(domain, op);
        fields.link_bits = op.linkBits;
        return result;
      }),
    ],
    [
      EVTCHNOP_expand_array,
      taking(caller, expandArrayStruct, ({ array_gfn_lo, array_gfn_hi }) =>
        evtchnExpandArray(domain, wide(array_gfn_lo, array_gfn_hi)),
      ),
    ],
  ];
};

/** Of the union only the members that the status has are written. */
function status({ domain }: Caller, fields: Cursor<(typeof statusStruct)['table']>): number {
  const { dom, port } = fields;
  const op: EvtchnStatus = {
    dom,
    port,
    status: 0,
    vcpu: 0,
    remoteDom: 0,
    remotePort: 0,
    virq: 0,
  };
  const result = evtchnStatus(domain, op);
  if (result !== 0) return result;
  fields.status = op.status;
  fields.vcpu = op.vcpu;
  const { u } = fields;
  if (op.status === EVTCHNSTAT_unbound) u.unbound.dom = op.remoteDom;
  else if (op.status === EVTCHNSTAT_interdomain) {
    u.interdomain.dom = op.remoteDom;
    u.interdomain.port = op.remotePort;
  } else if (op.status === EVTCHNSTAT_virq) u.virq = op.virq;
  return 0;
}

/** EVTCHNOP_reset, in legs. */
const resets = ({ domain, access }: Caller): [number, Operation][] => {
  const guest = new GuestStruct(access, resetStruct[access.abi]);
  const reset =
    (resuming: boolean): Operation =>
    (arg) => {
      const result = evtchnReset(domain, guest.read(arg).dom, resuming);
      return result === -XEN_INTERNAL_ERESTART
        ? new Continuation(EVTCHNOP_reset_cont, arg)
        : result;
    };
  return [
    [EVTCHNOP_reset, reset(false)],
    [EVTCHNOP_reset_cont, reset(true)],
  ];
};
