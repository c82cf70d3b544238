/** Two guest kernels, and the entries of the first one's table as Xen sees them. */
import {
  bootGuest,
  createDomain,
  type CreateDomainOptions,
  createMachine,
  type Guest,
} from '@ringside/gnttab-core';
import { Actor } from './world.ts';

export interface Pair {
  /** The one whose grants a test looks at. */
  readonly guest: Guest;
  /** Its peer. */
  readonly peer: Guest;
  /** The first guest's domain, laid bare. */
  readonly bare: Actor;
}

export function pair(options: Partial<CreateDomainOptions> = {}): Pair {
  const machine = createMachine({ memoryPages: 2048, seed: 1 });
  const guest = bootGuest(createDomain(machine, { pages: 32, ...options }));
  const peer = bootGuest(createDomain(machine, { pages: 32 }));
  return { guest, peer, bare: new Actor(guest.domain) };
}
