/** A domain's event channels from its creation to its burial. */
import type { Domain } from '../machine/machine.ts';
import { initPorts } from './allocation.ts';
import { closePort } from './close.ts';
import { endFifo } from './fifo-control.ts';
import { eventLock } from './locks.ts';
import { EC } from './structs.ts';
import { initVcpuInfo, releaseVcpuInfo } from './vcpu-info.ts';
import { clearGlobalVirqHandlers } from './virq.ts';
import { forgetXenConsumers } from './xen-ports.ts';

/** Gives a domain its event channels. `maxPort` is the highest port it may have. False when memory is exhausted. */
export function initEventChannels(domain: Domain, maxPort: number): boolean {
  initVcpuInfo(domain);
  return initPorts(domain, maxPort);
}

/**
 * evtchn_destroy(): closes every port of a dying domain, gives its VIRQs back, and lets go of the pages that it has given to
 * event channels.
 */
export function closeEventChannels(domain: Domain): void {
  const { machine, base } = domain;
  clearGlobalVirqHandlers(domain);
  if (machine.u32[(base + EC.bucket_list) >>> 2] === 0) return; // its creation failed
  for (let port = machine.u32[(base + EC.valid_evtchns) >>> 2]! - 1; port > 0; port--) {
    closePort(domain, port, false);
  }
  forgetXenConsumers(domain);
  machine.native.spinLock(eventLock(domain));
  endFifo(domain);
  machine.native.spinUnlock(eventLock(domain));
  releaseVcpuInfo(domain);
}
