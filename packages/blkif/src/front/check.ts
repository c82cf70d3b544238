/** What can be asked of a block device. */

import { PAGE_SIZE } from '@ringside/gnttab-core';
import { BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_READ, BLKIF_OP_WRITE } from '../abi.ts';
import { SECTOR_BYTES } from '../disk/disk.ts';
import { BlkfrontError } from './errors.ts';
import type { DiskProperties } from './properties.ts';
import type { BlockRequest, GuestBuffer } from './request.ts';

/** @throws BlkfrontError when the disk cannot have been meant to do this. */
export function assertRequest(request: BlockRequest, disk: DiskProperties): void {
  const { operation, sector512, buffers } = request;
  if (operation === BLKIF_OP_FLUSH_DISKCACHE) {
    if (buffers.length > 0) throw new BlkfrontError('a flush has no buffers');
    return;
  }
  if (operation !== BLKIF_OP_READ && operation !== BLKIF_OP_WRITE) {
    throw new BlkfrontError(`operation ${operation}; allowed: read, write, flush`);
  }
  let lengthBytes = 0;
  for (let i = 0; i < buffers.length; i++) {
    const buffer = buffers[i] as GuestBuffer;
    const end = buffer.offsetBytes + buffer.lengthBytes;
    const aligned =
      buffer.offsetBytes % SECTOR_BYTES === 0 && buffer.lengthBytes % disk.sectorSize === 0;
    if (!(aligned && buffer.offsetBytes >= 0 && buffer.lengthBytes > 0 && end <= PAGE_SIZE)) {
      throw new BlkfrontError(
        `a buffer of ${buffer.lengthBytes} bytes at offset ${buffer.offsetBytes} of its page; allowed: multiples of ${disk.sectorSize} inside the page`,
      );
    }
    lengthBytes += buffer.lengthBytes;
  }
  assertRange(operation, sector512, lengthBytes, disk);
}

/** @throws BlkfrontError unless the sectors are there, whole, and may be written if that is asked. */
export function assertRange(
  operation: number,
  sector512: number,
  lengthBytes: number,
  disk: DiskProperties,
): void {
  const end512 = sector512 + lengthBytes / SECTOR_BYTES;
  const blocks =
    (sector512 * SECTOR_BYTES) % disk.sectorSize === 0 && lengthBytes % disk.sectorSize === 0;
  if (
    !(
      Number.isInteger(sector512) &&
      sector512 >= 0 &&
      lengthBytes > 0 &&
      blocks &&
      end512 <= disk.sectors512
    )
  ) {
    throw new BlkfrontError(
      `${lengthBytes} bytes at sector ${sector512}; allowed: multiples of ${disk.sectorSize} bytes within ${disk.sectors512} sectors of 512`,
    );
  }
  if (operation === BLKIF_OP_WRITE && disk.readOnly)
    throw new BlkfrontError('the disk is read-only');
}
