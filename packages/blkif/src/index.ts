/** The block split driver. What needs Node is under `@ringside/blkif/node`. */

export { DiskError, SECTOR_BYTES, type Disk } from './disk/disk.ts';
export { memoryDisk, type MemoryDisk, type MemoryDiskOptions } from './disk/memory-disk.ts';
export { backendKeys, deviceKeys, frontendKeys, KeyError, parseKey, type Key } from './keys.ts';
