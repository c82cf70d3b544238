/** What a frontend knows of its disk: read from the backend, checked, then believed. */

import type { XenbusFrontend } from '@ringside/xenstore-lite';
import { VDISK_READONLY } from '../abi.ts';
import { vbdFeatureKeys, vbdPropertyKeys } from '../keys.ts';
import { BlkfrontError } from './errors.ts';

export interface DiskProperties {
  /** Size in units of 512 bytes. */
  readonly sectors512: number;
  /** Logical block in bytes: requests are multiples of it. */
  readonly sectorSize: number;
  /** Physical block in bytes. */
  readonly physicalSectorSize: number;
  readonly readOnly: boolean;
  /** Bits VDISK_*. */
  readonly info: number;
  /** Whether the backend takes flushes. */
  readonly flush: boolean;
}

/** @throws XenbusKeyError or BlkfrontError naming the key that makes no sense. */
export async function readProperties(device: XenbusFrontend): Promise<DiskProperties> {
  const keys = await device.readOtherEnd({ ...vbdPropertyKeys, ...vbdFeatureKeys });
  const sectorSize = keys['sector-size'];
  const physicalSectorSize = keys['physical-sector-size'] ?? sectorSize;
  if (!Number.isInteger(Math.log2(sectorSize))) {
    throw new BlkfrontError(`sector-size is ${sectorSize}; allowed: 512, 1024, 2048, 4096`);
  }
  if (physicalSectorSize % sectorSize !== 0) {
    throw new BlkfrontError(
      `physical-sector-size is ${physicalSectorSize}; allowed: multiples of sector-size, ${sectorSize}`,
    );
  }
  return {
    sectors512: keys.sectors,
    sectorSize,
    physicalSectorSize,
    readOnly: (keys.info & VDISK_READONLY) !== 0,
    info: keys.info,
    flush: keys['feature-flush-cache'],
  };
}
