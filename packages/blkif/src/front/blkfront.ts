/** A block device as a guest uses it: reads, writes, flushes, and its end. Source: io/blkif.h. */

import { domId, type Guest } from '@ringside/gnttab-core';
import type { XenbusFrontend } from '@ringside/xenstore-lite';
import {
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateInitWait,
  XenbusStateUnknown,
  type XenbusState,
} from '@ringside/xenstore-lite/abi';
import {
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
} from '../abi.ts';
import { SECTOR_BYTES } from '../disk/disk.ts';
import { BlkfrontRing } from './blkfront-ring.ts';
import { BouncedIo } from './bounced-io.ts';
import { assertRange, assertRequest } from './check.ts';
import { BlkfrontError, BlockIoError } from './errors.ts';
import type { Link } from './link.ts';
import type { DiskProperties } from './properties.ts';
import type { BlockRequest, Done } from './request.ts';
import { newBlkfrontStats, type BlkfrontStats } from './stats.ts';
import { StatsFeed } from './stats.stream.ts';
import type { StillShared } from './still-shared.ts';

/** How many ring requests the reads and writes of byte arrays have under way at once. */
const BOUNCED_DEPTH = 8;

/** States of a backend that answers nobody any more. */
const GONE: readonly XenbusState[] = [XenbusStateClosed, XenbusStateUnknown];

/** Connected and usable; broken by its backend, or never to be used again after {@link Blkfront.close}. */
export type BlkfrontState = 'connected' | 'broken' | 'closing' | 'closed';

export class Blkfront {
  readonly device: XenbusFrontend;
  readonly stats: Readonly<BlkfrontStats>;
  /** A snapshot of {@link stats} after each batch of responses; completes when the device is closed. */
  readonly stats$: StatsFeed['stats$'];
  private readonly guest: Guest;
  private readonly link: Link;
  private readonly ring: BlkfrontRing;
  private readonly bounced: BouncedIo;
  private readonly stillShared: StillShared;
  private readonly feed = new StatsFeed();
  private known: DiskProperties;
  private current: BlkfrontState = 'connected';
  /** Why the device cannot be used any more. */
  private reason = '';
  private ended: Promise<void> | undefined;
  private watch: { unsubscribe(): void } | undefined;

  /** Made by {@link connectBlkfront}. */
  constructor(
    guest: Guest,
    device: XenbusFrontend,
    virtualDevice: number,
    link: Link,
    stillShared: StillShared,
    properties: DiskProperties,
  ) {
    const stats = newBlkfrontStats();
    this.guest = guest;
    this.device = device;
    this.link = link;
    this.stillShared = stillShared;
    this.known = properties;
    this.stats = stats;
    this.stats$ = this.feed.stats$;
    this.ring = new BlkfrontRing({
      guest,
      backend: domId(device.otherEnd.domid),
      ring: link.ring,
      port: link.port,
      handle: virtualDevice & 0xffff,
      stats,
      stillShared,
      onBroken: (reason) => this.broke(reason),
      onBatch: () => this.feed.publish(stats),
    });
    this.bounced = new BouncedIo({
      memory: guest.memory,
      stillShared,
      submit: (request, done) => this.ring.submit(request, done),
      failure: (operation, status) => this.failure(operation, status),
      depth: BOUNCED_DEPTH,
    });
    this.ring.start();
  }

  get state(): BlkfrontState {
    return this.current;
  }

  /** Size, sector sizes, whether it can be written and flushed. */
  get properties(): DiskProperties {
    return this.known;
  }

  /** How many pages the backend has not let go of although it should have. */
  get pagesStillShared(): number {
    return this.stillShared.count;
  }

  /**
   * Read or write guest pages without copying, or flush; `done` is called once, later. This is the way for many small
   * requests: it allocates nothing, and what is submitted together goes out together.
   * @throws BlkfrontError for a request that makes no sense. A device that is not connected answers BLKIF_RSP_ERROR.
   */
  submit(request: BlockRequest, done: Done): void {
    assertRequest(request, this.known);
    if (this.current === 'connected') this.ring.submit(request, done);
    else this.guest.machine.scheduler.post(() => done(BLKIF_RSP_ERROR));
  }

  /**
   * Read `sectors` units of 512 bytes from unit `sector` on.
   * @throws BlkfrontError outside the disk, or when the device is lost; BlockIoError when the backend could not read.
   */
  async read({ sector, sectors }: { sector: number; sectors: number }): Promise<Uint8Array> {
    assertRange(BLKIF_OP_READ, sector, sectors * SECTOR_BYTES, this.known);
    this.assertConnected();
    const data = new Uint8Array(sectors * SECTOR_BYTES);
    await this.bounced.transfer(BLKIF_OP_READ, sector, data);
    return data;
  }

  /**
   * Write `data`, a multiple of 512 bytes, from unit `sector` on. It must stay as it is until the promise settles.
   * @throws as {@link read}, and for a read-only disk.
   */
  async write({ sector, data }: { sector: number; data: Uint8Array }): Promise<void> {
    assertRange(BLKIF_OP_WRITE, sector, data.length, this.known);
    this.assertConnected();
    await this.bounced.transfer(BLKIF_OP_WRITE, sector, data);
  }

  /**
   * Put every write that has finished on stable storage.
   * @throws BlkfrontError when the backend does not offer that; BlockIoError when it failed.
   */
  async flush(): Promise<void> {
    this.assertConnected();
    if (!this.known.flush)
      throw new BlkfrontError(`${this.device.path}: the backend offers no flush`);
    const status = await new Promise<number>((resolve) =>
      this.submit({ operation: BLKIF_OP_FLUSH_DISKCACHE, sector512: 0, buffers: [] }, resolve),
    );
    if (status === BLKIF_RSP_EOPNOTSUPP) this.known = { ...this.known, flush: false };
    if (status !== BLKIF_RSP_OKAY) throw this.failure(BLKIF_OP_FLUSH_DISKCACHE, status);
  }

  /** Finish what was submitted, then give everything back. Resolves when the backend has closed, too. */
  close(): Promise<void> {
    return (this.ended ??= this.end(true));
  }

  /** Give everything back now: what is under way fails. For a backend that does not answer. */
  abandon(): Promise<void> {
    this.ring.fail('the device was abandoned');
    return (this.ended ??= this.end(false));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Follow the backend's state from now on: it can close at any time. */
  watchBackend(): void {
    this.watch = this.device.otherEndState$.subscribe({
      next: (state) => this.backendIs(state),
      error: (error: unknown) => this.ring.fail(`the store is lost: ${String(error)}`),
    });
  }

  private backendIs(state: XenbusState): void {
    // Closing: it still answers, so what is under way can finish. After that nobody answers any more.
    if (state === XenbusStateClosing) void this.close();
    else if (GONE.includes(state)) {
      // When we are closing and nothing waits, this is how it should be.
      if (this.current !== 'closing' || !this.ring.idle) this.ring.fail('the backend closed');
      void this.close();
    }
  }

  private broke(reason: string): void {
    this.reason = reason;
    if (this.current !== 'connected') return;
    this.current = 'broken';
    const { machine, id } = this.guest;
    machine.log.warn({ domain: id, device: this.device.path }, reason);
    void this.device.fatal(reason).catch(() => undefined);
  }

  private async end(politely: boolean): Promise<void> {
    const wasBroken = this.current === 'broken';
    if (!wasBroken) this.current = 'closing';
    if (politely) await this.ring.drain();
    await this.step(XenbusStateClosing);
    if (politely && !wasBroken) await this.left([XenbusStateClosing, ...GONE]);
    await this.step(XenbusStateClosed);
    if (politely && !wasBroken) await this.left([...GONE, XenbusStateInitWait]);
    this.watch?.unsubscribe();
    this.ring.free();
    this.link.close(this.stillShared);
    this.bounced.free();
    this.stillShared.retryWhenGone(this.device);
    this.reason ||= 'the device is closed';
    this.current = 'closed';
    this.feed.complete();
  }

  /** Say where we are. A device that the toolstack removed meanwhile has nobody left to be told. */
  private step(state: XenbusState): Promise<void> {
    return this.device.switchState(state).catch(() => undefined);
  }

  private async left(states: readonly XenbusState[]): Promise<void> {
    await this.device.waitForOtherEnd(states).catch(() => undefined);
  }

  private assertConnected(): void {
    if (this.current !== 'connected') throw this.lost();
  }

  private lost(): BlkfrontError {
    return new BlkfrontError(`${this.device.path}: ${this.reason || 'the device is closing'}`);
  }

  private failure(operation: number, status: number): Error {
    if (this.reason !== '') return this.lost();
    const what =
      operation === BLKIF_OP_READ ? 'read' : operation === BLKIF_OP_WRITE ? 'write' : 'flush';
    return new BlockIoError(`${this.device.path}: ${what}`, status);
  }
}
