/** event_channel.h: the operations of event_channel_op, and the FIFO ABI. */
import { array, struct, structs, u16, u32, u64, u8, union } from './struct.ts';
import type { Abi } from './struct.ts';

/** event_channel.h, event_channel_op: the operations. */
export const EVTCHNOP_bind_interdomain = 0;
export const EVTCHNOP_bind_virq = 1;
export const EVTCHNOP_bind_pirq = 2;
export const EVTCHNOP_close = 3;
export const EVTCHNOP_send = 4;
export const EVTCHNOP_status = 5;
export const EVTCHNOP_alloc_unbound = 6;
export const EVTCHNOP_bind_ipi = 7;
export const EVTCHNOP_bind_vcpu = 8;
export const EVTCHNOP_unmask = 9;
export const EVTCHNOP_reset = 10;
export const EVTCHNOP_init_control = 11;
export const EVTCHNOP_expand_array = 12;
export const EVTCHNOP_set_priority = 13;

/** evtchn_alloc_unbound, event_channel.h: a port of `dom` that `remote_dom` may bind to. */
export const evtchnAllocUnbound = structs(
  'evtchn_alloc_unbound',
  { dom: u16, remote_dom: u16, port: u32 },
  8,
);

/** evtchn_bind_interdomain, event_channel.h: a local port joined to an unbound remote one. */
export const evtchnBindInterdomain = structs(
  'evtchn_bind_interdomain',
  { remote_dom: u16, remote_port: u32, local_port: u32 },
  12,
);

/** evtchn_bind_virq, event_channel.h: a port for a virtual interrupt of a virtual CPU. */
export const evtchnBindVirq = structs('evtchn_bind_virq', { virq: u32, vcpu: u32, port: u32 }, 12);

/** event_channel.h, bind_pirq `flags`. */
export const BIND_PIRQ__WILL_SHARE = 1;

/** evtchn_bind_pirq, event_channel.h: a port for a physical interrupt. */
export const evtchnBindPirq = structs('evtchn_bind_pirq', { pirq: u32, flags: u32, port: u32 }, 12);

/** evtchn_bind_ipi, event_channel.h: a port for interrupts between a domain's virtual CPUs. */
export const evtchnBindIpi = structs('evtchn_bind_ipi', { vcpu: u32, port: u32 }, 8);

/** evtchn_close, event_channel.h: free a port; an interdomain peer becomes unbound. */
export const evtchnClose = structs('evtchn_close', { port: u32 }, 4);

/** evtchn_send, event_channel.h: notify whoever is at the other end. */
export const evtchnSend = structs('evtchn_send', { port: u32 }, 4);

/** event_channel.h, evtchn_status `status`: what a port is bound to. */
export const EVTCHNSTAT_closed = 0;
export const EVTCHNSTAT_unbound = 1;
export const EVTCHNSTAT_interdomain = 2;
export const EVTCHNSTAT_pirq = 3;
export const EVTCHNSTAT_virq = 4;
export const EVTCHNSTAT_ipi = 5;

/** evtchn_status, event_channel.h: what a port is bound to, and for which virtual CPU. */
export const evtchnStatus = structs(
  'evtchn_status',
  {
    dom: u16,
    port: u32,
    status: u32,
    vcpu: u32,
    u: union('', {
      unbound: struct('', { dom: u16 }),
      interdomain: struct('', { dom: u16, port: u32 }),
      pirq: u32,
      virq: u32,
    }),
  },
  24,
);

/** evtchn_bind_vcpu, event_channel.h: which virtual CPU a port notifies. */
export const evtchnBindVcpu = structs('evtchn_bind_vcpu', { port: u32, vcpu: u32 }, 8);

/** evtchn_unmask, event_channel.h: clear the mask bit, and deliver what is pending. */
export const evtchnUnmask = structs('evtchn_unmask', { port: u32 }, 4);

/** evtchn_reset, event_channel.h: close all ports of a domain. */
export const evtchnReset = structs('evtchn_reset', { dom: u16 }, 2);

/** evtchn_init_control, event_channel.h: a virtual CPU's control block; switches to the FIFO ABI. */
export const evtchnInitControl = structs(
  'evtchn_init_control',
  { control_gfn: u64, offset: u32, vcpu: u32, link_bits: u8, _pad: array(u8, 7) },
  24,
);

/** evtchn_expand_array, event_channel.h: one more page of event words. */
export const evtchnExpandArray = structs('evtchn_expand_array', { array_gfn: u64 }, 8);

/** evtchn_set_priority, event_channel.h: the queue that a port's events go to. */
export const evtchnSetPriority = structs('evtchn_set_priority', { port: u32, priority: u32 }, 8);

/** evtchn_op, event_channel.h: the argument of the superseded event_channel_op_compat. */
export const evtchnOp = structs(
  'evtchn_op',
  {
    cmd: u32,
    u: union('', {
      alloc_unbound: evtchnAllocUnbound,
      bind_interdomain: evtchnBindInterdomain,
      bind_virq: evtchnBindVirq,
      bind_pirq: evtchnBindPirq,
      bind_ipi: evtchnBindIpi,
      close: evtchnClose,
      send: evtchnSend,
      status: evtchnStatus,
      bind_vcpu: evtchnBindVcpu,
      unmask: evtchnUnmask,
    }),
  },
  28,
);

/** event_channel.h, 2-level ABI: number of ports, the square of the bits in a word. */
export const EVTCHN_2L_NR_CHANNELS: Readonly<Record<Abi, number>> = { x86_64: 4096, i386: 1024 };

/** event_channel.h, FIFO ABI: priorities, 0 the most urgent. */
export const EVTCHN_FIFO_PRIORITY_MAX = 0;
export const EVTCHN_FIFO_PRIORITY_DEFAULT = 7;
export const EVTCHN_FIFO_PRIORITY_MIN = 15;
export const EVTCHN_FIFO_MAX_QUEUES = 16;

/** event_channel.h, FIFO ABI: bits of an event word; the rest links to the next port of the queue. */
export const EVTCHN_FIFO_PENDING = 31;
export const EVTCHN_FIFO_MASKED = 30;
export const EVTCHN_FIFO_LINKED = 29;
export const EVTCHN_FIFO_BUSY = 28;
export const EVTCHN_FIFO_LINK_BITS = 17;
export const EVTCHN_FIFO_LINK_MASK = 0x1_ffff;
export const EVTCHN_FIFO_NR_CHANNELS = 0x2_0000;

/** evtchn_fifo_control_block, event_channel.h: a virtual CPU's queue heads, and which have something. */
export const evtchnFifoControlBlock = structs(
  'evtchn_fifo_control_block',
  { ready: u32, _rsvd: u32, head: array(u32, EVTCHN_FIFO_MAX_QUEUES) },
  72,
);
