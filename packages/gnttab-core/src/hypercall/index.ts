/** Hypercalls: the typed door, and the toolstack's calls for domains. */
export {
  type EvtchnAllocUnbound,
  type EvtchnBindInterdomain,
  type EvtchnStatus,
} from '../evtchn/index.ts';
export {
  GnttabCopy,
  GnttabMapGrantRef,
  GnttabTransfer,
  GnttabUnmapGrantRef,
} from '../grant/index.ts';
export { createDomain, type CreateDomainOptions, destroyDomain } from './domctl.ts';
export { Hypercalls } from './hypercalls.ts';
