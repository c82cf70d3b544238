/** The guest kernel's side: what drivers are written against. */
export { EventChannelError, GrantError, GuestMemoryError } from './errors.ts';
export { EventPort } from './event-port.stream.ts';
export { EventPorts } from './event-ports.ts';
export type { AccessGrant } from './access-grant.ts';
export type { Released } from './deferred-ends.stream.ts';
export type { GrantVersion } from './grant-entries.ts';
export { GrantReserve } from './grant-reserve.ts';
export { type GrantOptions, GrantReferences } from './grants.ts';
export { bootGuest, type Guest, type GuestOptions } from './guest.ts';
export {
  type ForeignBatch,
  type ForeignMapping,
  ForeignMappings,
  type MappingOptions,
} from './mappings.ts';
export { GuestMemory } from './memory.ts';
export type { GuestPage } from './page-pool.ts';
export { type PersistentGrant, PersistentGrants } from './persistent-grants.ts';
export { type PersistentMapping, PersistentMappings } from './persistent-mappings.ts';
