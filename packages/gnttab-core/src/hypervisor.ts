/** The hypervisor's own side, for tests, tools and viewers: grant tables, event channels, frames, private structs. */
export * from './evtchn/index.ts';
export * from './grant/index.ts';
export { domainAddressSpace } from './machine/domain-space.ts';
export {
  allocDomainPage,
  assignPage,
  freeXenHeapPage,
  getPage,
  putPage,
  stealPage,
} from './machine/frame-table.ts';
export {
  bankEntry,
  domainStruct,
  eventChannels,
  grantTable,
  machineHeader,
  pageInfo,
} from './machine/layout.ts';
export { gfnToMfn, p2m_ram_rw, setP2m } from './machine/p2m.ts';
export { lookup, mapOwnFrame, pteAddress } from './machine/page-table.ts';
export { traceHeader, traceRecord } from './machine/trace.ts';
