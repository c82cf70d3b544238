/** What others than event_channel_op do: a vCPU that waits, Xen, the toolstack. */
import { destroyDomain } from '@ringside/gnttab-core';
import {
  __HYPERVISOR_sched_op,
  __HYPERVISOR_vcpu_op,
  schedPoll,
  SCHEDOP_block,
  SCHEDOP_poll,
  VCPUOP_register_vcpu_info,
  vcpuRegisterVcpuInfo,
  XEN_EBUSY,
  XEN_EINVAL,
} from '@ringside/gnttab-core/abi';
import {
  allocUnboundXenEvent,
  domainPauseBySystemcontroller,
  freeXenEvent,
  isBlocked,
  notifyViaXenEvent,
  sendGlobalVirq,
  sendGuestVirq,
  sendVcpuVirq,
  setVirqHandler,
  vcpuUnblock,
  virqEnabled,
} from '@ringside/gnttab-core/hypervisor';
import { badPointer } from '../argument-memory.ts';
import type { Report } from '../difference.ts';
import { resultName } from '../words.ts';
import type { OtherStep, StepOf } from './recording.ts';
import type { World } from './world.ts';

/** Does what the step says, and reports a result that is not the recorded one. */
export function performAction(world: World, step: OtherStep, report: Report): void {
  const result = act(world, step);
  if ('rc' in step && result !== step.rc) {
    report('result', resultName(step.rc), resultName(result));
  }
  if (!('blocked' in step)) return;
  const blocked = isBlocked(world.guest(step.dom).domain, step.vcpu);
  if (blocked !== step.blocked) report('blocked', String(step.blocked), String(blocked));
}

/** 0 or more, or -errno. */
function act(world: World, step: OtherStep): number {
  const { machine } = world;
  if (step.t === 'gvirq') {
    sendGlobalVirq(machine, step.virq);
    return 0;
  }
  const guest = world.guest(step.dom);
  const { domain } = guest;
  switch (step.t) {
    case 'poll':
      return poll(world, step);
    case 'block':
      return world.door(step.dom, step.vcpu).hypercall(__HYPERVISOR_sched_op, SCHEDOP_block, 0);
    case 'unblock':
      vcpuUnblock(domain, step.vcpu);
      return 0;
    case 'vcpu_info':
      return registerVcpuInfo(world, step);
    case 'vvirq':
      sendVcpuVirq(domain, step.vcpu, step.virq);
      return 0;
    case 'dvirq':
      sendGuestVirq(domain, step.virq);
      return 0;
    case 'virq_enabled':
      return virqEnabled(domain, step.virq, step.vcpu) ? 1 : 0;
    case 'set_virq':
      return setVirqHandler(domain, step.virq);
    case 'xen_alloc':
      return allocUnboundXenEvent(
        world.guest(step.by).domain,
        domain,
        step.vcpu,
        step.remote,
        world.events.noteXen,
      );
    case 'xen_free':
      freeXenEvent(domain, step.port);
      return 0;
    case 'xen_notify':
      notifyViaXenEvent(domain, step.port);
      return 0;
    case 'pause':
      domainPauseBySystemcontroller(domain, step.n);
      return 0;
    case 'kill':
      // XEN_DOMCTL_destroydomain: nobody destroys himself.
      if (step.by === step.dom) return -XEN_EINVAL;
      destroyDomain(domain);
      return 0;
    case 'reap':
      world.letGo(guest);
      return world.isPresent(guest) ? -XEN_EBUSY : 0;
  }
}

/** SCHEDOP_poll without a timeout. */
function poll(world: World, { dom, vcpu, ports, uop }: StepOf<'poll'>): number {
  const { abi, argument } = world.guest(dom);
  const struct = schedPoll[abi];
  const bytes = new Uint8Array(struct.size + ports.length * 4);
  const va = argument.placeBytes(Math.ceil(bytes.length / 8) * 8);
  const view = new DataView(bytes.buffer);
  struct.encode(view, 0, { ports: BigInt(va + struct.size), nr_ports: ports.length });
  for (const [i, port] of ports.entries()) view.setUint32(struct.size + i * 4, port, true);
  argument.write(va, bytes);
  const pointer = uop === undefined ? va : badPointer(abi, uop);
  return world.door(dom, vcpu).hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, pointer);
}

function registerVcpuInfo(world: World, step: StepOf<'vcpu_info'>): number {
  const { abi, argument } = world.guest(step.dom);
  const struct = vcpuRegisterVcpuInfo[abi];
  const bytes = new Uint8Array(struct.size);
  struct.encode(new DataView(bytes.buffer), 0, { mfn: step.frame, offset: step.offset });
  const va = argument.placeBytes(bytes.length);
  argument.write(va, bytes);
  const door = world.door(step.dom, step.vcpu);
  return door.hypercall(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, step.target, va);
}
