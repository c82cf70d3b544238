/** A disk in memory. Sparse: a page that was never written takes no memory and reads as zeros. */

import { PAGE_SIZE, type GuestMemory } from '@ringside/gnttab-core';
import { assertDiskSize, DiskError, lengthOnDisk, type Disk } from './disk.ts';
import { domainPages, privatePages, type PageStore } from './page-store.ts';

const PAGES_PER_TABLE = 1024;
/** What was never written. Copied, because `fill` goes through shared memory byte by byte. */
const ZEROS = new Uint8Array(PAGE_SIZE);

/** The pages of 4 MiB of disk, undefined where nothing was written. */
type PageTable = (Uint8Array | undefined)[];

export interface MemoryDiskOptions {
  /** Size in bytes, a multiple of 512. Default: the length of `content`. */
  readonly sizeBytes?: number;
  /** What the disk starts with, from its first byte on; copied. Default: zeros. */
  readonly content?: Uint8Array;
  /** Refuse writes. Default: false. */
  readonly readOnly?: boolean;
  /** Keep the data in pages of the driver domain, which is faster. Default: outside the machine, where there is more room. */
  readonly memory?: GuestMemory;
}

/** @throws DiskError when the size is not a multiple of 512, or the content is larger than the disk. */
export function memoryDisk(options: MemoryDiskOptions): MemoryDisk {
  const content = options.content ?? new Uint8Array(0);
  const sizeBytes = options.sizeBytes ?? content.length;
  assertDiskSize(sizeBytes, 'memory disk');
  if (content.length > sizeBytes) {
    throw new DiskError(
      `memory disk: ${content.length} bytes of content do not fit into ${sizeBytes} bytes`,
    );
  }
  const pages = options.memory === undefined ? privatePages() : domainPages(options.memory);
  return new MemoryDisk(sizeBytes, options.readOnly ?? false, pages, content);
}

/** See {@link memoryDisk}. Every operation finishes before it returns. */
export class MemoryDisk implements Disk {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  private readonly tables: (PageTable | undefined)[] = [];
  private readonly pages: PageStore;

  constructor(sizeBytes: number, readOnly: boolean, pages: PageStore, content: Uint8Array) {
    this.sizeBytes = sizeBytes;
    this.readOnly = readOnly;
    this.pages = pages;
    this.store(0, content);
  }

  read(offsetBytes: number, views: readonly Uint8Array[]): void {
    lengthOnDisk(this, offsetBytes, views);
    let offset = offsetBytes;
    for (let i = 0; i < views.length; i++) {
      const view = views[i] as Uint8Array;
      this.load(offset, view);
      offset += view.length;
    }
  }

  write(offsetBytes: number, views: readonly Uint8Array[]): void {
    lengthOnDisk(this, offsetBytes, views);
    if (this.readOnly) throw new DiskError('memory disk: read-only');
    let offset = offsetBytes;
    for (let i = 0; i < views.length; i++) {
      const view = views[i] as Uint8Array;
      this.store(offset, view);
      offset += view.length;
    }
  }

  /** Nothing to do: there is nothing more stable than this memory. */
  flush(): void {}

  close(): void {
    this.tables.length = 0;
    this.pages.free();
  }

  private load(offsetBytes: number, into: Uint8Array): void {
    for (let done = 0; done < into.length;) {
      const number = Math.floor((offsetBytes + done) / PAGE_SIZE);
      const inPage = offsetBytes + done - number * PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - inPage, into.length - done);
      const page = this.tables[Math.floor(number / PAGES_PER_TABLE)]?.[number % PAGES_PER_TABLE];
      this.pages.copy(into, done, page ?? ZEROS, inPage, count);
      done += count;
    }
  }

  private store(offsetBytes: number, from: Uint8Array): void {
    for (let done = 0; done < from.length;) {
      const number = Math.floor((offsetBytes + done) / PAGE_SIZE);
      const inPage = offsetBytes + done - number * PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - inPage, from.length - done);
      this.pages.copy(this.pageForWriting(number), inPage, from, done, count);
      done += count;
    }
  }

  private pageForWriting(number: number): Uint8Array {
    const table = (this.tables[Math.floor(number / PAGES_PER_TABLE)] ??= Array.from({
      length: PAGES_PER_TABLE,
    }));
    return (table[number % PAGES_PER_TABLE] ??= this.pages.take());
  }
}
