/** The blkif ring: requests and responses as private records, and how they lie in a slot. Source: io/blkif.h. */

import type { RingLayout } from '@ringside/gnttab-core';
import type { Abi } from '@ringside/gnttab-core/abi';
import {
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  blkifRequest,
  blkifResponse,
  blkifSringEntry,
} from './abi.ts';

/** struct blkif_request_segment. Sectors are units of 512 bytes in the granted page; both ends count. */
export interface BlkifSegment {
  gref: number;
  first_sect: number;
  last_sect: number;
}

/**
 * struct blkif_request. 64-bit fields are halves, which costs nothing to read. As many of the 11 segments as
 * `nr_segments` says are meaningful; `nr_segments` itself is what the frontend wrote, 0 to 255.
 */
export interface BlkifRequest {
  operation: number;
  nr_segments: number;
  handle: number;
  id_lo: number;
  id_hi: number;
  sector_number_lo: number;
  sector_number_hi: number;
  readonly seg: readonly BlkifSegment[];
}

/** struct blkif_response. */
export interface BlkifResponse {
  id_lo: number;
  id_hi: number;
  operation: number;
  /** BLKIF_RSP_*, or whatever the backend wrote. */
  status: number;
}

const newRequest = (): BlkifRequest => ({
  operation: 0,
  nr_segments: 0,
  handle: 0,
  id_lo: 0,
  id_hi: 0,
  sector_number_lo: 0,
  sector_number_hi: 0,
  seg: Array.from({ length: BLKIF_MAX_SEGMENTS_PER_REQUEST }, () => ({
    gref: 0,
    first_sect: 0,
    last_sect: 0,
  })),
});

const newResponse = (): BlkifResponse => ({ id_lo: 0, id_hi: 0, operation: 0, status: 0 });

/** How many segments of a request there are to look at, whatever it claims. */
const segmentsOf = (request: Readonly<BlkifRequest>): number =>
  Math.min(request.nr_segments, BLKIF_MAX_SEGMENTS_PER_REQUEST);

/** The ring as a guest of this ABI lays it out (the `protocol` key). */
export function blkifLayout(abi: Abi): RingLayout<BlkifRequest, BlkifResponse> {
  const requestStruct = blkifRequest[abi];
  const responseStruct = blkifResponse[abi];
  const request = requestStruct.cursor();
  const response = responseStruct.cursor();
  return {
    name: 'blkif',
    slotBytes: blkifSringEntry[abi].size,
    requestBytes: requestStruct.size,
    responseBytes: responseStruct.size,
    newRequest,
    newResponse,
    readRequest(view, offsetBytes, into) {
      request.at(view, offsetBytes);
      into.operation = request.operation;
      into.nr_segments = request.nr_segments;
      into.handle = request.handle;
      into.id_lo = request.id_lo;
      into.id_hi = request.id_hi;
      into.sector_number_lo = request.sector_number_lo;
      into.sector_number_hi = request.sector_number_hi;
      for (let i = 0; i < segmentsOf(into); i++) {
        const from = request.seg(i);
        const to = into.seg[i] as BlkifSegment;
        to.gref = from.gref;
        to.first_sect = from.first_sect;
        to.last_sect = from.last_sect;
      }
    },
    writeRequest(view, offsetBytes, from) {
      request.at(view, offsetBytes);
      request.operation = from.operation;
      request.nr_segments = from.nr_segments;
      request.handle = from.handle;
      request.id_lo = from.id_lo;
      request.id_hi = from.id_hi;
      request.sector_number_lo = from.sector_number_lo;
      request.sector_number_hi = from.sector_number_hi;
      for (let i = 0; i < segmentsOf(from); i++) {
        const to = request.seg(i);
        const segment = from.seg[i] as BlkifSegment;
        to.gref = segment.gref;
        to.first_sect = segment.first_sect;
        to.last_sect = segment.last_sect;
      }
    },
    readResponse(view, offsetBytes, into) {
      response.at(view, offsetBytes);
      into.id_lo = response.id_lo;
      into.id_hi = response.id_hi;
      into.operation = response.operation;
      into.status = response.status;
    },
    writeResponse(view, offsetBytes, from) {
      response.at(view, offsetBytes);
      response.id_lo = from.id_lo;
      response.id_hi = from.id_hi;
      response.operation = from.operation;
      response.status = from.status;
    },
  };
}
