/** Pages of the driver domain between grant references and the disk. */

import { GuestMemoryError, type GuestMemory, type GuestPage } from '@ringside/gnttab-core';
import { SECTOR_BYTES } from '../disk/disk.ts';
import { SECTORS_PER_PAGE } from './check-request.ts';

/** One page, with the views of its sector ranges that were needed so far: making a view costs as much as a page copy. */
export class BouncePage {
  readonly page: GuestPage;
  /** What a grant copy calls the page. */
  readonly frame: number;
  private readonly memory: GuestMemory;
  private readonly views: (Uint8Array | undefined)[] = Array.from({
    length: SECTORS_PER_PAGE ** 2,
  });

  constructor(memory: GuestMemory) {
    this.memory = memory;
    this.page = memory.allocPage();
    this.frame = memory.frameOf(this.page);
  }

  /** The bytes of these sectors, both ends included. */
  sectors(first: number, last: number): Uint8Array {
    const key = first * SECTORS_PER_PAGE + last;
    const known = this.views[key];
    // Where memory can grow the views of before are detached, and have no length.
    if (known !== undefined && known.length > 0) return known;
    const va = this.page.va + first * SECTOR_BYTES;
    return (this.views[key] = this.memory.bytes(va, (last - first + 1) * SECTOR_BYTES, 'write'));
  }
}

/** A pool that grows as needed, up to a limit, and last in is first out: those pages are in the processor's cache. */
export class BouncePages {
  private readonly memory: GuestMemory;
  private readonly limit: number;
  private readonly unused: BouncePage[] = [];
  private allocated = 0;

  constructor(memory: GuestMemory, limit: number) {
    this.memory = memory;
    this.limit = limit;
  }

  /** A page with anything in it; undefined when the limit is reached or the domain has no page left. */
  take(): BouncePage | undefined {
    return this.unused.pop() ?? this.grow();
  }

  give(page: BouncePage): void {
    this.unused.push(page);
  }

  /** Hand the unused pages back to the domain; those still out are handed back by calling again later. */
  free(): void {
    for (const { page } of this.unused.splice(0)) {
      this.memory.freePage(page);
      this.allocated--;
    }
  }

  private grow(): BouncePage | undefined {
    if (this.allocated === this.limit) return undefined;
    try {
      const page = new BouncePage(this.memory);
      this.allocated++;
      return page;
    } catch (error) {
      if (error instanceof GuestMemoryError) return undefined;
      throw error;
    }
  }
}
