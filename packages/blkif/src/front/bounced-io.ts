/**
 * Reads and writes of ordinary byte arrays. Their data goes through pages of their own, which hold nothing but the data
 * of one request, or zeros, while the backend can see them (XSA-403).
 */

import { PAGE_SIZE, type GuestMemory, type GuestPage } from '@ringside/gnttab-core';
import { BLKIF_MAX_SEGMENTS_PER_REQUEST, BLKIF_OP_READ, BLKIF_RSP_OKAY } from '../abi.ts';
import { SECTOR_BYTES } from '../disk/disk.ts';
import type { BlockRequest, Done } from './request.ts';
import type { StillShared } from './still-shared.ts';

const CARRIER_BYTES = BLKIF_MAX_SEGMENTS_PER_REQUEST * PAGE_SIZE;

/** One read or write of any length. */
interface Transfer {
  readonly operation: number;
  readonly sector512: number;
  readonly data: Uint8Array;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  /** How much of `data` is under way or done. */
  startedBytes: number;
  outstanding: number;
  error: unknown;
}

/** The pages of one ring request, used again and again. */
class Carrier implements BlockRequest {
  operation = 0;
  sector512 = 0;
  readonly buffers: { page: GuestPage; offsetBytes: number; lengthBytes: number }[] = [];
  /** Allocated so far, at most 11. */
  readonly pages: GuestPage[] = [];
}

export interface BouncedIoOptions {
  readonly memory: GuestMemory;
  readonly stillShared: StillShared;
  readonly submit: (request: BlockRequest, done: Done) => void;
  /** The error to reject with when a request ended with this status. */
  readonly failure: (operation: number, status: number) => Error;
  /** How many ring requests to have under way at once; each takes up to 11 pages, when it needs them. */
  readonly depth: number;
}

export class BouncedIo {
  private readonly options: BouncedIoOptions;
  private readonly carriers: Carrier[];
  private readonly unused: Carrier[];
  private readonly transfers: Transfer[] = [];

  constructor(options: BouncedIoOptions) {
    this.options = options;
    this.carriers = Array.from({ length: options.depth }, () => new Carrier());
    this.unused = [...this.carriers];
  }

  /**
   * Read the disk into `data`, or write `data` to it. `data` is a multiple of 512 bytes long and must stay as it is until
   * the promise settles. Rejects when any part failed; what a failed read left in `data` came from the disk, or is as it was.
   */
  transfer(operation: number, sector512: number, data: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      const progress = { startedBytes: 0, outstanding: 0, error: undefined };
      this.transfers.push({ operation, sector512, data, resolve, reject, ...progress });
      this.pump();
    });
  }

  /** Give the pages back; those that the backend can still reach as soon as it cannot. */
  free(): void {
    for (const carrier of this.carriers) {
      for (const page of carrier.pages.splice(0)) this.options.stillShared.freePage(page);
    }
  }

  private pump(): void {
    for (;;) {
      const transfer = this.transfers[0];
      const carrier = this.unused.at(-1);
      if (transfer === undefined || carrier === undefined) return;
      const from = transfer.startedBytes;
      const part = transfer.data.subarray(from, from + CARRIER_BYTES);
      try {
        this.load(carrier, transfer.operation, part);
      } catch (error) {
        // The guest is out of pages: what is under way has enough to go on with, and what is not cannot start.
        if (this.unused.length < this.carriers.length) return;
        this.transfers.shift();
        transfer.reject(error);
        continue;
      }
      this.unused.pop();
      transfer.startedBytes += part.length;
      transfer.outstanding++;
      if (transfer.startedBytes === transfer.data.length) this.transfers.shift();
      carrier.sector512 = transfer.sector512 + from / SECTOR_BYTES;
      this.options.submit(carrier, (status) => this.over(carrier, transfer, part, status));
    }
  }

  /** Lay a part of a transfer out in the pages of a carrier. */
  private load(carrier: Carrier, operation: number, part: Uint8Array): void {
    const { memory } = this.options;
    carrier.operation = operation;
    carrier.buffers.length = 0;
    for (let at = 0; at < part.length; at += PAGE_SIZE) {
      const page = (carrier.pages[at / PAGE_SIZE] ??= memory.allocPage());
      const lengthBytes = Math.min(PAGE_SIZE, part.length - at);
      const bytes = memory.bytes(page.va, PAGE_SIZE, 'write');
      if (operation === BLKIF_OP_READ) bytes.fill(0);
      else bytes.fill(0, lengthBytes).set(part.subarray(at, at + lengthBytes));
      carrier.buffers.push({ page, offsetBytes: 0, lengthBytes });
    }
  }

  private over(carrier: Carrier, transfer: Transfer, part: Uint8Array, status: number): void {
    const { memory, failure } = this.options;
    if (status !== BLKIF_RSP_OKAY) transfer.error ??= failure(transfer.operation, status);
    else if (transfer.operation === BLKIF_OP_READ) {
      carrier.buffers.forEach(({ page, lengthBytes }, i) =>
        part.set(memory.bytes(page.va, lengthBytes, 'read'), i * PAGE_SIZE),
      );
    }
    this.unused.push(carrier);
    transfer.outstanding--;
    if (transfer.outstanding === 0 && transfer.startedBytes === transfer.data.length) {
      if (transfer.error === undefined) transfer.resolve();
      else transfer.reject(transfer.error);
    }
    this.pump();
  }
}
