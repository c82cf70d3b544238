/** Event channels, the hypervisor's side. */
export { destroyPorts } from './allocation.ts';
export {
  type EvtchnAllocUnbound,
  evtchnAllocUnbound,
  type EvtchnBindInterdomain,
  evtchnBindInterdomain,
  type EvtchnBindIpi,
  evtchnBindIpi,
  type EvtchnBindPirq,
  evtchnBindPirq,
} from './bind.ts';
export { evtchnClose } from './close.ts';
export { isMasked, isPending } from './delivery.ts';
export { type EvtchnInitControl, evtchnExpandArray, evtchnInitControl } from './fifo-control.ts';
export { closeEventChannels, initEventChannels } from './life.ts';
export {
  type EvtchnBindVcpu,
  evtchnBindVcpu,
  evtchnSend,
  type EvtchnSetPriority,
  evtchnSetPriority,
  type EvtchnStatus,
  evtchnStatus,
  evtchnUnmask,
} from './operations.ts';
export { domainPauseBySystemcontroller, evtchnReset, XEN_INTERNAL_ERESTART } from './reset.ts';
export { domainShutdown, MAX_POLL_PORTS, pollPorts, schedBlock, schedPoll } from './sched.ts';
export { evtchn, evtchnOf, portIsValid, usesFifo } from './structs.ts';
export { isBlocked, vcpuUnblock } from './vcpu.ts';
export { registerVcpuInfo } from './vcpu-info.ts';
export {
  type EvtchnBindVirq,
  evtchnBindVirq,
  sendGlobalVirq,
  sendGuestVirq,
  sendVcpuVirq,
  setVirqHandler,
  virqEnabled,
} from './virq.ts';
export { allocUnboundXenEvent, freeXenEvent, notifyViaXenEvent } from './xen-ports.ts';
