/** Xen's private struct of an event channel port (struct evtchn) and where a domain keeps them. */
import { i32, struct, u16, u32, u8 } from '../abi/struct.ts';
import type { Domain } from '../machine/machine.ts';
import { DOMAIN, eventChannels } from '../machine/layout.ts';

export const evtchn = struct(
  'evtchn',
  {
    lock: i32,
    state: u8,
    priority: u8,
    notify_vcpu_id: u16,
    /** Unbound: who may bind. Interdomain: who is at the other end. */
    remote_dom: u16,
    virq: u16,
    remote_port: u32,
    pad: u32,
    pad2: u32,
    pad3: u32,
    pad4: u32,
  },
  { size: 32 },
);
export const EVTCHNS_PER_PAGE = 128;
/** Ports become valid in groups (EVTCHNS_PER_BUCKET) and stay so. */
export const EVTCHNS_PER_GROUP = 64;

/** Port states. */
export const ECS_FREE = 0;
export const ECS_RESERVED = 1;
export const ECS_UNBOUND = 2;
export const ECS_INTERDOMAIN = 3;
export const ECS_PIRQ = 4;
export const ECS_VIRQ = 5;
export const ECS_IPI = 6;

/** Byte offsets of the event channel members from the start of struct domain. */
export const EC = Object.fromEntries(
  Object.entries(eventChannels.offset).map(([name, offset]) => [name, DOMAIN.evtchn + offset]),
) as typeof eventChannels.offset;

/** Byte offset in bank 0 of a valid port's struct. */
export function evtchnOf(domain: Domain, port: number): number {
  const { u32 } = domain.machine.heap;
  const list = u32[(domain.base + EC.bucket_list) >>> 2]!;
  return (u32[(list << 10) + (port >>> 7)]! << 12) + ((port & 127) << 5);
}

/** port_is_valid(): the port has a struct. */
export const portIsValid = (domain: Domain, port: number): boolean =>
  port < domain.machine.heap.u32[(domain.base + EC.valid_evtchns) >>> 2]!;
