/** One request that is under way, with pages of its own; used again and again. */
import type { BlockRequest, GuestBuffer } from '@ringside/blkif';
import { type Guest, type GuestPage, PAGE_SIZE } from '@ringside/gnttab-core';

/** See above. `free` it when its last request is over. */
export class BlockSlot {
  offsetBytes = 0;
  lengthBytes = 0;
  /** Number of the request in its job, for the trace. */
  number = 0;
  startNs = 0;
  elapsedNs = 0;
  /** Called when the request is over. */
  done: (status: number) => void = () => {};
  readonly request: { -readonly [K in keyof BlockRequest]: BlockRequest[K] };
  readonly #guest: Guest;
  readonly #pages: readonly GuestPage[];

  /** Throws GuestMemoryError if the guest has not enough pages. */
  constructor(guest: Guest, blockBytes: number) {
    this.#guest = guest;
    this.#pages = Array.from({ length: Math.ceil(blockBytes / PAGE_SIZE) }, () =>
      guest.memory.allocPage(),
    );
    this.request = { operation: 0, sector512: 0, buffers: [] };
  }

  /** Aims the request at a part of the disk. */
  place(operation: number, offsetBytes: number, lengthBytes: number): void {
    this.request.operation = operation;
    this.request.sector512 = offsetBytes / 512;
    this.offsetBytes = offsetBytes;
    if (this.lengthBytes === lengthBytes) return;
    this.lengthBytes = lengthBytes;
    this.request.buffers = this.#buffers(lengthBytes);
  }

  #buffers(lengthBytes: number): GuestBuffer[] {
    return this.#pages.slice(0, Math.ceil(lengthBytes / PAGE_SIZE)).map((page, i) => ({
      page,
      offsetBytes: 0,
      lengthBytes: Math.min(PAGE_SIZE, lengthBytes - i * PAGE_SIZE),
    }));
  }

  /** The bytes of the block, page by page, for this turn. */
  views(access: 'read' | 'write'): Uint8Array[] {
    return this.request.buffers.map(({ page, lengthBytes }) =>
      this.#guest.memory.bytes(page.va, lengthBytes, access),
    );
  }

  free(): void {
    this.#guest.memory.freePages(this.#pages);
  }
}
