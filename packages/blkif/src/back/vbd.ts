/** One block device of a driver domain: follows its frontend through the states of xenbus. Source: io/blkif.h. */

import type { Guest } from '@ringside/gnttab-core';
import { backendActions, XenbusStateError, type XenbusBackend } from '@ringside/xenstore-lite';
import {
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
  XenbusStateInitialising,
  XenbusStateInitWait,
  XenbusStateUnknown,
  type XenbusState,
} from '@ringside/xenstore-lite/abi';
import { VDISK_READONLY } from '../abi.ts';
import { SECTOR_BYTES, type Disk } from '../disk/disk.ts';
import { vbdConfigKeys, vbdFeatureKeys, vbdPropertyKeys, vbdRingKeys } from '../keys.ts';
import { Connection } from './connection.ts';
import type { BlkbackStats } from './stats.ts';

/** Choose and open what a device serves, from what the toolstack wrote. A rejection refuses the device, with its reason. */
export type OpenDisk = (
  params: string,
  options: { readonly readOnly: boolean; readonly type: string },
) => Disk | Promise<Disk>;

/**
 * The states of the frontend arrive at any time, in any order; they are acted on one after the other, and only the latest
 * counts. So there is at most one connection, whatever the frontend does.
 */
export class Vbd {
  readonly device: XenbusBackend;
  private readonly guest: Guest;
  private readonly openDisk: OpenDisk;
  private disk: Disk | undefined;
  /** What the toolstack says; the disk can be read-only besides. */
  private readOnly = true;
  private connection: Connection | undefined;
  private own: XenbusState = XenbusStateInitialising;
  private frontend: XenbusState = XenbusStateUnknown;
  private removed = false;
  private following = false;
  private working: Promise<void> = Promise.resolve();
  private readonly watches: { unsubscribe(): void }[] = [];

  constructor(guest: Guest, device: XenbusBackend, openDisk: OpenDisk) {
    this.guest = guest;
    this.device = device;
    this.openDisk = openDisk;
  }

  /** What it did for the frontend that is connected. */
  get stats(): Readonly<BlkbackStats> | undefined {
    return this.connection?.stats;
  }

  get state(): XenbusState {
    return this.own;
  }

  start(): void {
    const gone = (error: unknown) => this.remark(`the store is lost: ${String(error)}`);
    this.watches.push(
      this.device.otherEndState$.subscribe({
        next: (state) => {
          this.frontend = state;
          this.wake();
        },
        error: gone,
      }),
      // The toolstack writes Closing to unplug the device; the frontend sees it too, and closes.
      this.device.state$.subscribe({
        next: (state) => {
          if (state === XenbusStateClosing && this.own !== XenbusStateClosed) this.own = state;
        },
        error: gone,
      }),
    );
  }

  /** Let go of everything. The directory of the device is not touched: it may be gone. */
  async stop(): Promise<void> {
    this.removed = true;
    for (const watch of this.watches.splice(0)) watch.unsubscribe();
    await this.working;
    await this.letGo();
    await this.closeDisk();
  }

  private wake(): void {
    if (!this.following) this.working = this.follow();
  }

  /** Act until there is nothing to do in the state that the frontend is in now. Then the next state wakes it. */
  private async follow(): Promise<void> {
    this.following = true;
    for (;;) {
      const { frontend } = this;
      let acted = false;
      try {
        acted = !this.removed && (await this.act(frontend));
      } catch (error) {
        await this.refuse(error);
      }
      if (this.removed || (!acted && frontend === this.frontend)) break;
    }
    // Not in a promise reaction: a state that comes in between would wake nobody.
    this.following = false;
  }

  /** One step; false when there is none to take. */
  private async act(frontend: XenbusState): Promise<boolean> {
    const action = backendActions[this.own][frontend];
    if (action === 'offer') await this.offer();
    else if (action === 'connect') await this.connect();
    else if (action === 'close') await this.close(XenbusStateClosing);
    else if (action === 'disconnect') await this.disconnect();
    return action !== 'wait';
  }

  private async offer(): Promise<void> {
    const { params, type, mode } = await this.device.readOwn(vbdConfigKeys);
    this.readOnly = mode === 'r';
    this.disk ??= await this.openDisk(params, { readOnly: this.readOnly, type });
    await this.device.writeOwn(vbdFeatureKeys, {
      'feature-flush-cache': true,
      'feature-barrier': false,
    });
    await this.enter(XenbusStateInitWait);
  }

  private async connect(): Promise<void> {
    const disk = this.disk as Disk;
    const readOnly = this.readOnly || disk.readOnly;
    const keys = await this.device.readOtherEnd(vbdRingKeys);
    const connection = new Connection({
      guest: this.guest,
      frontend: this.device.otherEnd.domid,
      ringRef: keys['ring-ref'],
      eventChannel: keys['event-channel'],
      disk,
      limits: { sizeBytes: disk.sizeBytes, readOnly },
      remark: (line) => this.remark(line),
    });
    this.connection = connection;
    await this.device.writeOwn(vbdPropertyKeys, {
      sectors: disk.sizeBytes / SECTOR_BYTES,
      'sector-size': SECTOR_BYTES,
      'physical-sector-size': SECTOR_BYTES,
      info: readOnly ? VDISK_READONLY : 0,
    });
    await this.enter(XenbusStateConnected);
    connection.start();
  }

  private async close(state: XenbusState): Promise<void> {
    await this.letGo();
    await this.enter(state);
  }

  private async disconnect(): Promise<void> {
    await this.close(XenbusStateClosed);
    if (!(await this.device.isOnline())) await this.closeDisk();
  }

  /** The device cannot be served: say why where the toolstack looks, and close. */
  private async refuse(error: unknown): Promise<void> {
    await this.letGo();
    // Closed and removed under our hands is no news.
    if (error instanceof XenbusStateError) return;
    this.remark(error instanceof Error ? error.message : String(error));
    await this.device.fatal(error).catch(() => undefined);
    this.own = XenbusStateClosing;
  }

  private async enter(state: XenbusState): Promise<void> {
    await this.device.switchState(state);
    this.own = state;
  }

  private async letGo(): Promise<void> {
    const { connection } = this;
    this.connection = undefined;
    await connection?.close();
  }

  private async closeDisk(): Promise<void> {
    const { disk } = this;
    this.disk = undefined;
    await disk?.close();
  }

  private remark(line: string): void {
    const { machine, id } = this.guest;
    machine.log.warn({ domain: id, device: this.device.path }, line);
  }
}
