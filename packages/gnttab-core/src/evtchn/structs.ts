/** Xen's private struct of an event channel port (struct evtchn) and where a domain keeps them. */
import { i32, struct, u16, u32, u8 } from '../abi/struct.ts';
import type { Domain } from '../machine/machine.ts';
import { DOMAIN, eventChannels, vcpuStruct } from '../machine/layout.ts';

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
    /** FIFO: the queue that it was on last (evtchn_fifo_lastq), `virtual CPU << 4 | priority`. */
    fifo_lastq: u32,
    /** FIFO: remembered while its event word is missing, and never forgotten. */
    pending: u8,
    /** Events go to Xen itself and not to the guest. */
    xen_consumer: u8,
    pad: u16,
    pad2: u32,
    pad3: u32,
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

/** Byte offsets of the members of struct vcpu. */
export const VC = vcpuStruct.offset;

// Constants of this module: V8 folds them into the code, what is imported it does not.
const { state: STATE, xen_consumer: XEN_CONSUMER, notify_vcpu_id: NOTIFY_VCPU } = evtchn.offset;
const { bucket_list: BUCKET_LIST, valid_evtchns: VALID_EVTCHNS, fifo: FIFO } = EC;

/** Byte offset in bank 0 of a valid port's struct. */
export function evtchnOf(domain: Domain, port: number): number {
  const { u32 } = domain.machine;
  const list = u32[(domain.base + BUCKET_LIST) >>> 2]!;
  return (u32[(list << 10) + (port >>> 7)]! << 12) + ((port & 127) << 5);
}

/** port_is_valid(): the port has a struct. */
export const portIsValid = (domain: Domain, port: number): boolean =>
  port < domain.machine.u32[(domain.base + VALID_EVTCHNS) >>> 2]!;

/** consumer_is_xen(), of the port with its struct at `channel`. */
export const consumerIsXen = ({ machine }: Domain, channel: number): boolean =>
  machine.u8[channel + XEN_CONSUMER] !== 0;

/** evtchn_usable(): a port that is open, and the guest's. */
export const evtchnUsable = (domain: Domain, channel: number): boolean =>
  !consumerIsXen(domain, channel) && domain.machine.u8[channel + STATE]! > ECS_RESERVED;

/** FIFO delivery is in use; two-level delivery otherwise. */
export const usesFifo = ({ machine, base }: Domain): boolean =>
  machine.u32[(base + FIFO) >>> 2] !== 0;

/** domain_vcpu(): the domain has this virtual CPU. */
export const hasVcpu = (domain: Domain, vcpu: number): boolean => vcpu < domain.vcpus;

/** The virtual CPU that a port notifies. */
export const notifyVcpuOf = ({ machine }: Domain, channel: number): number =>
  machine.u16[(channel + NOTIFY_VCPU) >>> 1]!;
