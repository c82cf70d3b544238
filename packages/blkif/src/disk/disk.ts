/** What a block backend serves: a flat run of bytes in units of 512. Pure; runs anywhere. */

/** Bytes in the unit that every sector number of blkif counts in, whatever `sector-size` says. */
export const SECTOR_BYTES = 512;

/**
 * A disk. Each operation either finishes before it returns (and returns nothing) or returns a promise; a disk that can
 * answer at once should, because a promise costs more than a page copy. Operations may overlap and finish in any order.
 *
 * Failures throw or reject with {@link DiskError}. Views may lie on shared memory; they belong to the disk until the
 * operation is over.
 */
export interface Disk {
  /** Size in bytes, a multiple of 512, at least 512. */
  readonly sizeBytes: number;
  /** True when {@link write} is refused. */
  readonly readOnly: boolean;
  /** Fill the views, one after another, from `offsetBytes` on. The range must lie inside the disk. */
  read(offsetBytes: number, views: readonly Uint8Array[]): void | Promise<void>;
  /** Store the views, one after another, from `offsetBytes` on. The range must lie inside the disk. */
  write(offsetBytes: number, views: readonly Uint8Array[]): void | Promise<void>;
  /** Put everything whose write has finished on stable storage. */
  flush(): void | Promise<void>;
  /** Give back what the disk holds; nothing may be asked of it afterwards. */
  close(): void | Promise<void>;
}

/** Why a disk could not be opened, read, written or flushed: one line, with the name of the disk. */
export class DiskError extends Error {
  override readonly name = 'DiskError';
}

/**
 * Bytes that the views hold together.
 * @throws RangeError when they would reach outside the disk: the caller has validated the range, so this is its bug.
 */
export function lengthOnDisk(
  disk: Disk,
  offsetBytes: number,
  views: readonly Uint8Array[],
): number {
  let lengthBytes = 0;
  for (let i = 0; i < views.length; i++) lengthBytes += (views[i] as Uint8Array).length;
  if (!(offsetBytes >= 0 && offsetBytes + lengthBytes <= disk.sizeBytes)) {
    throw new RangeError(
      `${lengthBytes} bytes at ${offsetBytes} reach outside a disk of ${disk.sizeBytes} bytes`,
    );
  }
  return lengthBytes;
}

/** @throws DiskError unless `sizeBytes` is a size that a disk can have. */
export function assertDiskSize(sizeBytes: number, name: string): void {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < SECTOR_BYTES || sizeBytes % SECTOR_BYTES) {
    throw new DiskError(
      `${name}: a disk of ${sizeBytes} bytes; the size must be a multiple of 512, and at least 512`,
    );
  }
}
