/** Creating a machine. */
import { Bank, nativeMemory } from './bank.ts';
import { formatHeap } from './heap.ts';
import { MACHINE_no_cache_flush, MACHINE_no_transfer, MACHINE_no_transitive } from './layout.ts';
import { type Log, Machine } from './machine.ts';

export interface MachineOptions {
  /** With a seed the run is repeatable: seeded scheduler, virtual clock. Without: microtasks, real time. */
  seed?: number | undefined;
  /** Frames of bank 0, which holds the hypervisor and the domains; at most 65,536 (256 MiB). Default 16,384. */
  memoryPages?: number;
  /** false: memory that only this thread sees, as where SharedArrayBuffer is missing. */
  shared?: boolean;
  /** Room of the trace ring, in records (a power of two). Default 4096; 0 is no trace. */
  traceRecords?: number;
  /** What Xen's command line says with `gnttab=`; everything is allowed unless said otherwise. */
  gnttab?: { transfer?: boolean; transitive?: boolean; cacheFlush?: boolean };
  log?: Log;
}

/** Creates a machine: memory, frame table, and the devices of time and chance. Throws RangeError. */
export function createMachine(options: MachineOptions = {}): Machine {
  const { seed, memoryPages = 16_384, shared, traceRecords = 4096, gnttab = {}, log } = options;
  if (traceRecords !== 0 && (traceRecords & (traceRecords - 1)) !== 0) {
    throw new RangeError(`traceRecords ${traceRecords} is not a power of two`);
  }
  const memory = nativeMemory(memoryPages, shared);
  const flags =
    (gnttab.transfer === false ? MACHINE_no_transfer : 0) |
    (gnttab.transitive === false ? MACHINE_no_transitive : 0) |
    (gnttab.cacheFlush === false ? MACHINE_no_cache_flush : 0);
  formatHeap(new Bank(0, memory, false), traceRecords, flags);
  return new Machine({ banks: [{ memory, foreign: false }], seed }, log);
}
