/** A disk in memory. Sparse: a page that was never written takes no memory and reads as zeros. */

import { assertDiskSize, DiskError, lengthOnDisk, type Disk } from './disk.ts';

const PAGE_BYTES = 4096;
const PAGES_PER_TABLE = 1024;
const TABLE_BYTES = PAGE_BYTES * PAGES_PER_TABLE;

/** The pages of 4 MiB of disk, undefined where nothing was written. */
type PageTable = (Uint8Array | undefined)[];

export interface MemoryDiskOptions {
  /** Size in bytes, a multiple of 512. Default: the length of `content`. */
  readonly sizeBytes?: number;
  /** What the disk starts with, from its first byte on; copied. Default: zeros. */
  readonly content?: Uint8Array;
  /** Refuse writes. Default: false. */
  readonly readOnly?: boolean;
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
  return new MemoryDisk(sizeBytes, options.readOnly ?? false, content);
}

/** See {@link memoryDisk}. Every operation finishes before it returns. */
export class MemoryDisk implements Disk {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  private readonly tables = new Map<number, PageTable>();

  constructor(sizeBytes: number, readOnly: boolean, content: Uint8Array) {
    this.sizeBytes = sizeBytes;
    this.readOnly = readOnly;
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
    this.tables.clear();
  }

  private load(offsetBytes: number, into: Uint8Array): void {
    for (let done = 0; done < into.length;) {
      const offset = offsetBytes + done;
      const inPage = offset % PAGE_BYTES;
      const count = Math.min(PAGE_BYTES - inPage, into.length - done);
      const page = this.tables.get(Math.floor(offset / TABLE_BYTES))?.[indexInTable(offset)];
      if (page === undefined) into.fill(0, done, done + count);
      // A whole page is the common case, and making the view that a part needs costs as much as the copy.
      else into.set(count === PAGE_BYTES ? page : page.subarray(inPage, inPage + count), done);
      done += count;
    }
  }

  private store(offsetBytes: number, from: Uint8Array): void {
    for (let done = 0; done < from.length;) {
      const offset = offsetBytes + done;
      const inPage = offset % PAGE_BYTES;
      const count = Math.min(PAGE_BYTES - inPage, from.length - done);
      const part = count === from.length ? from : from.subarray(done, done + count);
      this.pageForWriting(offset).set(part, inPage);
      done += count;
    }
  }

  private pageForWriting(offsetBytes: number): Uint8Array {
    const key = Math.floor(offsetBytes / TABLE_BYTES);
    let table = this.tables.get(key);
    if (table === undefined)
      this.tables.set(key, (table = Array.from({ length: PAGES_PER_TABLE })));
    return (table[indexInTable(offsetBytes)] ??= new Uint8Array(PAGE_BYTES));
  }
}

const indexInTable = (offsetBytes: number): number =>
  Math.floor((offsetBytes % TABLE_BYTES) / PAGE_BYTES);
