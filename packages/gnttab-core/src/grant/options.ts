/** What Xen's command line says of grant tables: `gnttab=transfer`, `gnttab=transitive`; and whether x86 still flushes caches. */
import {
  MACHINE_no_cache_flush,
  MACHINE_no_transfer,
  MACHINE_no_transitive,
  machineHeader,
} from '../machine/layout.ts';
import type { Machine } from '../machine/machine.ts';

const allows = (machine: Machine, no: number): boolean =>
  (machine.u32[machineHeader.offset.flags >>> 2]! & no) === 0;

export const transferEnabled = (machine: Machine): boolean => allows(machine, MACHINE_no_transfer);
export const transitiveEnabled = (machine: Machine): boolean =>
  allows(machine, MACHINE_no_transitive);
export const cacheFlushEnabled = (machine: Machine): boolean =>
  allows(machine, MACHINE_no_cache_flush);
