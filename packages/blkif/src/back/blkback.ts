/** The block backend of a driver domain: one device for each directory that the toolstack makes for it. */

import type { Guest } from '@ringside/gnttab-core';
import { backendDevices$, XenbusBackend, type XenStoreClient } from '@ringside/xenstore-lite';
import { Vbd, type OpenDisk } from './vbd.ts';

export interface BlkbackOptions {
  /** The driver domain. */
  readonly guest: Guest;
  /** Its connection to the store. */
  readonly store: XenStoreClient;
  readonly openDisk: OpenDisk;
}

/** Serve every vbd that is, or will be, under `backend/vbd` of the driver domain. */
export function startBlkback(options: BlkbackOptions): Blkback {
  return new Blkback(options);
}

export class Blkback {
  private readonly options: BlkbackOptions;
  private readonly vbds = new Map<string, Vbd>();
  private readonly watch: { unsubscribe(): void };
  /** Devices come and go one after the other. */
  private queue: Promise<void> = Promise.resolve();

  /** See {@link startBlkback}. */
  constructor(options: BlkbackOptions) {
    this.options = options;
    this.watch = backendDevices$(options.store, 'vbd').subscribe({
      next: ({ kind, path }) =>
        this.inTurn(() => (kind === 'added' ? this.add(path) : this.remove(path))),
      error: (error: unknown) => this.remark(`the store is lost: ${String(error)}`),
    });
  }

  /** The devices by directory, `backend/vbd/GUEST/ID`. */
  get devices(): ReadonlyMap<string, Vbd> {
    return this.vbds;
  }

  /** Let go of all frontends, without telling them, and close the disks. */
  async stop(): Promise<void> {
    this.watch.unsubscribe();
    this.inTurn(() => Promise.all([...this.vbds.keys()].map((path) => this.remove(path))));
    await this.queue;
  }

  private inTurn(step: () => Promise<unknown>): void {
    this.queue = this.queue.then(step).then(
      () => undefined,
      (error: unknown) => this.remark(error instanceof Error ? error.message : String(error)),
    );
  }

  private async add(path: string): Promise<void> {
    const { guest, store, openDisk } = this.options;
    const device = await XenbusBackend.open(store, path);
    const vbd = new Vbd(guest, device, openDisk);
    this.vbds.set(path, vbd);
    vbd.start();
  }

  private async remove(path: string): Promise<void> {
    const vbd = this.vbds.get(path);
    this.vbds.delete(path);
    await vbd?.stop();
  }

  private remark(line: string): void {
    const { guest } = this.options;
    guest.machine.log.warn({ domain: guest.id }, line);
  }
}
