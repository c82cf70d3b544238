/**
 * The block split driver. What needs Node is under `@ringside/blkif/node`, the constants and structs of the header under
 * `@ringside/blkif/abi`.
 */

export { startBlkback, type Blkback, type BlkbackOptions } from './back/blkback.ts';
export type { OpenDisk, Vbd } from './back/vbd.ts';
export type { BlkbackStats } from './back/stats.ts';
export { blkifLayout } from './blkif-layout.ts';
export type { BlkifRequest, BlkifResponse, BlkifSegment } from './blkif-layout.ts';
export { DiskError, SECTOR_BYTES, type Disk } from './disk/disk.ts';
export { memoryDisk, type MemoryDisk, type MemoryDiskOptions } from './disk/memory-disk.ts';
export type { Blkfront, BlkfrontState } from './front/blkfront.ts';
export { connectBlkfront, type BlkfrontOptions } from './front/connect.ts';
export { BlkfrontError, BlockIoError } from './front/errors.ts';
export type { DiskProperties } from './front/properties.ts';
export type { BlockRequest, Done, GuestBuffer } from './front/request.ts';
export type { BlkfrontStats } from './front/stats.ts';
export * from './keys.ts';
export { BLK_TRACE } from './trace.ts';
