/** Requests as a frontend's user makes them, and as the frontend keeps them. */

import type { GrantRef, GuestPage } from '@ringside/gnttab-core';
import { BLKIF_MAX_SEGMENTS_PER_REQUEST, BLKIF_RSP_OKAY } from '../abi.ts';

/** A range of one page of the guest's memory, in multiples of 512 bytes. */
export interface GuestBuffer {
  readonly page: GuestPage;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/**
 * One read, write or flush of any length. It and its buffers must stay as they are until it is done.
 *
 * Buffers are shared with the backend as they are, whole pages, without a copy: what else is in a page the backend can
 * see, and in a read also change.
 */
export interface BlockRequest {
  /** BLKIF_OP_READ, BLKIF_OP_WRITE or BLKIF_OP_FLUSH_DISKCACHE. */
  readonly operation: number;
  /** First sector, in units of 512 bytes. Of no meaning to a flush. */
  readonly sector512: number;
  /** In disk order. None for a flush. */
  readonly buffers: readonly GuestBuffer[];
}

/**
 * Called once when a request is over, with BLKIF_RSP_OKAY, BLKIF_RSP_ERROR or (flush) BLKIF_RSP_EOPNOTSUPP. It may
 * submit again.
 */
export type Done = (status: number) => void;

/** A submitted request; it may take several ring requests. Pooled. */
export class Submission {
  request: BlockRequest | undefined;
  done: Done | undefined;
  /** Where the next ring request starts. */
  nextBuffer = 0;
  nextSector512 = 0;
  /** Ring requests that wait for a response. */
  outstanding = 0;
  /** The first status that was not BLKIF_RSP_OKAY. */
  status = BLKIF_RSP_OKAY;
  /** Next in the queue of those that are not completely on the ring. */
  next: Submission | undefined;

  begin(request: BlockRequest, done: Done): void {
    this.request = request;
    this.done = done;
    this.nextBuffer = 0;
    this.nextSector512 = request.sector512;
    this.outstanding = 0;
    this.status = BLKIF_RSP_OKAY;
    this.next = undefined;
  }

  /** Forget it, and return whom to tell. */
  end(): Done {
    const { done } = this;
    this.request = undefined;
    this.done = undefined;
    return done as Done;
  }
}

/**
 * What the frontend knows of the ring request with one id. The ring slot is never read back: the backend can have
 * rewritten it.
 */
export class Shadow {
  /** The request is on the ring, and its response may come. */
  waiting = false;
  operation = 0;
  submission: Submission | undefined;
  segments = 0;
  readonly refs: GrantRef[] = Array.from({ length: BLKIF_MAX_SEGMENTS_PER_REQUEST });
  readonly pages: GuestPage[] = Array.from({ length: BLKIF_MAX_SEGMENTS_PER_REQUEST });
}
