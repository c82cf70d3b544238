/** What a guest kernel offers its drivers: memory, grants, mappings, event channels, hypercalls. */
import { Hypercalls } from '../hypercall/hypercalls.ts';
import type { Domain, Machine } from '../machine/machine.ts';
import type { DomId } from '../machine/page.ts';
import { EventPorts } from './event-ports.ts';
import type { GrantVersion } from './grant-allocation.ts';
import { GrantReferences } from './grants.ts';
import { ForeignMappings } from './mappings.ts';
import { GuestMemory } from './memory.ts';

export interface Guest {
  readonly machine: Machine;
  readonly domain: Domain;
  readonly id: DomId;
  readonly memory: GuestMemory;
  readonly grants: GrantReferences;
  readonly mappings: ForeignMappings;
  readonly events: EventPorts;
  readonly hypercalls: Hypercalls;
}

/** How a guest kernel is started. */
export interface GuestOptions {
  /** Version of the grant table, 1 unless said: 2 can also grant parts of pages and what others have granted. */
  readonly grantVersion?: GrantVersion;
}

/**
 * Starts a guest kernel in a domain: maps its grant table and shared info page, and takes its upcalls. Throws GrantError if
 * the domain may not have that version of the grant table.
 */
export function bootGuest(domain: Domain, { grantVersion = 1 }: GuestOptions = {}): Guest {
  const hypercalls = new Hypercalls(domain);
  const memory = new GuestMemory(domain, hypercalls, domain.totPages);
  const grants = new GrantReferences(domain, memory, hypercalls, grantVersion);
  const mappings = new ForeignMappings(memory, hypercalls);
  const events = new EventPorts(domain, memory, hypercalls);
  const { machine, id } = domain;
  return { machine, domain, id, memory, grants, mappings, events, hypercalls };
}
