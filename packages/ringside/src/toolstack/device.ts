/**
 * What attaching and detaching any device means in the store. Sources: docs/misc/xenstore-paths.pandoc;
 * libxl__device_generic_add and libxl__device_destroy say which nodes, with which permissions, in one transaction.
 */
import type { DomId } from '@ringside/gnttab-core';
import {
  devicePermissions,
  homeOf,
  type XenStoreClient,
  type XenStoreOperations,
} from '@ringside/xenstore-lite';
import {
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateInitialising,
} from '@ringside/xenstore-lite/abi';
import { watchUntil } from './watch.stream.ts';

/** A device that is, or was, attached. */
export interface AttachedDevice {
  readonly type: 'vbd' | 'vif';
  /** The last part of its directories: the virtual device of a vbd, the handle of a vif. */
  readonly id: number;
  readonly front: DomId;
  readonly back: DomId;
  /** Of a vbd: what its backend finds the disk by. */
  readonly params?: string;
}

/** Node names below a device directory, and their values. */
export type Nodes = Readonly<Record<string, string | number>>;

/** The three directories of a device. */
export function devicePaths({ type, id, front, back }: AttachedDevice) {
  return {
    frontend: `${homeOf(front)}/device/${type}/${id}`,
    backend: `${homeOf(back)}/backend/${type}/${front}/${id}`,
    /** The toolstack's own record, which no guest can write. */
    toolstack: `/libxl/${front}/device/${type}/${id}`,
  };
}

/**
 * Makes a device appear: all directories at once, both ends in Initialising.
 * @param dom0 a connection of domain 0.
 */
export async function addDevice(
  dom0: XenStoreClient,
  device: AttachedDevice,
  nodes: { readonly frontend: Nodes; readonly backend: Nodes },
): Promise<void> {
  const paths = devicePaths(device);
  const permissions = devicePermissions(device.front, device.back);
  const links = { frontend: paths.frontend, backend: paths.backend };
  const state = XenbusStateInitialising;
  await dom0.transaction(async (tx) => {
    if (await tx.exists(paths.backend)) {
      throw new RangeError(
        `${device.type} ${device.id} of domain ${device.front} is there already`,
      );
    }
    await replace(tx, paths.frontend, permissions.frontend, {
      backend: links.backend,
      'backend-id': device.back,
      state,
      ...nodes.frontend,
    });
    await replace(tx, paths.backend, permissions.backend, {
      frontend: links.frontend,
      'frontend-id': device.front,
      online: 1,
      state,
      ...nodes.backend,
    });
    await replace(tx, paths.toolstack, permissions.toolstack, { ...links, ...nodes.backend });
  });
}

async function replace(
  tx: XenStoreOperations,
  path: string,
  permissions: readonly string[],
  nodes: Nodes,
): Promise<void> {
  // What a guest may have prepared there goes; ENOENT: not even the directory above is there.
  if (await tx.exists(path)) await tx.rm(path);
  await tx.mkdir(path);
  await tx.setPerms(path, permissions);
  for (const [name, value] of Object.entries(nodes)) {
    await tx.write(`${path}/${name}`, String(value));
  }
}

/**
 * Asks both ends to part, as `xl block-detach` does: the backend goes offline and to Closing. Resolves when it is Closed
 * and the directories are gone; that is up to the drivers, so it may never be.
 */
export async function closeDevice(dom0: XenStoreClient, device: AttachedDevice): Promise<void> {
  const { backend } = devicePaths(device);
  await dom0.transaction(async (tx) => {
    if (!(await tx.exists(backend))) return;
    await tx.write(`${backend}/online`, '0');
    const state = await tx.readIfExists(`${backend}/state`);
    if (state !== String(XenbusStateClosed)) {
      await tx.write(`${backend}/state`, String(XenbusStateClosing));
    }
  });
  await watchUntil(dom0, `${backend}/state`, async () => {
    const state = await dom0.readIfExists(`${backend}/state`);
    return state === undefined || state === String(XenbusStateClosed);
  });
  await removeDevice(dom0, device);
}

/** Removes a device's directories at once, whatever its ends are doing: `xl block-detach --force`. */
export async function removeDevice(dom0: XenStoreClient, device: AttachedDevice): Promise<void> {
  await dom0.transaction(async (tx) => {
    for (const path of Object.values(devicePaths(device))) {
      if (await tx.exists(path)) await tx.rm(path);
    }
  });
}
