/** A driver domain that serves disks and a guest, joined by a store as xl would set it up. */

import {
  connectBlkfront,
  startBlkback,
  type vbdConfigKeys,
  type Blkback,
  type Blkfront,
  type Disk,
  type OpenDisk,
} from '@ringside/blkif';
import {
  bootGuest,
  createDomain,
  createMachine,
  type Guest,
  type Machine,
} from '@ringside/gnttab-core';
import {
  devicePermissions,
  homeOf,
  InProcessXenStore,
  introduceDomain,
  XenStore,
  XenStoreClient,
} from '@ringside/xenstore-lite';

export const VBD = 51712;

export interface RigOptions {
  readonly seed?: number;
  readonly guestPages?: number;
  readonly driverPages?: number;
  readonly memoryPages?: number;
}

export interface Rig {
  readonly machine: Machine;
  readonly driver: Guest;
  readonly guest: Guest;
  /** Connections of domain 0, the driver domain and the guest. */
  readonly toolstack: XenStoreClient;
  readonly driverStore: XenStoreClient;
  readonly guestStore: XenStoreClient;
  /** Lines that the library logged. */
  readonly log: string[];
}

export async function rig({
  seed,
  guestPages = 512,
  driverPages = 1024,
  memoryPages = 4096,
}: RigOptions = {}): Promise<Rig> {
  const log: string[] = [];
  const note = (_: object, line: string) => void log.push(line);
  const machine = createMachine({
    seed,
    memoryPages,
    log: { debug() {}, info: note, warn: note, error: note },
  });
  createDomain(machine, { pages: 16, privileged: true });
  const driver = bootGuest(createDomain(machine, { pages: driverPages }));
  const guest = bootGuest(createDomain(machine, { pages: guestPages }));
  const server = new InProcessXenStore(new XenStore(), machine.scheduler);
  const [toolstack, driverStore, guestStore] = [0, driver.id, guest.id].map(
    (domid) => new XenStoreClient(server.connect(domid)),
  ) as [XenStoreClient, XenStoreClient, XenStoreClient];
  for (const { id } of [driver, guest]) {
    const name = `domain-${id}`;
    await introduceDomain(toolstack, { domid: id, name, storeGfn: 1, storePort: 1 });
  }
  return { machine, driver, guest, toolstack, driverStore, guestStore, log };
}

export const frontPath = ({ guest }: Rig) => `${homeOf(guest.id)}/device/vbd/${VBD}`;
export const backPath = ({ driver, guest }: Rig) =>
  `${homeOf(driver.id)}/backend/vbd/${guest.id}/${VBD}`;

/** What xl writes for a disk, at once. */
export async function attach(
  rig: Rig,
  config: Partial<Record<keyof typeof vbdConfigKeys, string>> = {},
): Promise<void> {
  const { toolstack, driver, guest } = rig;
  const permissions = devicePermissions(guest.id, driver.id);
  const both = { state: 1 };
  const front = {
    backend: backPath(rig),
    'backend-id': driver.id,
    'virtual-device': VBD,
    'device-type': 'disk',
    handle: VBD,
  };
  const back = {
    frontend: frontPath(rig),
    'frontend-id': guest.id,
    online: 1,
    params: 'disk.img',
    type: 'file',
    mode: 'w',
    ...config,
  };
  await toolstack.transaction(async (tx) => {
    for (const [path, perms, keys] of [
      [frontPath(rig), permissions.frontend, { ...front, ...both }],
      [backPath(rig), permissions.backend, { ...back, ...both }],
    ] as const) {
      await tx.mkdir(path);
      await tx.setPerms(path, perms);
      for (const [name, value] of Object.entries(keys)) {
        await tx.write(`${path}/${name}`, String(value));
      }
    }
  });
}

/** What a rig holds; equal before and after a device's life. */
export const resources = ({ driver, guest }: Rig) => ({
  driverPages: driver.memory.freeCount,
  driverPorts: driver.events.open,
  driverMappings: driver.mappings.live,
  guestPages: guest.memory.freeCount,
  guestPorts: guest.events.open,
  guestRefs: guest.grants.freeCount,
});

/** Resolves when nothing is left to do but what somebody outside starts. For a seeded rig. */
export const settled = ({ machine }: Rig): Promise<void> => machine.scheduler.sleep(1);

/** Byte for byte; `toEqual` takes a long time over long arrays. */
export const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** What the toolstack finds in a node; undefined if it is missing. */
export const look = (rig: Rig, path: string): Promise<string | undefined> =>
  rig.toolstack.readIfExists(path);

export interface Connected extends Rig {
  readonly blkback: Blkback;
  readonly disk: Blkfront;
}

/** A rig with one disk, connected. */
export async function connected(
  disk: Disk | OpenDisk,
  options: RigOptions & { readonly mode?: 'r' | 'w' } = {},
): Promise<Connected> {
  const parts = await rig(options);
  const openDisk = typeof disk === 'function' ? disk : () => disk;
  const { driver, driverStore, guest, guestStore } = parts;
  const blkback = startBlkback({ guest: driver, store: driverStore, openDisk });
  await attach(parts, { mode: options.mode ?? 'w' });
  const front = await connectBlkfront({ guest, store: guestStore, id: VBD });
  return { ...parts, blkback, disk: front };
}
