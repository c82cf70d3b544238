/** Hypercalls: the typed door, the binary door, and the toolstack's calls for domains. */
export {
  type EvtchnAllocUnbound,
  type EvtchnBindInterdomain,
  type EvtchnStatus,
} from '../evtchn/index.ts';
export {
  type AfterRevocation,
  GnttabCacheFlush,
  GnttabCopy,
  GnttabMapGrantRef,
  GnttabSwapGrantRef,
  GnttabTransfer,
  GnttabUnmapAndReplace,
  GnttabUnmapGrantRef,
} from '../grant/index.ts';
export type { AcquiredFrames, ResourceName } from './acquire-resource.ts';
export { createDomain, type CreateDomainOptions, destroyDomain } from './domctl.ts';
export { type DoorOptions, EndlessContinuation, HypercallDoor } from './door.ts';
export type { Exchanged } from './exchange.ts';
export { Hypercalls } from './hypercalls.ts';
export { Continuation, type Register } from './registers.ts';
export { type GrantLimit, type GrantLimitOutcome, limitGrant } from './limit-grant.ts';
