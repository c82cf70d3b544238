/** sched.h: the operations of sched_op. */
import { i32, pointer, structs, u16, u32, u64 } from './struct.ts';

/** sched.h, sched_op: the operations. */
export const SCHEDOP_yield = 0;
export const SCHEDOP_block = 1;
export const SCHEDOP_shutdown = 2;
export const SCHEDOP_poll = 3;
export const SCHEDOP_remote_shutdown = 4;
export const SCHEDOP_shutdown_code = 5;
export const SCHEDOP_watchdog = 6;
export const SCHEDOP_pin_override = 7;

/** sched.h, shutdown `reason`. */
export const SHUTDOWN_poweroff = 0;
export const SHUTDOWN_reboot = 1;
export const SHUTDOWN_suspend = 2;
export const SHUTDOWN_crash = 3;
export const SHUTDOWN_watchdog = 4;
export const SHUTDOWN_soft_reset = 5;
export const SHUTDOWN_MAX = 5;

/** sched_shutdown, sched.h. */
export const schedShutdown = structs('sched_shutdown', { reason: u32 }, 4);

/** sched_poll, sched.h: wait until one of the ports is pending, or until the timeout (absolute, ns). */
export const schedPoll = structs(
  'sched_poll',
  { ports: pointer, nr_ports: u32, timeout: u64 },
  { x86_64: 24, i386: 16 },
);

/** sched_remote_shutdown, sched.h. */
export const schedRemoteShutdown = structs(
  'sched_remote_shutdown',
  { domain_id: u16, reason: u32 },
  8,
);

/** sched_watchdog, sched.h: timeout in seconds. */
export const schedWatchdog = structs('sched_watchdog', { id: u32, timeout: u32 }, 8);

/** sched_pin_override, sched.h: a physical CPU, or negative to end it. */
export const schedPinOverride = structs('sched_pin_override', { pcpu: i32 }, 4);
