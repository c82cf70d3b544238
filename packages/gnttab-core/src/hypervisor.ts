/** The hypervisor's own side, for tests, tools and viewers: grant tables, event channels, frames, private structs. */
export * from './evtchn/index.ts';
export * from './grant/index.ts';
export { domainAddressSpace } from './machine/domain-space.ts';
export {
  allocDomainPage,
  allocXenHeapPage,
  assignPage,
  freeXenHeapPage,
  getPage,
  getPageAndType,
  putPage,
  shareXenPageWithGuest,
  stealPage,
  writableTypeCount,
} from './machine/frame-table.ts';
export { limitDomainHeap, limitXenHeap } from './machine/free-pages.ts';
export {
  bankEntry,
  domainStruct,
  eventChannels,
  grantTable,
  machineHeader,
  pageInfo,
  PGT_l1_page_table,
  vcpuStruct,
} from './machine/layout.ts';
export {
  entryFrame,
  entryType,
  filledGfns,
  gfnToMfn,
  p2m_grant_map_ro,
  p2m_grant_map_rw,
  p2m_invalid,
  p2m_map_foreign,
  p2m_mmio_direct,
  p2m_ram_paged,
  p2m_ram_rw,
  p2mEntry,
  type P2mType,
  setP2m,
} from './machine/p2m.ts';
export {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_GLOBAL,
  _PAGE_GUEST_KERNEL_HI,
  _PAGE_NX_HI,
  _PAGE_PRESENT,
  _PAGE_RW,
  _PAGE_USER,
  ensureL1,
  L1_ENTRIES,
  linkL1,
  lookup,
  makePte,
  mapOwnFrame,
  PAGE_AVAIL_SHIFT,
  type Pte,
  pteAddress,
  pteFrame,
} from './machine/page-table.ts';
export { traceHeader, traceRecord } from './machine/trace.ts';
