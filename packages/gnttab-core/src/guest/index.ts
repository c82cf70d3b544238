/** The guest kernel's side: what drivers are written against. */
export { EventChannelError, GrantError, GuestMemoryError } from './errors.ts';
export { EventPort } from './event-port.stream.ts';
export { EventPorts } from './event-ports.ts';
export { type AccessGrant, GrantReferences } from './grants.ts';
export { GrantReserve } from './grant-reserve.ts';
export { bootGuest, type Guest } from './guest.ts';
export { type ForeignMapping, ForeignMappings } from './mappings.ts';
export { GuestMemory } from './memory.ts';
export type { GuestPage } from './page-pool.ts';
