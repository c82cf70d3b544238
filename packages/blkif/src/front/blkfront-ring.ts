/** One ring of a block frontend: shares buffers, puts requests, judges responses. */

import {
  responses$,
  type Batch,
  type DomId,
  type EventPort,
  type FrontRing,
  type GrantRef,
  type GrantReserve,
  type Guest,
  type GuestPage,
} from '@ringside/gnttab-core';
import {
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
} from '../abi.ts';
import type { BlkifRequest, BlkifResponse, BlkifSegment } from '../blkif-layout.ts';
import { SECTOR_BYTES } from '../disk/disk.ts';
import { Shadow, Submission, type BlockRequest, type Done, type GuestBuffer } from './request.ts';
import type { BlkfrontStats } from './stats.ts';
import { BLK_TRACE } from '../trace.ts';
import type { StillShared } from './still-shared.ts';

export interface BlkfrontRingOptions {
  readonly guest: Guest;
  readonly backend: DomId;
  readonly ring: FrontRing<BlkifRequest, BlkifResponse>;
  readonly port: EventPort;
  /** Low half of the virtual device number. */
  readonly handle: number;
  readonly stats: BlkfrontStats;
  readonly stillShared: StillShared;
  /** Told once, in one line, if the backend breaks the protocol; everything submitted fails after that. */
  readonly onBroken: (reason: string) => void;
  /** Told after each batch of responses. */
  readonly onBatch: () => void;
}

/**
 * Carries requests of any length over a ring. What does not fit waits, in order; what is submitted before the scheduler's
 * next turn, or from a `done`, goes out with one push and at most one notification.
 *
 * The backend is not trusted: a response must be to a request that waits for one, name its operation, and leave the
 * pages free. Anything else breaks the ring, for good.
 */
export class BlkfrontRing {
  private readonly options: BlkfrontRingOptions;
  private readonly shadows: Shadow[];
  private readonly freeIds: number[];
  private readonly refs: GrantReserve;
  private readonly request: BlkifRequest;
  private readonly unused: Submission[] = [];
  private first: Submission | undefined;
  private last: Submission | undefined;
  private pumpPosted = false;
  private draining = false;
  private broken = false;
  private subscription: { unsubscribe(): void } | undefined;
  private whenIdle: (() => void)[] = [];

  /** @throws GrantError when the domain has not enough grant references left for a full ring. */
  constructor(options: BlkfrontRingOptions) {
    const { ring, guest } = options;
    this.options = options;
    this.shadows = Array.from({ length: ring.size }, () => new Shadow());
    this.freeIds = Array.from({ length: ring.size }, (_, i) => ring.size - 1 - i);
    this.refs = guest.grants.allocGrantReferences(ring.size * BLKIF_MAX_SEGMENTS_PER_REQUEST);
    this.request = ring.layout.newRequest();
    this.request.handle = options.handle;
  }

  /** Look for responses from now on. */
  start(): void {
    this.subscription = responses$(this.options.ring, this.options.port).subscribe({
      next: (batch) => this.drained(batch),
      error: (error: unknown) => this.fail(String(error)),
    });
  }

  /** Whether nothing waits, neither for the ring nor for the backend. */
  get idle(): boolean {
    return this.first === undefined && this.freeIds.length === this.shadows.length;
  }

  /** Resolves when nothing waits any more. */
  drain(): Promise<void> {
    return this.idle ? Promise.resolve() : new Promise((resolve) => this.whenIdle.push(resolve));
  }

  /** The caller has checked the request. On a broken ring it fails, and so does all that waits. */
  submit(request: BlockRequest, done: Done): void {
    const submission = this.unused.pop() ?? new Submission();
    submission.begin(request, done);
    if (this.last === undefined) this.first = submission;
    else this.last.next = submission;
    this.last = submission;
    if (!this.draining) this.postPump();
  }

  private postPump(): void {
    if (this.pumpPosted) return;
    this.pumpPosted = true;
    this.options.guest.machine.scheduler.post(this.pump);
  }

  /**
   * Look at no response any more; everything that waits fails, with `done` called. The ring is not touched after this.
   * Grants that the backend still uses go to `stillShared`.
   */
  fail(reason: string): void {
    if (this.broken) return;
    this.broken = true;
    this.subscription?.unsubscribe();
    this.options.port.mask();
    this.options.onBroken(reason);
    for (let id = 0; id < this.shadows.length; id++) {
      const shadow = this.shadows[id] as Shadow;
      if (!shadow.waiting) continue;
      this.endGrants(shadow);
      this.release(id, shadow, BLKIF_RSP_ERROR);
    }
    this.refuseQueued();
  }

  /** Hand back the grant references. Only when idle. */
  free(): void {
    this.broken = true;
    this.subscription?.unsubscribe();
    this.refs.free();
  }

  private readonly pump = (): void => {
    this.pumpPosted = false;
    if (this.broken) return this.refuseQueued();
    const { ring, port, stats } = this.options;
    const before = ring.reqProdPvt;
    while (this.first !== undefined && this.freeIds.length > 0) this.putNext(this.first);
    if (ring.reqProdPvt === before) return;
    stats.pushes++;
    port.notifyIf(ring.pushRequestsAndCheckNotify());
  };

  /** Put as much of a submission as one ring request can carry. */
  private putNext(submission: Submission): void {
    const { ring, stats } = this.options;
    const { operation, buffers } = submission.request as BlockRequest;
    const { request } = this;
    const id = this.freeIds.pop() as number;
    const shadow = this.shadows[id] as Shadow;
    const sector512 = submission.nextSector512;
    shadow.operation = request.operation = operation;
    request.id_lo = id;
    request.sector_number_lo = sector512 % 2 ** 32;
    request.sector_number_hi = Math.floor(sector512 / 2 ** 32);
    const sectors512 = this.share(submission, shadow, buffers);
    request.nr_segments = shadow.segments;
    shadow.submission = submission;
    shadow.waiting = true;
    submission.outstanding++;
    ring.put(request);
    this.trace(BLK_TRACE.request, id, operation, request.sector_number_lo, sectors512);
    stats.requests++;
    if (operation === BLKIF_OP_READ) stats.bytesRead += sectors512 * SECTOR_BYTES;
    else stats.bytesWritten += sectors512 * SECTOR_BYTES;
    submission.nextSector512 += sectors512;
    if (submission.nextBuffer < buffers.length) return;
    this.first = submission.next;
    if (this.first === undefined) this.last = undefined;
  }

  /** Grant the next buffers, at most 11, and describe them in the request. Returns how many sectors they hold. */
  private share(submission: Submission, shadow: Shadow, buffers: readonly GuestBuffer[]): number {
    const { guest, backend } = this.options;
    const readonly = shadow.operation !== BLKIF_OP_READ;
    const from = submission.nextBuffer;
    const count = Math.min(buffers.length - from, BLKIF_MAX_SEGMENTS_PER_REQUEST);
    let sectors512 = 0;
    for (let i = 0; i < count; i++) {
      const { page, offsetBytes, lengthBytes } = buffers[from + i] as GuestBuffer;
      const segment = this.request.seg[i] as BlkifSegment;
      const ref = this.refs.claim();
      guest.grants.grantForeignAccessRef(ref, backend, guest.memory.frameOf(page), readonly);
      shadow.refs[i] = ref;
      shadow.pages[i] = page;
      const sectors = lengthBytes / SECTOR_BYTES;
      segment.gref = ref;
      segment.first_sect = offsetBytes / SECTOR_BYTES;
      segment.last_sect = segment.first_sect + sectors - 1;
      sectors512 += sectors;
    }
    shadow.segments = count;
    submission.nextBuffer += count;
    return sectors512;
  }

  private drained(batch: Batch<BlkifResponse>): void {
    this.draining = true;
    this.options.stats.batches++;
    for (let i = 0; i < batch.count && !this.broken; i++) {
      this.complete(batch.items[i] as BlkifResponse);
    }
    this.draining = false;
    if (this.broken) this.postPump();
    else this.pump();
    this.options.onBatch();
  }

  private complete(response: BlkifResponse): void {
    const { id_lo: id, id_hi, operation, status } = response;
    const shadow = id_hi === 0 ? this.shadows[id] : undefined;
    if (shadow === undefined || !shadow.waiting) {
      const name = id_hi * 2 ** 32 + id;
      return this.fail(`response to id ${name}, and no such request waits for one`);
    }
    if (operation !== shadow.operation) {
      return this.fail(
        `response to id ${id} names operation ${operation}, not ${shadow.operation}`,
      );
    }
    if (!this.endGrants(shadow)) {
      return this.fail(`response to id ${id} came while the backend still used its pages`);
    }
    this.options.stats.responses++;
    this.release(id, shadow, status);
  }

  /** Take back the pages of a request. False: the backend still uses one. */
  private endGrants(shadow: Shadow): boolean {
    const { grants } = this.options.guest;
    let all = true;
    for (let i = 0; i < shadow.segments; i++) {
      const ref = shadow.refs[i] as GrantRef;
      if (grants.endForeignAccessRef(ref) === 'ended') this.refs.release(ref);
      else {
        this.options.stillShared.add(ref, shadow.pages[i] as GuestPage);
        all = false;
      }
    }
    shadow.segments = 0;
    return all;
  }

  /** The request of an id is over: the id is free again, and the submission over if this was its last. */
  private release(id: number, shadow: Shadow, status: number): void {
    const { stats } = this.options;
    const submission = shadow.submission as Submission;
    this.trace(BLK_TRACE.response, id, status);
    shadow.waiting = false;
    shadow.submission = undefined;
    this.freeIds.push(id);
    if (status !== BLKIF_RSP_OKAY) {
      stats.failed++;
      const known =
        status === BLKIF_RSP_EOPNOTSUPP && shadow.operation === BLKIF_OP_FLUSH_DISKCACHE;
      submission.status = known ? status : BLKIF_RSP_ERROR;
    } else if (shadow.operation === BLKIF_OP_FLUSH_DISKCACHE) stats.flushes++;
    submission.outstanding--;
    if (submission.outstanding > 0 || this.isQueued(submission)) return;
    this.finish(submission, submission.status);
  }

  private isQueued(submission: Submission): boolean {
    const { buffers } = submission.request as BlockRequest;
    return submission.nextBuffer < buffers.length;
  }

  /** What a `done` submits meanwhile is refused in a turn of its own, so this ends. */
  private refuseQueued(): void {
    let submission = this.first;
    this.first = this.last = undefined;
    while (submission !== undefined) {
      const { next } = submission;
      this.finish(submission, BLKIF_RSP_ERROR);
      submission = next;
    }
  }

  private finish(submission: Submission, status: number): void {
    const done = submission.end();
    this.unused.push(submission);
    done(status);
    if (this.idle) for (const resolve of this.whenIdle.splice(0)) resolve();
  }

  private trace(kind: number, id: number, b: number, c = 0, d = 0): void {
    const { guest, port } = this.options;
    guest.machine.trace.emit(kind, guest.id, (port.port << 16) | id, b, c, d);
  }
}
