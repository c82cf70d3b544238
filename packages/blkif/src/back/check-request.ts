/** What a backend demands of a request before it does anything. Source: io/blkif.h; XSA-142, XSA-155, XSA-513. */

import {
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
} from '../abi.ts';
import type { BlkifRequest, BlkifSegment } from '../blkif-layout.ts';
import { SECTOR_BYTES } from '../disk/disk.ts';

/** Sectors in a page: segments count from 0 to 7. */
export const SECTORS_PER_PAGE = 4096 / SECTOR_BYTES;

/** What the frontend may reach: the `mode` of the device decides, and the disk. */
export interface Limits {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
}

/** Why a request is not carried out, and the status to answer with. */
export interface Refusal {
  readonly status: number;
  readonly reason: string;
}

const refusal = (reason: string, status = BLKIF_RSP_ERROR): Refusal => ({ status, reason });

const REFUSED = {
  operation: refusal('operation not offered', BLKIF_RSP_EOPNOTSUPP),
  noSegments: refusal('no segments'),
  tooManySegments: refusal('more than 11 segments'),
  readOnly: refusal('the disk is read-only'),
  sectors: refusal('a segment needs 0 <= first_sect <= last_sect <= 7'),
  range: refusal('reaches beyond the end of the disk'),
};

/**
 * Undefined when the request may be carried out; otherwise nothing is done for it. A private copy of the request is
 * judged, and only it may be acted on.
 */
export function checkRequest(request: Readonly<BlkifRequest>, disk: Limits): Refusal | undefined {
  const { operation, nr_segments: segments } = request;
  const flush = operation === BLKIF_OP_FLUSH_DISKCACHE;
  if (operation !== BLKIF_OP_READ && operation !== BLKIF_OP_WRITE && !flush) {
    return REFUSED.operation;
  }
  if (segments === 0) return flush ? undefined : REFUSED.noSegments;
  if (segments > BLKIF_MAX_SEGMENTS_PER_REQUEST) return REFUSED.tooManySegments;
  if (disk.readOnly && operation !== BLKIF_OP_READ) return REFUSED.readOnly;
  let sectors512 = 0;
  for (let i = 0; i < segments; i++) {
    const { first_sect, last_sect } = request.seg[i] as BlkifSegment;
    if (first_sect > last_sect || last_sect >= SECTORS_PER_PAGE) return REFUSED.sectors;
    sectors512 += last_sect - first_sect + 1;
  }
  // A number beyond 2^53 is not exact, but it does not wrap either: it stays beyond every disk.
  const end512 = sectorOf(request) + sectors512;
  return end512 * SECTOR_BYTES <= disk.sizeBytes ? undefined : REFUSED.range;
}

/** `sector_number`, in units of 512 bytes. */
export const sectorOf = (request: Readonly<BlkifRequest>): number =>
  request.sector_number_hi * 2 ** 32 + request.sector_number_lo;
