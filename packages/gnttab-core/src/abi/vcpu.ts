/** vcpu.h: the operations of vcpu_op. */
import { array, i32, pointer, structs, u32, u64, union } from './struct.ts';

/** vcpu.h, vcpu_op: the operations. */
export const VCPUOP_initialise = 0;
export const VCPUOP_up = 1;
export const VCPUOP_down = 2;
export const VCPUOP_is_up = 3;
export const VCPUOP_get_runstate_info = 4;
export const VCPUOP_register_runstate_memory_area = 5;
export const VCPUOP_set_periodic_timer = 6;
export const VCPUOP_stop_periodic_timer = 7;
export const VCPUOP_set_singleshot_timer = 8;
export const VCPUOP_stop_singleshot_timer = 9;
export const VCPUOP_register_vcpu_info = 10;
export const VCPUOP_send_nmi = 11;
export const VCPUOP_get_physid = 12;
export const VCPUOP_register_vcpu_time_memory_area = 13;

/** vcpu.h, vcpu_runstate_info `state`. */
export const RUNSTATE_running = 0;
export const RUNSTATE_runnable = 1;
export const RUNSTATE_blocked = 2;
export const RUNSTATE_offline = 3;
/** Bit of `state_entry_time` while Xen writes. */
export const XEN_RUNSTATE_UPDATE = 0x8000_0000_0000_0000n;

/** vcpu_runstate_info, vcpu.h: nanoseconds spent in each state. */
export const vcpuRunstateInfo = structs(
  'vcpu_runstate_info',
  { state: i32, state_entry_time: u64, time: array(u64, 4) },
  { x86_64: 48, i386: 44 },
);

const area = union('', { h: pointer, v: pointer, p: u64 });

/** vcpu_register_runstate_memory_area, vcpu.h: where Xen keeps a copy of the run state. */
export const vcpuRegisterRunstateMemoryArea = structs(
  'vcpu_register_runstate_memory_area',
  { addr: area },
  8,
);

/** vcpu_register_time_memory_area, vcpu.h: where Xen keeps a copy of the time. */
export const vcpuRegisterTimeMemoryArea = structs(
  'vcpu_register_time_memory_area',
  { addr: area },
  8,
);

/** vcpu_set_periodic_timer, vcpu.h. */
export const vcpuSetPeriodicTimer = structs('vcpu_set_periodic_timer', { period_ns: u64 }, 8);

/** vcpu.h, set_singleshot_timer `flags`: refuse a timeout that has passed. */
export const VCPU_SSHOTTMR_future = 1;

/** vcpu_set_singleshot_timer, vcpu.h. */
export const vcpuSetSingleshotTimer = structs(
  'vcpu_set_singleshot_timer',
  { timeout_abs_ns: u64, flags: u32 },
  { x86_64: 16, i386: 12 },
);

/** vcpu_register_vcpu_info, vcpu.h: move vcpu_info out of the shared info page. */
export const vcpuRegisterVcpuInfo = structs(
  'vcpu_register_vcpu_info',
  { mfn: u64, offset: u32, rsvd: u32 },
  16,
);

/** vcpu_get_physid, vcpu.h: APIC and ACPI ids of the physical CPU. */
export const vcpuGetPhysid = structs('vcpu_get_physid', { phys_id: u64 }, 8);
