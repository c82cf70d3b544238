/** vcpu_info: where each virtual CPU has its event flags (xen.h; vcpu.h, VCPUOP_register_vcpu_info). */
import { XEN_EBUSY, XEN_EINVAL, XEN_ENOENT, XEN_ENXIO } from '../abi/errno.ts';
import { sharedInfo, vcpuInfo, XEN_LEGACY_MAX_VCPUS } from '../abi/xen.ts';
import { INVALID_MFN, machineHeader } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { bankOffset, type MachineAddress, PAGE_SIZE } from '../machine/page.ts';
import { vcpuOf } from '../machine/vcpu.ts';
import { mapGuestPage, unmapGuestPage } from './guest-page.ts';
import { storeWord } from './guest-words.ts';
import { hasVcpu, VC } from './structs.ts';
import { markEventsPending, vcpuInfoAddress } from './vcpu.ts';

const { size: SIZE } = vcpuInfo.x86_64;
const { evtchn_upcall_mask: UPCALL_MASK } = vcpuInfo.x86_64.offset;
const SELECTORS = {
  x86_64: { at: vcpuInfo.x86_64.offset.evtchn_pending_sel, bytes: 8 },
  i386: { at: vcpuInfo.i386.offset.evtchn_pending_sel, bytes: 4 },
} as const;

/** dummy_vcpu_info: one for all virtual CPUs of all domains that have none. */
const DUMMY: MachineAddress = machineHeader.offset.dummy_vcpu_info;

function setVcpuInfo(domain: Domain, vcpu: number, address: MachineAddress): void {
  const { u16, u32 } = domain.machine;
  const struct = vcpuOf(domain, vcpu);
  u16[(struct + VC.vcpu_info_offset) >>> 1] = address % PAGE_SIZE;
  Atomics.store(u32, (struct + VC.vcpu_info_frame) >>> 2, Math.floor(address / PAGE_SIZE));
}

/** vcpu_info_reset(): in the shared info page for the first 32, the dummy for others. */
function resetVcpuInfo(domain: Domain, vcpu: number): void {
  const shared = domain.sharedInfo * PAGE_SIZE + sharedInfo.x86_64.offset.vcpu_info + vcpu * SIZE;
  setVcpuInfo(domain, vcpu, vcpu < XEN_LEGACY_MAX_VCPUS ? shared : DUMMY);
}

/** Gives the virtual CPUs of a new domain their vcpu_info. */
export function initVcpuInfo(domain: Domain): void {
  for (let vcpu = 0; vcpu < domain.vcpus; vcpu++) resetVcpuInfo(domain, vcpu);
}

/**
 * VCPUOP_register_vcpu_info: moves a virtual CPU's vcpu_info, once, into a page of the guest's own, which it names as it does
 * (PV: mfn). Everything counts as pending then: the guest gets a spurious upcall. 0 or -errno.
 */
export function registerVcpuInfo(
  domain: Domain,
  vcpu: number,
  page: number,
  offset: number,
): number {
  const { machine } = domain;
  const { u32 } = machine;
  if (!hasVcpu(domain, vcpu)) return -XEN_ENOENT;
  const area = (vcpuOf(domain, vcpu) + VC.vcpu_info_area) >>> 2;
  if (u32[area] !== 0) return -XEN_EBUSY;
  const selector = SELECTORS[domain.abi];
  if (offset > PAGE_SIZE - SIZE || offset % selector.bytes !== 0) return -XEN_ENXIO;
  const frame = mapGuestPage(domain, page);
  if (frame === INVALID_MFN) return -XEN_EINVAL;
  if (Atomics.compareExchange(u32, area, 0, frame) !== 0) {
    unmapGuestPage(domain, frame);
    return -XEN_EBUSY;
  }
  const address = frame * PAGE_SIZE + offset;
  populate(domain, vcpu, address);
  setVcpuInfo(domain, vcpu, address);
  for (let at = 0; at < selector.bytes; at += 4) storeWord(machine, address + selector.at + at, -1);
  markEventsPending(domain, vcpu);
  return 0;
}

/** vcpu_info_populate(): what was at the old place; where there was none all is zero, and upcalls are masked. */
function populate(domain: Domain, vcpu: number, address: MachineAddress): void {
  const { machine } = domain;
  const old = vcpuInfoAddress(domain, vcpu);
  if (old !== DUMMY) {
    machine.copyBytes(address, old, SIZE);
    return;
  }
  const bank = machine.bankOf(address);
  const at = bankOffset(address);
  bank.zero(at, SIZE);
  bank.u8[at + UPCALL_MASK] = 1;
  if (bank.foreign) bank.memory.written?.(at, SIZE);
}

/** unmap_guest_area(): a dying domain lets go of the pages that it has registered. */
export function releaseVcpuInfo(domain: Domain): void {
  const { u32 } = domain.machine;
  for (let vcpu = 0; vcpu < domain.vcpus; vcpu++) {
    const area = (vcpuOf(domain, vcpu) + VC.vcpu_info_area) >>> 2;
    const frame = u32[area]!;
    if (frame === 0) continue;
    u32[area] = 0;
    resetVcpuInfo(domain, vcpu);
    unmapGuestPage(domain, frame);
  }
}
