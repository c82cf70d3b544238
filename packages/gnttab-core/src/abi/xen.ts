/** xen.h: what every guest needs to know: hypercall numbers, reserved domain ids, the shared info and start info pages. */
import { array, i8, struct, structs, u32, u64, u8, ulong, union } from './struct.ts';
import type { Table } from './struct.ts';

/** xen.h, HYPERCALLS: the number of each hypercall. */
export const __HYPERVISOR_set_trap_table = 0;
export const __HYPERVISOR_mmu_update = 1;
export const __HYPERVISOR_set_gdt = 2;
export const __HYPERVISOR_stack_switch = 3;
export const __HYPERVISOR_set_callbacks = 4;
export const __HYPERVISOR_fpu_taskswitch = 5;
export const __HYPERVISOR_sched_op_compat = 6;
export const __HYPERVISOR_platform_op = 7;
export const __HYPERVISOR_set_debugreg = 8;
export const __HYPERVISOR_get_debugreg = 9;
export const __HYPERVISOR_update_descriptor = 10;
export const __HYPERVISOR_memory_op = 12;
export const __HYPERVISOR_multicall = 13;
export const __HYPERVISOR_update_va_mapping = 14;
export const __HYPERVISOR_set_timer_op = 15;
export const __HYPERVISOR_event_channel_op_compat = 16;
export const __HYPERVISOR_xen_version = 17;
export const __HYPERVISOR_console_io = 18;
export const __HYPERVISOR_physdev_op_compat = 19;
export const __HYPERVISOR_grant_table_op = 20;
export const __HYPERVISOR_vm_assist = 21;
export const __HYPERVISOR_update_va_mapping_otherdomain = 22;
export const __HYPERVISOR_iret = 23;
export const __HYPERVISOR_vcpu_op = 24;
export const __HYPERVISOR_set_segment_base = 25;
export const __HYPERVISOR_mmuext_op = 26;
export const __HYPERVISOR_xsm_op = 27;
export const __HYPERVISOR_nmi_op = 28;
export const __HYPERVISOR_sched_op = 29;
export const __HYPERVISOR_callback_op = 30;
export const __HYPERVISOR_xenoprof_op = 31;
export const __HYPERVISOR_event_channel_op = 32;
export const __HYPERVISOR_physdev_op = 33;
export const __HYPERVISOR_hvm_op = 34;
export const __HYPERVISOR_sysctl = 35;
export const __HYPERVISOR_domctl = 36;
export const __HYPERVISOR_kexec_op = 37;
export const __HYPERVISOR_tmem_op = 38;
export const __HYPERVISOR_argo_op = 39;
export const __HYPERVISOR_xenpmu_op = 40;
export const __HYPERVISOR_dm_op = 41;
export const __HYPERVISOR_hypfs_op = 42;

/** xen.h, DOMID_*: domain ids from here up name no guest. */
export const DOMID_FIRST_RESERVED = 0x7ff0;
/** The caller, whatever its id is. */
export const DOMID_SELF = 0x7ff0;
/** Owner of device memory and of frames that no domain may own. */
export const DOMID_IO = 0x7ff1;
/** Owner of Xen's own memory that guests may map. */
export const DOMID_XEN = 0x7ff2;
/** Owner of pages shared between domains. */
export const DOMID_COW = 0x7ff3;
/** No domain. */
export const DOMID_INVALID = 0x7ff4;
export const DOMID_IDLE = 0x7fff;
export const DOMID_MASK = 0x7fff;

/** xen.h, VIRTUAL INTERRUPTS. */
export const VIRQ_TIMER = 0;
export const VIRQ_DEBUG = 1;
export const VIRQ_CONSOLE = 2;
export const VIRQ_DOM_EXC = 3;
export const VIRQ_TBUF = 4;
export const VIRQ_DEBUGGER = 6;
export const VIRQ_XENOPROF = 7;
export const VIRQ_CON_RING = 8;
export const VIRQ_PCPU_STATE = 9;
export const VIRQ_MEM_EVENT = 10;
export const VIRQ_ARGO = 11;
export const VIRQ_ENOMEM = 12;
export const VIRQ_XENPMU = 13;
export const NR_VIRQS = 24;

/** xen.h, mmu_update: the command in the low bits of `ptr`. */
export const MMU_NORMAL_PT_UPDATE = 0;
export const MMU_MACHPHYS_UPDATE = 1;
export const MMU_PT_UPDATE_PRESERVE_AD = 2;
export const MMU_PT_UPDATE_NO_TRANSLATE = 3;

/** xen.h, update_va_mapping: flags of the flush that goes with it. */
export const UVMF_NONE = 0;
export const UVMF_TLB_FLUSH = 1;
export const UVMF_INVLPG = 2;
export const UVMF_FLUSHTYPE_MASK = 3;
export const UVMF_MULTI = 0;
export const UVMF_LOCAL = 0;
export const UVMF_ALL = 4;

/** xen.h, console_io commands. */
export const CONSOLEIO_write = 0;
export const CONSOLEIO_read = 1;

/** xen.h, vcpu_time_info `flags`. */
export const XEN_PVCLOCK_TSC_STABLE_BIT = 1;
export const XEN_PVCLOCK_GUEST_STOPPED = 2;

/** xen.h, start_info `flags`. */
export const SIF_PRIVILEGED = 0x1;
export const SIF_INITDOMAIN = 0x2;
export const SIF_MULTIBOOT_MOD = 0x4;
export const SIF_MOD_START_PFN = 0x8;
export const SIF_VIRT_P2M_4TOOLS = 0x10;
export const SIF_PM_MASK = 0xff00;
export const MAX_GUEST_CMDLINE = 1024;

/** arch-x86/xen.h: how many virtual CPUs have their vcpu_info in the shared info page. */
export const XEN_LEGACY_MAX_VCPUS = 32;

/** mmu_update, xen.h: one page table entry to write. */
export const mmuUpdate = structs('mmu_update', { ptr: u64, val: u64 }, 16);

/** multicall_entry, xen.h: one hypercall of a batch. */
export const multicallEntry = structs(
  'multicall_entry',
  { op: ulong, result: ulong, args: array(ulong, 6) },
  { x86_64: 64, i386: 32 },
);

/** vcpu_time_info, xen.h: time for guests; `version` is odd while Xen writes. */
export const vcpuTimeInfo = structs(
  'vcpu_time_info',
  {
    version: u32,
    pad0: u32,
    tsc_timestamp: u64,
    system_time: u64,
    tsc_to_system_mul: u32,
    tsc_shift: i8,
    flags: u8,
    pad1: array(u8, 2),
  },
  32,
);

// What follows differs between the ABIs in more than widths: one table for each.
type ArchVcpuInfo = { readonly cr2: typeof ulong } & Table;

function vcpuInfoTable<A extends ArchVcpuInfo>(arch: A) {
  return {
    evtchn_upcall_pending: u8,
    evtchn_upcall_mask: u8,
    evtchn_pending_sel: ulong,
    arch: struct('arch_vcpu_info', arch),
    time: vcpuTimeInfo,
  };
}

const archVcpuInfo64 = { cr2: ulong, pad: ulong };
const archVcpuInfo32 = { cr2: ulong, pad: array(ulong, 5) };
const vcpuInfo64 = vcpuInfoTable(archVcpuInfo64);
const vcpuInfo32 = vcpuInfoTable(archVcpuInfo32);

/** vcpu_info, xen.h: a virtual CPU's event flags, selector word and time. */
export const vcpuInfo = {
  x86_64: struct('vcpu_info', vcpuInfo64, { size: 64 }),
  i386: struct('vcpu_info', vcpuInfo32, { abi: 'i386', size: 64 }),
};

const archSharedInfo64 = {
  max_pfn: ulong,
  pfn_to_mfn_frame_list_list: ulong,
  nmi_reason: ulong,
  p2m_cr3: ulong,
  p2m_vaddr: ulong,
  p2m_generation: ulong,
};

/** One bit a port: as many words as a word has bits. */
const portBits = array(ulong, { x86_64: 64, i386: 32 });

/**
 * shared_info, xen.h: the page shared between Xen and a domain: virtual CPUs, event channel bits, wall clock. The high
 * half of the wall clock's seconds is `wc_sec_hi` on x86-64 and `arch.wc_sec_hi` on i386.
 */
export const sharedInfo = {
  x86_64: struct(
    'shared_info',
    {
      vcpu_info: array(struct('vcpu_info', vcpuInfo64), XEN_LEGACY_MAX_VCPUS),
      evtchn_pending: portBits,
      evtchn_mask: portBits,
      wc_version: u32,
      wc_sec: u32,
      wc_nsec: u32,
      wc_sec_hi: u32,
      arch: struct('arch_shared_info', archSharedInfo64),
    },
    { size: 3136 },
  ),
  i386: struct(
    'shared_info',
    {
      vcpu_info: array(struct('vcpu_info', vcpuInfo32), XEN_LEGACY_MAX_VCPUS),
      evtchn_pending: portBits,
      evtchn_mask: portBits,
      wc_version: u32,
      wc_sec: u32,
      wc_nsec: u32,
      arch: struct('arch_shared_info', { ...archSharedInfo64, wc_sec_hi: u32 }),
    },
    { abi: 'i386', size: 2344 },
  ),
};

/** start_info, xen.h: what a PV guest finds when it boots. */
export const startInfo = structs(
  'start_info',
  {
    magic: array(u8, 32),
    nr_pages: ulong,
    shared_info: ulong,
    flags: u32,
    store_mfn: ulong,
    store_evtchn: u32,
    console: union('', {
      domU: struct('', { mfn: ulong, evtchn: u32 }),
      dom0: struct('', { info_off: u32, info_size: u32 }),
    }),
    pt_base: ulong,
    nr_pt_frames: ulong,
    mfn_list: ulong,
    mod_start: ulong,
    mod_len: ulong,
    cmd_line: array(i8, MAX_GUEST_CMDLINE),
    first_p2m_pfn: ulong,
    nr_p2m_frames: ulong,
  },
  { x86_64: 1168, i386: 1112 },
);
