/** What a guest kernel offers its drivers: memory, grants, mappings, event channels, hypercalls. */
import { Hypercalls } from '../hypercall/hypercalls.ts';
import type { Domain, Machine } from '../machine/machine.ts';
import type { DomId } from '../machine/page.ts';
import { EventPorts } from './event-ports.ts';
import type { GrantVersion } from './grant-entries.ts';
import { GrantReferences } from './grants.ts';
import { ForeignMappings } from './mappings.ts';
import { GuestMemory } from './memory.ts';

/** A guest kernel, as its drivers see it. */
export interface Guest {
  /** What it runs on. */
  readonly machine: Machine;
  /** What it runs in. */
  readonly domain: Domain;
  /** The domain's id: what others grant to. */
  readonly id: DomId;
  /** Its pages, and the address space in which it sees them and others. */
  readonly memory: GuestMemory;
  /** What it lets others do with its pages. */
  readonly grants: GrantReferences;
  /** What it maps of others. */
  readonly mappings: ForeignMappings;
  /** Its event channels. */
  readonly events: EventPorts;
  /** Everything else, as Xen has it: statuses come back as data. */
  readonly hypercalls: Hypercalls;
}

/** How a guest kernel is started. */
export interface GuestOptions {
  /** Version of the grant table, 1 unless said: 2 can also grant parts of pages and what others have granted. */
  readonly grantVersion?: GrantVersion;
}

/**
 * Starts a guest kernel in a domain: maps its grant table and shared info page, and takes its upcalls. Throws RangeError
 * if there is no such version of the grant table, GrantError if the domain may not have it.
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
