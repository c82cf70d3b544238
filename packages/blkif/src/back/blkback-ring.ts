/** One ring of a block backend: takes requests, moves their data between grants and the disk, answers. */

import {
  requests$,
  type BackRing,
  type Batch,
  type DomId,
  type EventPort,
  type Guest,
} from '@ringside/gnttab-core';
import { BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_READ, BLKIF_RSP_OKAY } from '../abi.ts';
import type { BlkifRequest, BlkifResponse } from '../blkif-layout.ts';
import { SECTOR_BYTES, type Disk } from '../disk/disk.ts';
import type { BouncePages } from './bounce-pages.ts';
import { checkRequest, type Limits } from './check-request.ts';
import type { BlkbackStats } from './stats.ts';
import { BLK_TRACE } from '../trace.ts';
import { CopyBatch, Task } from './task.ts';

export interface BlkbackRingOptions {
  readonly guest: Guest;
  readonly frontend: DomId;
  /** The mapped ring. Whoever mapped it unmaps it, after {@link BlkbackRing.stop}. */
  readonly ring: BackRing<BlkifRequest, BlkifResponse>;
  readonly port: EventPort;
  readonly disk: Disk;
  readonly limits: Limits;
  readonly bounce: BouncePages;
  readonly stats: BlkbackStats;
  /** Told of requests that failed; not of every one of a flood. One line. */
  readonly remark: (line: string) => void;
}

/**
 * Serves a ring from {@link start} to {@link stop}. What came in one batch is copied, carried out and answered
 * together: one hypercall for the data of all writes, one for that of all reads, one look at whether to notify.
 *
 * A frontend that breaks the ring protocol is not served any more.
 */
export class BlkbackRing {
  private readonly options: BlkbackRingOptions;
  private readonly copies: CopyBatch;
  private readonly unused: Task[] = [];
  /** Carried out and not yet answered. */
  private finished: Task[] = [];
  private answerPosted = false;
  /** How many tasks wait for the disk. */
  private waiting = 0;
  private stopped = false;
  private subscription: { unsubscribe(): void } | undefined;
  private whenIdle: (() => void) | undefined;

  constructor(options: BlkbackRingOptions) {
    this.options = options;
    this.copies = new CopyBatch(options.guest.hypercalls, options.frontend);
  }

  start(): void {
    const { ring, port, remark } = this.options;
    this.subscription = requests$(ring, port).subscribe({
      next: (batch) => this.serve(batch),
      error: (error: unknown) => remark(`halted: ${String(error)}`),
    });
  }

  /**
   * Take no more requests, answer none; the ring is not touched any more when this returns. Resolves when the disk has
   * finished what it was asked to do, and all bounce pages are back.
   */
  stop(): Promise<void> {
    this.stopped = true;
    this.subscription?.unsubscribe();
    for (const task of this.finished.splice(0)) this.recycle(task);
    if (this.waiting === 0) return Promise.resolve();
    return new Promise((resolve) => (this.whenIdle = resolve));
  }

  private serve(batch: Batch<BlkifRequest>): void {
    const { limits, bounce, stats } = this.options;
    stats.batches++;
    stats.requests += batch.count;
    const tasks: Task[] = [];
    for (let i = 0; i < batch.count; i++) {
      const request = batch.items[i] as BlkifRequest;
      const task = this.unused.pop() ?? new Task();
      task.begin(request, checkRequest(request, limits), bounce);
      if (task.operation !== BLKIF_OP_READ) task.copy(this.copies, 'from grants');
      const sectors512 = task.lengthBytes / SECTOR_BYTES;
      this.trace(BLK_TRACE.serve, task, task.operation, request.sector_number_lo, sectors512);
      tasks.push(task);
    }
    this.copies.run();
    for (let i = 0; i < tasks.length; i++) this.carryOut(tasks[i] as Task);
    this.answer();
  }

  private carryOut(task: Task): void {
    if (task.status !== BLKIF_RSP_OKAY) {
      this.finished.push(task);
      return;
    }
    let result: void | Promise<void> = undefined;
    try {
      result = perform(task, this.options.disk);
    } catch (error) {
      task.fail(String(error));
    }
    if (result === undefined) {
      this.finished.push(task);
      return;
    }
    this.waiting++;
    void result.then(
      () => this.diskAnswered(task),
      (error: unknown) => {
        task.fail(String(error));
        this.diskAnswered(task);
      },
    );
  }

  /** Several of these come in a row: they are answered together. */
  private diskAnswered(task: Task): void {
    this.waiting--;
    if (this.stopped) {
      this.recycle(task);
      if (this.waiting === 0) this.whenIdle?.();
      return;
    }
    this.finished.push(task);
    if (this.answerPosted) return;
    this.answerPosted = true;
    this.options.guest.machine.scheduler.post(() => {
      this.answerPosted = false;
      this.answer();
    });
  }

  private answer(): void {
    const { ring, port } = this.options;
    const tasks = this.finished;
    if (tasks.length === 0) return;
    this.finished = [];
    for (let i = 0; i < tasks.length; i++) {
      const task = tasks[i] as Task;
      if (task.operation === BLKIF_OP_READ) task.copy(this.copies, 'to grants');
    }
    this.copies.run();
    for (let i = 0; i < tasks.length; i++) {
      const task = tasks[i] as Task;
      ring.put(task);
      this.trace(BLK_TRACE.answer, task, task.status);
      this.count(task);
      this.recycle(task);
    }
    port.notifyIf(ring.pushResponsesAndCheckNotify());
  }

  private count(task: Task): void {
    const { stats, remark } = this.options;
    if (task.status !== BLKIF_RSP_OKAY) {
      stats.failed++;
      // The frontend decides how many there are, so ever fewer of them are worth a line.
      if (Number.isInteger(Math.log2(stats.failed))) {
        remark(
          `operation ${task.operation} failed: ${task.reason} (failed so far: ${stats.failed})`,
        );
      }
    } else if (task.operation === BLKIF_OP_READ) stats.bytesRead += task.lengthBytes;
    else {
      stats.bytesWritten += task.lengthBytes;
      if (task.operation === BLKIF_OP_FLUSH_DISKCACHE) stats.flushes++;
    }
  }

  private trace(kind: number, task: Task, b: number, c = 0, d = 0): void {
    const { guest, port } = this.options;
    guest.machine.trace.emit(kind, guest.id, (port.port << 16) | task.id_lo, b, c, d);
  }

  private recycle(task: Task): void {
    task.end(this.options.bounce);
    this.unused.push(task);
  }
}

/** A flush that carries data writes it first, so that it is on stable storage with all that was written before. */
function perform(task: Task, disk: Disk): void | Promise<void> {
  if (task.operation === BLKIF_OP_READ) return disk.read(task.offsetBytes, task.views);
  if (task.operation !== BLKIF_OP_FLUSH_DISKCACHE) return disk.write(task.offsetBytes, task.views);
  if (task.views.length === 0) return disk.flush();
  const written = disk.write(task.offsetBytes, task.views);
  return written === undefined ? disk.flush() : written.then(() => disk.flush());
}
