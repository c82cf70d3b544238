/** One request while the backend carries it out, and the batch of grant copies that moves its data. */

import { GnttabCopy, type DomId, type Hypercalls } from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  GNTCOPY_dest_gref,
  GNTCOPY_source_gref,
  GNTST_okay,
} from '@ringside/gnttab-core/abi';
import { BLKIF_MAX_SEGMENTS_PER_REQUEST, BLKIF_RSP_ERROR, BLKIF_RSP_OKAY } from '../abi.ts';
import type { BlkifRequest, BlkifResponse, BlkifSegment } from '../blkif-layout.ts';
import { SECTOR_BYTES } from '../disk/disk.ts';
import type { BouncePage, BouncePages } from './bounce-pages.ts';
import { sectorOf, type Refusal } from './check-request.ts';

/**
 * What is kept of a request until its response: also the response itself. Pooled; everything in it is the backend's own,
 * so the frontend can rewrite its ring slot as it likes.
 */
export class Task implements BlkifResponse {
  id_lo = 0;
  id_hi = 0;
  operation = 0;
  /** BLKIF_RSP_*: how it stands so far. */
  status = BLKIF_RSP_OKAY;
  /** What went wrong, if something did. */
  reason = '';
  offsetBytes = 0;
  lengthBytes = 0;
  /** One per segment, in disk order. */
  readonly views: Uint8Array[] = [];
  private readonly pages: BouncePage[] = [];
  private readonly grefs = new Uint32Array(BLKIF_MAX_SEGMENTS_PER_REQUEST);
  private readonly offsets = new Uint16Array(BLKIF_MAX_SEGMENTS_PER_REQUEST);

  /** Take over a request; unless it is refused it gets a page for each segment. */
  begin(request: Readonly<BlkifRequest>, refusal: Refusal | undefined, bounce: BouncePages): void {
    this.id_lo = request.id_lo;
    this.id_hi = request.id_hi;
    this.operation = request.operation;
    this.status = BLKIF_RSP_OKAY;
    this.lengthBytes = 0;
    if (refusal !== undefined) return this.fail(refusal.reason, refusal.status);
    this.offsetBytes = sectorOf(request) * SECTOR_BYTES;
    for (let i = 0; i < request.nr_segments; i++) {
      const { gref, first_sect, last_sect } = request.seg[i] as BlkifSegment;
      const page = bounce.take();
      if (page === undefined) return this.fail('the driver domain is out of pages');
      const view = page.sectors(first_sect, last_sect);
      this.pages.push(page);
      this.views.push(view);
      this.lengthBytes += view.length;
      this.grefs[i] = gref;
      this.offsets[i] = first_sect * SECTOR_BYTES;
    }
  }

  fail(reason: string, status = BLKIF_RSP_ERROR): void {
    this.status = status;
    this.reason = reason;
  }

  /** Add the copies of all segments to a batch, unless it failed already. */
  copy(copies: CopyBatch, direction: 'from grants' | 'to grants'): void {
    if (this.status !== BLKIF_RSP_OKAY) return;
    for (let i = 0; i < this.pages.length; i++) {
      const { frame } = this.pages[i] as BouncePage;
      const lengthBytes = (this.views[i] as Uint8Array).length;
      const gref = this.grefs[i] as number;
      copies.add(this, direction, gref, frame, this.offsets[i] as number, lengthBytes);
    }
  }

  /** Nothing more will be asked of it. */
  end(bounce: BouncePages): void {
    // Not `length = 0`, which would throw the array's memory away.
    while (this.pages.length > 0) {
      bounce.give(this.pages.pop() as BouncePage);
      this.views.pop();
    }
  }
}

/** Grant copies of many tasks, done in one hypercall. A copy that fails fails its task, and no other. */
export class CopyBatch {
  private readonly hypercalls: Hypercalls;
  private readonly peer: DomId;
  private readonly ops: GnttabCopy[] = [];
  private readonly owners: Task[] = [];
  private count = 0;

  constructor(hypercalls: Hypercalls, peer: DomId) {
    this.hypercalls = hypercalls;
    this.peer = peer;
  }

  /** One segment: the same range of the granted page and of our own frame. */
  add(
    owner: Task,
    direction: 'from grants' | 'to grants',
    gref: number,
    frame: number,
    offsetBytes: number,
    lengthBytes: number,
  ): void {
    const op = (this.ops[this.count] ??= new GnttabCopy());
    this.owners[this.count++] = owner;
    const inward = direction === 'from grants';
    const granted = inward ? op.source : op.dest;
    const own = inward ? op.dest : op.source;
    granted.ref = gref;
    granted.domid = this.peer;
    granted.offset = offsetBytes;
    own.gmfn = frame;
    own.domid = DOMID_SELF;
    own.offset = offsetBytes;
    op.len = lengthBytes;
    op.flags = inward ? GNTCOPY_source_gref : GNTCOPY_dest_gref;
  }

  /** Do what was added since the last time. */
  run(): void {
    const { count } = this;
    if (count === 0) return;
    this.count = 0;
    this.hypercalls.gnttabCopy(this.ops, count);
    for (let i = 0; i < count; i++) {
      const { status } = this.ops[i] as GnttabCopy;
      if (status !== GNTST_okay) (this.owners[i] as Task).fail(`grant copy answered ${status}`);
    }
  }
}
