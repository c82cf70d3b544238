/** Machine memory, domains, time and chance; see docs/architecture.md. */
export {
  type Access,
  type AddressSpace,
  flatAddressSpace,
  PageFault,
  readBytes,
  writeBytes,
} from './address-space.ts';
export { Bank, type BankMemory, nativeMemory } from './bank.ts';
export { type Clock, VirtualClock } from './clock.ts';
export { type CounterName, counterNames, type Counters } from './counters.ts';
export { type DomainOptions, OutOfMemory, PV_VA_BASE } from './domain-build.ts';
export { invariant, InvariantError } from './errors.ts';
export { ownerOf, referenceCount } from './frame-table.ts';
export { freePages } from './free-pages.ts';
export { INVALID_MFN } from './layout.ts';
export { createMachine, type MachineOptions } from './create-machine.ts';
export { Domain, type Log, Machine, type MachineShare } from './machine.ts';
export * from './page.ts';
export { type Random, seededRandom } from './random.ts';
export type { Scheduler } from './scheduler.ts';
export { Trace, type TraceRecord } from './trace.ts';
export { ChromeTrace, type DomainName, RecordCounts, timelineLine } from './trace-sinks.ts';
export { defineTraceKind, TRACE, type TraceKind, traceKind } from './trace-kinds.ts';
