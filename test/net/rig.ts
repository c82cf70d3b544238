/** A driver domain with a bridge and two guests, joined by a store as xl would set it up. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import {
  bootGuest,
  createDomain,
  createMachine,
  type Guest,
  type Machine,
} from '@ringside/gnttab-core';
import {
  connectNetfront,
  parseCapture,
  startNetback,
  type Modes,
  type Netback,
  type NetbackOptions,
  type Netfront,
} from '@ringside/netif';
import {
  devicePermissions,
  homeOf,
  InProcessXenStore,
  introduceDomain,
  XenStore,
  XenStoreClient,
} from '@ringside/xenstore-lite';

/** A guest and its connection to the store. */
export interface Member {
  readonly guest: Guest;
  readonly store: XenStoreClient;
}

export interface Rig {
  readonly machine: Machine;
  readonly toolstack: XenStoreClient;
  readonly driver: Member;
  readonly guests: readonly [Member, Member];
  /** Lines that the library logged. */
  readonly log: string[];
}

export interface RigOptions {
  readonly seed?: number | undefined;
  readonly driverPages?: number;
  readonly guestPages?: number;
  readonly guestType?: 'pv' | 'translated';
}

export async function rig({
  seed,
  driverPages = 4096,
  guestPages = 2048,
  guestType = 'pv',
}: RigOptions = {}) {
  const log: string[] = [];
  const note = (_: object, line: string) => void log.push(line);
  const machine = createMachine({ seed, log: { debug() {}, info: note, warn: note, error: note } });
  createDomain(machine, { pages: 16, privileged: true });
  const server = new InProcessXenStore(new XenStore(), machine.scheduler);
  const toolstack = new XenStoreClient(server.connect(0));
  const boot = async (pages: number, type: 'pv' | 'translated'): Promise<Member> => {
    const guest = bootGuest(createDomain(machine, { pages, type }));
    const { id } = guest;
    const name = `domain-${id}`;
    await introduceDomain(toolstack, { domid: id, name, storeGfn: 1, storePort: 1 });
    return { guest, store: new XenStoreClient(server.connect(id)) };
  };
  const driver = await boot(driverPages, 'pv');
  const guests = [await boot(guestPages, guestType), await boot(guestPages, guestType)] as const;
  return { machine, toolstack, driver, guests, log } satisfies Rig;
}

export const frontPath = ({ guest }: Member, handle = 0) =>
  `${homeOf(guest.id)}/device/vif/${handle}`;
export const backPath = ({ driver }: Rig, { guest }: Member, handle = 0) =>
  `${homeOf(driver.guest.id)}/backend/vif/${guest.id}/${handle}`;

/** What xl writes for a vif, at once. */
export async function attach(rig: Rig, member: Member, handle = 0): Promise<void> {
  const { toolstack, driver } = rig;
  const permissions = devicePermissions(member.guest.id, driver.guest.id);
  const mac = `00:16:3e:00:00:${String(member.guest.id).padStart(2, '0')}`;
  const front = {
    backend: backPath(rig, member, handle),
    'backend-id': driver.guest.id,
    state: 1,
    handle,
    mac,
    mtu: 1500,
  };
  const back = {
    frontend: frontPath(member, handle),
    'frontend-id': member.guest.id,
    online: 1,
    state: 1,
    script: '/etc/xen/scripts/vif-bridge',
    mac,
    bridge: 'xenbr0',
    handle,
    type: 'vif',
  };
  await toolstack.transaction(async (tx) => {
    for (const [path, perms, keys] of [
      [frontPath(member, handle), permissions.frontend, front],
      [backPath(rig, member, handle), permissions.backend, back],
    ] as const) {
      await tx.mkdir(path);
      await tx.setPerms(path, perms);
      for (const [name, value] of Object.entries(keys)) {
        await tx.write(`${path}/${name}`, String(value));
      }
    }
  });
}

export interface Network extends Rig {
  readonly netback: Netback;
  readonly fronts: readonly [Netfront, Netfront];
}

/** A rig with a vif in each guest, connected. */
export async function network(
  modes: Partial<Modes> = {},
  options: RigOptions & { readonly netback?: Partial<NetbackOptions> } = {},
): Promise<Network> {
  const parts = await rig(options);
  const { driver, guests } = parts;
  const netback = startNetback({ ...driver, ...options.netback });
  const connect = async (member: Member) => {
    await attach(parts, member);
    return connectNetfront({ ...member, handle: 0, ...modes });
  };
  return { ...parts, netback, fronts: [await connect(guests[0]), await connect(guests[1])] };
}

/** What the domains of a rig hold; equal before and after the vifs' lives. */
export const resources = ({ driver, guests }: Rig) =>
  [driver, ...guests].map(({ guest }) => ({
    pages: guest.domain.totPages,
    free: guest.memory.freeCount,
    ports: guest.events.open,
    mappings: guest.mappings.live,
    // The table never shrinks: it may have grown by whole frames of 512 entries.
    refs: guest.grants.freeCount % 512,
  }));

/** The frames of one of the recorded captures. */
export function captured(name: 'lan-mtu1500' | 'lan-gso'): Uint8Array[] {
  const file = gunzipSync(readFileSync(new URL(`../data/${name}.pcap.gz`, import.meta.url)));
  return parseCapture(file).map(({ bytes }) => bytes);
}

/** Collects what a frontend receives. */
export function collect(front: Netfront): Uint8Array[] {
  const frames: Uint8Array[] = [];
  front.packets$.subscribe((batch) => frames.push(...batch));
  return frames;
}

/** An Ethernet frame of `lengthBytes` with recognisable contents. */
export function frame(lengthBytes: number, mark = 0, destination = 0xffff_ffff_ffff): Uint8Array {
  const bytes = Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 7 + mark) & 255);
  for (let i = 0; i < 6; i++) bytes[i] = Math.floor(destination / 2 ** (8 * (5 - i))) & 255;
  bytes.set([0x02, 0, 0, 0, 0, mark & 255], 6);
  return bytes;
}

/** Runs until `done`, a little time of the machine's clock at once; throws if it does not come to that. */
export async function until({ machine }: Rig, done: () => boolean, limitNs = 5e9): Promise<void> {
  for (let leftNs = limitNs; !done(); leftNs -= 1e6) {
    if (leftNs <= 0) throw new Error('it did not happen');
    await machine.scheduler.sleep(1e6);
  }
}
