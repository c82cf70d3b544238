/** How a block frontend finds its backend and comes to use it. Source: io/blkif.h, "STATE DIAGRAMS". */

import { domId, type Guest } from '@ringside/gnttab-core';
import { XenbusFrontend, type XenStoreClient } from '@ringside/xenstore-lite';
import {
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
  XenbusStateInitialised,
  XenbusStateInitialising,
  XenbusStateInitWait,
  XenbusStateUnknown,
  type XenbusState,
} from '@ringside/xenstore-lite/abi';
import { vbdDeviceKeys, vbdRingKeys, XEN_IO_PROTO_ABI_X86_64 } from '../keys.ts';
import { Blkfront } from './blkfront.ts';
import { BlkfrontError } from './errors.ts';
import { Link } from './link.ts';
import { readProperties } from './properties.ts';
import { StillShared } from './still-shared.ts';

export interface BlkfrontOptions {
  readonly guest: Guest;
  /** The guest's own connection to the store. */
  readonly store: XenStoreClient;
  /** Number of the virtual device: the last part of its directory `device/vbd/ID`. */
  readonly id: number;
}

/**
 * Connect to the block device that the toolstack has attached; resolves when it can be used.
 * @throws BlkfrontError, XenbusKeyError, XenStoreError, GrantError: one line; nothing stays shared.
 */
export async function connectBlkfront(options: BlkfrontOptions): Promise<Blkfront> {
  const { guest, store, id } = options;
  const device = await XenbusFrontend.open(store, `device/vbd/${id}`);
  const keys = await device.readOwn(vbdDeviceKeys);
  // A device that was closed begins anew.
  if ((await store.read(`${device.path}/state`)) === String(XenbusStateClosed)) {
    await device.switchState(XenbusStateInitialising);
  }
  const stillShared = new StillShared(guest.grants, guest.memory);
  let link: Link | undefined;
  try {
    await reached(device, [XenbusStateInitWait, XenbusStateConnected], [XenbusStateClosing]);
    link = new Link(guest, domId(device.otherEnd.domid));
    await device.writeOwn(vbdRingKeys, {
      'ring-ref': link.ringRef,
      'event-channel': link.port.port,
      protocol: XEN_IO_PROTO_ABI_X86_64,
    });
    await device.switchState(XenbusStateInitialised);
    await reached(
      device,
      [XenbusStateConnected],
      [XenbusStateClosing, XenbusStateClosed, XenbusStateUnknown],
    );
    const properties = await readProperties(device);
    const disk = new Blkfront(guest, device, keys['virtual-device'], link, stillShared, properties);
    await device.switchState(XenbusStateConnected);
    disk.watchBackend();
    return disk;
  } catch (error) {
    await device.fatal(error).catch(() => undefined);
    await device.switchState(XenbusStateClosed).catch(() => undefined);
    link?.close(stillShared);
    stillShared.retryWhenGone(device);
    throw error;
  }
}

/** Wait until the backend is in one of the `wanted` states. */
async function reached(
  device: XenbusFrontend,
  wanted: readonly XenbusState[],
  ended: readonly XenbusState[],
): Promise<void> {
  const state = await device.waitForOtherEnd([...wanted, ...ended]);
  if (!wanted.includes(state)) {
    throw new BlkfrontError(`${device.path}: the backend ${device.otherEnd.path} gave up`);
  }
}
