/** The guest kernel's side: what drivers are written against. */
export { EventChannelError, GrantError, GuestMemoryError } from './errors.ts';
export { EventPort } from './event-port.stream.ts';
export { EventPorts } from './event-ports.ts';
export { type AccessGrant, GrantReferences, GrantReserve } from './grants.ts';
export { bootGuest, type Guest } from './guest.ts';
export { type ForeignMapping, ForeignMappings } from './mappings.ts';
export { GuestMemory, type GuestPage } from './memory.ts';
