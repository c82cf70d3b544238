/**
 * Two-level delivery: a pending bit for each port, and above it a selector bit for each word of pending bits
 * (event_channel.h and xen.h, struct shared_info). All are words that the guest writes too, so each change is atomic.
 */
import { EVTCHN_2L_NR_CHANNELS } from '../abi/event-channel.ts';
import type { Abi } from '../abi/struct.ts';
import { sharedInfo, vcpuInfo } from '../abi/xen.ts';
import type { Domain } from '../machine/machine.ts';
import { frameAddress, type MachineAddress } from '../machine/page.ts';
import type { PortOps } from './port-ops.ts';
import { testAndClearBit, testAndSetBit, testBit } from './guest-words.ts';
import { evtchnOf, notifyVcpuOf } from './structs.ts';
import { checkPollers, markEventsPending, vcpuInfoAddress } from './vcpu.ts';

/** Where things are, and how many ports a selector bit stands for (BITS_PER_EVTCHN_WORD), as a shift. */
const layoutOf = (abi: Abi, wordShift: number) => ({
  pending: sharedInfo[abi].offset.evtchn_pending,
  mask: sharedInfo[abi].offset.evtchn_mask,
  selector: vcpuInfo[abi].offset.evtchn_pending_sel,
  wordShift,
});
const X86_64 = layoutOf('x86_64', 6);
const I386 = layoutOf('i386', 5);
const layout = ({ abi }: Domain) => (abi === 'i386' ? I386 : X86_64);

const pendingBits = (domain: Domain): MachineAddress =>
  frameAddress(domain.sharedInfo) + layout(domain).pending;
const maskBits = (domain: Domain): MachineAddress =>
  frameAddress(domain.sharedInfo) + layout(domain).mask;

/** The selector bit, and then the upcall, each only on its own 0 to 1. */
function select(domain: Domain, vcpu: number, port: number): void {
  const { selector, wordShift } = layout(domain);
  const bitmap = vcpuInfoAddress(domain, vcpu) + selector;
  if (!testAndSetBit(domain.machine, bitmap, port >>> wordShift)) markEventsPending(domain, vcpu);
}

/** evtchn_port_ops_2l. */
export const twoLevelOps: PortOps = {
  maxPorts: ({ abi }) => EVTCHN_2L_NR_CHANNELS[abi],

  /** Nothing more happens if the port was pending; else, unless it is masked, it is selected. Pollers look at no mask. */
  setPending(domain, vcpu, port) {
    const { machine } = domain;
    if (testAndSetBit(machine, pendingBits(domain), port)) return;
    if (!testBit(machine, maskBits(domain), port)) select(domain, vcpu, port);
    checkPollers(domain, port);
  },

  clearPending(domain, port) {
    testAndClearBit(domain.machine, pendingBits(domain), port);
  },

  /** An event that came while the port was masked is delivered now. */
  unmask(domain, port) {
    const { machine } = domain;
    const pending =
      testAndClearBit(machine, maskBits(domain), port) &&
      testBit(machine, pendingBits(domain), port);
    if (pending) select(domain, notifyVcpuOf(domain, evtchnOf(domain, port)), port);
  },

  isPending: (domain, port) => testBit(domain.machine, pendingBits(domain), port),
  isMasked: (domain, port) => testBit(domain.machine, maskBits(domain), port),
  isBusy: () => false,
  bound() {},
};
