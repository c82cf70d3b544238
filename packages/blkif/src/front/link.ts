/** What a frontend shares with its backend to talk at all: the ring page and the event channel. */

import {
  FrontRing,
  type EventPort,
  type Guest,
  type GrantRef,
  type GuestPage,
} from '@ringside/gnttab-core';
import type { DomId } from '@ringside/gnttab-core';
import { blkifLayout, type BlkifRequest, type BlkifResponse } from '../blkif-layout.ts';
import type { StillShared } from './still-shared.ts';

export class Link {
  readonly ring: FrontRing<BlkifRequest, BlkifResponse>;
  readonly ringRef: GrantRef;
  readonly port: EventPort;
  private readonly guest: Guest;
  private readonly page: GuestPage;

  /** @throws GrantError or EventChannelError when the domain has run out of either; nothing is left behind then. */
  constructor(guest: Guest, backend: DomId) {
    const { memory, grants, events } = guest;
    this.guest = guest;
    this.page = memory.allocPage();
    try {
      memory.bytes(this.page.va, 4096, 'write').fill(0);
      this.ring = FrontRing.create(memory, this.page.va, blkifLayout('x86_64'));
      this.port = events.allocUnbound(backend);
    } catch (error) {
      memory.freePage(this.page);
      throw error;
    }
    try {
      this.ringRef = grants.grantForeignAccess(backend, this.page);
    } catch (error) {
      this.port.close();
      memory.freePage(this.page);
      throw error;
    }
  }

  /** Take back what is shared; a ring page that the backend still maps is freed when it does not any more. */
  close(stillShared: StillShared): void {
    this.port.close();
    if (this.guest.grants.endForeignAccess(this.ringRef) === 'busy') {
      stillShared.add(this.ringRef, this.page);
    }
    stillShared.freePage(this.page);
  }
}
