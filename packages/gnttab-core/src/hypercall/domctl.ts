/** Creating and destroying domains: what a toolstack asks of the hypervisor (domctl.h). */
import {
  closeAllPorts,
  destroyEventChannels,
  EVTCHN_2L_NR_CHANNELS,
  initEventChannels,
} from '../evtchn/index.ts';
import {
  destroyGrantTable,
  type GrantTableLimits,
  initGrantTable,
  initMaptrack,
  releaseMappings,
  sharedFramesIdle,
} from '../grant/index.ts';
import type { Domain, Machine } from '../machine/machine.ts';
import {
  buildDomain,
  type DomainOptions,
  memoryIdle,
  OutOfMemory,
  populateDomain,
  reapDomain,
  relinquishMemory,
} from '../machine/domain-build.ts';
import { DOMAIN, DOMDYING_dying } from '../machine/layout.ts';
import { TRACE } from '../machine/trace-kinds.ts';

export interface CreateDomainOptions extends DomainOptions, GrantTableLimits {
  /** Highest event channel port. Default 4095, all that two-level delivery has. */
  maxPort?: number;
}

/**
 * Creates a domain with its memory, grant table and event channels. Throws OutOfMemory when the machine's memory does
 * not suffice, RangeError for a limit or id that cannot be.
 */
export function createDomain(machine: Machine, options: CreateDomainOptions): Domain {
  const { maxPort = EVTCHN_2L_NR_CHANNELS - 1 } = options;
  const domain = buildDomain(machine, options);
  try {
    populateDomain(domain, options);
    initMaptrack(domain);
    if (!initGrantTable(domain, options) || !initEventChannels(domain, maxPort)) {
      throw new OutOfMemory(
        `domain ${domain.id}: no memory for its grant table and event channels`,
      );
    }
  } catch (error) {
    destroyDomain(domain);
    throw error;
  }
  machine.trace.emit(TRACE.domainCreate, domain.id, domain.id, domain.totPages);
  return domain;
}

/**
 * Destroys a domain: its ports close, its mappings of others' frames are released, its pages are freed. Pages that
 * others have mapped stay until they let go; the domain is a ghost as long (domain_kill, complete_domain_destroy).
 */
export function destroyDomain(domain: Domain): void {
  if (!domain.alive) return;
  const { machine } = domain;
  machine.heap.u32[(domain.base + DOMAIN.is_dying) >>> 2] = DOMDYING_dying;
  machine.upcalls.delete(domain.id);
  closeAllPorts(domain);
  releaseMappings(domain);
  relinquishMemory(domain);
  machine.trace.emit(TRACE.domainDestroy, domain.id, domain.id);
  machine.emptied.push(domain);
  machine.onDomainEmpty = reap;
  machine.reap();
}

/** complete_domain_destroy(): frees what is left of a dying domain, if nobody else holds anything of its. */
export function reap(domain: Domain): void {
  const gone = domain.machine.domainById(domain.id) !== domain;
  if (gone || !memoryIdle(domain) || !sharedFramesIdle(domain)) return;
  destroyGrantTable(domain);
  destroyEventChannels(domain);
  reapDomain(domain);
}
