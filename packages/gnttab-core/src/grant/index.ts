/** Grant tables, the hypervisor's side. */
export { copy, GnttabCopy, GnttabCopyPtr } from './copy.ts';
export { GnttabMapGrantRef, mapGrantRef } from './map.ts';
export { maptrackEntryOf, nrMaptrackEntries } from './maptrack.ts';
export { activeEntry, maptrackEntry } from './structs.ts';
export {
  activeEntryOf,
  destroyGrantTable,
  type GrantTableLimits,
  initGrantTable,
  type QuerySize,
  querySize,
  type SetupTable,
  setupTable,
  sharedEntryV1,
  sharedFramesIdle,
} from './table.ts';
export { GnttabTransfer, transfer } from './transfer.ts';
export { GnttabUnmapGrantRef, releaseMappings, unmapGrantRef } from './unmap.ts';
