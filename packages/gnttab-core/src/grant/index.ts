/** Grant tables, the hypervisor's side. */
export { ACT } from './active.ts';
export { cacheFlush, GnttabCacheFlush } from './cache-flush.ts';
export { copy, copyEnd, copyOne, GnttabCopy, GnttabCopyPtr } from './copy.ts';
export { type DescribedTable, describeGrants, type MappedGrant } from './describe.ts';
export type {
  DescribedGrant,
  GrantBehind,
  GrantType,
  PageWindow,
  PinnedGrant,
} from './describe-entry.ts';
export type { DescribedMapping, MappingPlace } from './describe-mappings.ts';
export { frameNamed } from './frames.ts';
export { GnttabMapGrantRef, mapGrantRef } from './map.ts';
export { granterOf, initMaptrack, maptrackEntryOf, nrMaptrackEntries } from './maptrack.ts';
export { cacheFlushEnabled, transferEnabled } from './options.ts';
export { writeGuestPte } from './overwrite.ts';
export { releaseMappings } from './release.ts';
export { type AfterRevocation, limitUse, revokeUse } from './revoke.ts';
export {
  type FrameList,
  type GetStatusFrames,
  getStatusFrames,
  getVersion,
  INVALID_GFN,
  type QuerySize,
  querySize,
  type SetupTable,
  setupTable,
} from './setup.ts';
export { activeEntry, maptrackEntry } from './structs.ts';
export { GnttabSwapGrantRef, swapGrantRef } from './swap.ts';
export {
  activeEntryOf,
  destroyGrantTable,
  type GrantTableLimits,
  grantVersion,
  initGrantTable,
  nrGrantEntries,
  nrGrantFrames,
  nrStatusFrames,
  sharedEntryOf,
  sharedFrame,
  sharedFrameAt,
  sharedFramesIdle,
  statusFrame,
  statusFrameAt,
  statusWordOf,
} from './table.ts';
export { GnttabTransfer, transfer } from './transfer.ts';
export {
  GnttabUnmapAndReplace,
  GnttabUnmapGrantRef,
  unmapAndReplace,
  unmapGrantRef,
} from './unmap.ts';
export { setVersion, type SetVersion } from './version.ts';
export { explainEnd, isBusy, placeText, whyBusy } from './why-busy.ts';
