/** Pages that the backend may still reach although the frontend is done with them (XSA-396). */

import type { GrantReferences, GrantRef, GuestMemory, GuestPage } from '@ringside/gnttab-core';
import type { XenbusFrontend } from '@ringside/xenstore-lite';
import { XenbusStateClosed, XenbusStateUnknown } from '@ringside/xenstore-lite/abi';

interface Kept {
  readonly ref: GrantRef;
  readonly page: GuestPage;
  /** Free the page when access is over; otherwise it is somebody else's to free. */
  free: boolean;
}

/** Ending a grant is one attempt that answers 'busy' while the page is in use; what is busy is kept here, and never reused. */
export class StillShared {
  private readonly grants: GrantReferences;
  private readonly memory: GuestMemory;
  private kept: Kept[] = [];

  constructor(grants: GrantReferences, memory: GuestMemory) {
    this.grants = grants;
    this.memory = memory;
  }

  /** How many grants cannot be ended yet. */
  get count(): number {
    return this.kept.length;
  }

  /** Whether the backend may still reach the page. */
  has(page: GuestPage): boolean {
    return this.kept.some((entry) => entry.page === page);
  }

  add(ref: GrantRef, page: GuestPage): void {
    this.kept.push({ ref, page, free: false });
  }

  /** Free a page now, or as soon as the backend cannot reach it any more. */
  freePage(page: GuestPage): void {
    const entry = this.kept.find((kept) => kept.page === page);
    if (entry === undefined) this.memory.freePage(page);
    else entry.free = true;
  }

  /** Try again to end what is kept. */
  retry(): void {
    const over = this.kept.filter(({ ref }) => this.grants.endForeignAccess(ref) === 'ended');
    this.kept = this.kept.filter((entry) => !over.includes(entry));
    for (const { page, free } of over) if (free) this.freePage(page);
  }

  /** Try again now, and if that does not suffice when the backend is gone. */
  retryWhenGone(device: XenbusFrontend): void {
    this.retry();
    if (this.count === 0) return;
    const retry = () => this.retry();
    device.waitForOtherEnd([XenbusStateClosed, XenbusStateUnknown]).then(retry, retry);
  }
}
