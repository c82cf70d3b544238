/** Creating and destroying domains: what a toolstack asks of the hypervisor (domctl.h). */
import { VIRQ_DOM_EXC } from '../abi/xen.ts';
import {
  closeEventChannels,
  destroyPorts,
  initEventChannels,
  sendGlobalVirq,
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
  /** Highest event channel port. Default: all that delivery has, 4095 (i386: 1023) with two levels, 131,071 with FIFO. */
  maxPort?: number;
}

/**
 * Creates a domain with its memory, grant table and event channels. Throws OutOfMemory when the machine's memory does
 * not suffice, RangeError for a limit or id that cannot be.
 */
export function createDomain(machine: Machine, options: CreateDomainOptions): Domain {
  const { maxPort = 0xffff_ffff } = options;
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
    tearDown(domain);
    machine.reap();
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
  tearDown(domain);
  machine.trace.emit(TRACE.domainDestroy, domain.id, domain.id);
  sendGlobalVirq(machine, VIRQ_DOM_EXC);
  machine.reap();
}

/** The domain is dying: everything that it has of others, and all that is its own, is let go. */
function tearDown(domain: Domain): void {
  const { machine } = domain;
  machine.heap.u32[(domain.base + DOMAIN.is_dying) >>> 2] = DOMDYING_dying;
  machine.upcalls.delete(domain.id);
  closeEventChannels(domain);
  releaseMappings(domain);
  relinquishMemory(domain);
  machine.emptied.push(domain);
  machine.onDomainEmpty = reap;
}

/** complete_domain_destroy(): frees what is left of a dying domain, if nobody else holds anything of its. */
export function reap(domain: Domain): void {
  const gone = domain.machine.domainById(domain.id) !== domain;
  if (gone || !memoryIdle(domain) || !sharedFramesIdle(domain)) return;
  destroyGrantTable(domain);
  destroyPorts(domain);
  reapDomain(domain);
}
