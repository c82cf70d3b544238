/** Two guest kernels on a seeded machine: one grants, the other maps. */
import {
  bootGuest,
  createDomain,
  type CreateDomainOptions,
  createMachine,
  type GrantRef,
  type GrantVersion,
  type Guest,
  type Machine,
} from '@ringside/gnttab-core';

export interface Pair {
  readonly machine: Machine;
  /** The one whose grants a test looks at. */
  readonly guest: Guest;
  readonly peer: Guest;
}

export interface PairOptions extends Partial<CreateDomainOptions> {
  readonly grantVersion?: GrantVersion;
  readonly seed?: number;
}

export const versions = [1, 2] as const satisfies GrantVersion[];
export const types = ['pv', 'translated'] as const;
/** Every kind of guest. */
export const kinds = versions.flatMap((grantVersion) =>
  types.map((type) => ({ grantVersion, type })),
);

/** `options` are the granting guest's. */
export function pair({ grantVersion = 1, seed = 1, ...options }: PairOptions = {}): Pair {
  const machine = createMachine({ memoryPages: 2048, seed });
  const domain = createDomain(machine, { pages: 32, ...options });
  const guest = bootGuest(domain, { grantVersion });
  const peer = bootGuest(createDomain(machine, { pages: 32 }));
  return { machine, guest, peer };
}

/** Free references of a table of `frames` frames, the toolstack's eight not counted. */
export const freeIn = (frames: number, version: GrantVersion = 1): number =>
  frames * (version === 1 ? 512 : 256) - 8;

/** Grants a page of the guest's and has the peer map it. */
export function shared({ guest, peer }: Pair) {
  const page = guest.memory.allocPage();
  const ref = guest.grants.grantForeignAccess(peer.id, page);
  return { page, ref, mapping: peer.mappings.map(guest.id, ref) };
}

/** Takes references until none is left. */
export function exhaust({ guest }: Pair): GrantRef {
  return guest.grants.allocGrantReferenceSeq(guest.grants.freeCount);
}

/** Lets everything run that is ready, and `ns` of virtual time pass. */
export const pass = (machine: Machine, ns = 1): Promise<void> => machine.scheduler.sleep(ns);

/** Whether a promise is settled by now, and how. */
export function watch<T>(promise: Promise<T>): { value?: T; error?: unknown; settled: boolean } {
  const seen: { value?: T; error?: unknown; settled: boolean } = { settled: false };
  promise.then(
    (value) => Object.assign(seen, { value, settled: true }),
    (error: unknown) => Object.assign(seen, { error, settled: true }),
  );
  return seen;
}
