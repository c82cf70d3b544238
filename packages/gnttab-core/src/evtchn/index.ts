/** Event channels, the hypervisor's side. */
export {
  closeAllPorts,
  destroyEventChannels,
  type EvtchnAllocUnbound,
  evtchnAllocUnbound,
  type EvtchnBindInterdomain,
  evtchnBindInterdomain,
  evtchnClose,
  evtchnSend,
  type EvtchnStatus,
  evtchnStatus,
  evtchnUnmask,
  initEventChannels,
} from './ports.ts';
export { evtchn } from './structs.ts';
export { EVTCHN_2L_NR_CHANNELS, isPending } from './two-level.ts';
