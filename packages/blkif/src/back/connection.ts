/** What a backend holds of a frontend while they are connected: the mapped ring, the bound port, the bounce pages. */

import {
  BackRing,
  domId,
  grantRef,
  port,
  type EventPort,
  type ForeignMapping,
  type Guest,
} from '@ringside/gnttab-core';
import { BLKIF_MAX_SEGMENTS_PER_REQUEST } from '../abi.ts';
import { blkifLayout, type BlkifRequest, type BlkifResponse } from '../blkif-layout.ts';
import type { Disk } from '../disk/disk.ts';
import { BlkbackRing } from './blkback-ring.ts';
import { BouncePages } from './bounce-pages.ts';
import type { Limits } from './check-request.ts';
import { newBlkbackStats, type BlkbackStats } from './stats.ts';

export interface ConnectionOptions {
  readonly guest: Guest;
  /** Domain of the frontend, and what it published. */
  readonly frontend: number;
  readonly ringRef: number;
  readonly eventChannel: number;
  readonly disk: Disk;
  readonly limits: Limits;
  readonly remark: (line: string) => void;
}

export class Connection {
  readonly stats: BlkbackStats = newBlkbackStats();
  private readonly mapping: ForeignMapping;
  private readonly port: EventPort;
  private readonly bounce: BouncePages;
  private readonly ring: BlkbackRing;

  /** @throws GrantError, EventChannelError or RangeError when the frontend published nonsense; nothing is held then. */
  constructor({ guest, frontend, ringRef, eventChannel, disk, limits, remark }: ConnectionOptions) {
    const peer = domId(frontend);
    this.mapping = guest.mappings.map(peer, grantRef(ringRef));
    let ring: BackRing<BlkifRequest, BlkifResponse>;
    try {
      ring = attachRing(guest, this.mapping);
      this.port = guest.events.bindInterdomain(peer, port(eventChannel));
    } catch (error) {
      this.mapping.unmap();
      throw error;
    }
    this.bounce = new BouncePages(guest.memory, ring.size * BLKIF_MAX_SEGMENTS_PER_REQUEST);
    this.ring = new BlkbackRing({
      guest,
      frontend: peer,
      ring,
      port: this.port,
      disk,
      limits,
      bounce: this.bounce,
      stats: this.stats,
      remark,
    });
  }

  /** Serve what is on the ring and what will come. */
  start(): void {
    this.ring.start();
  }

  /** Let go of the frontend at once. Resolves when the disk has finished what it was doing for it. */
  async close(): Promise<void> {
    const idle = this.ring.stop();
    this.port.close();
    this.mapping.unmap();
    await idle;
    this.bounce.free();
  }
}

/** At rsp_prod: what an earlier backend has not answered is seen again. */
function attachRing(guest: Guest, { va }: ForeignMapping): BackRing<BlkifRequest, BlkifResponse> {
  const ring = BackRing.attach(guest.memory, va, blkifLayout('x86_64'), { at: 'rsp_prod' });
  const { reqProd } = ring.shared;
  if (ring.requestProdOverflow(reqProd)) {
    throw new RangeError(
      `the ring has req_prod ${reqProd} and rsp_prod ${ring.rspProdPvt}; allowed are at most ${ring.size} requests`,
    );
  }
  return ring;
}
