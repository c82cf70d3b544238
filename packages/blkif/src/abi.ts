/** io/blkif.h: requests and responses of the block protocol, for guests of both ABIs, and its constants. */
import {
  array,
  i16,
  sringTable,
  struct,
  structs,
  u16,
  u32,
  u64,
  u8,
  unions,
} from '@ringside/gnttab-core/abi';

/** io/blkif.h, REQUEST CODES. */
export const BLKIF_OP_READ = 0;
export const BLKIF_OP_WRITE = 1;
/** Earlier writes are done before it, later ones after it. With feature-barrier. */
export const BLKIF_OP_WRITE_BARRIER = 2;
/** What was written reaches stable storage. With feature-flush-cache. */
export const BLKIF_OP_FLUSH_DISKCACHE = 3;
export const BLKIF_OP_RESERVED_1 = 4;
/** A `blkifRequestDiscard`. With feature-discard. */
export const BLKIF_OP_DISCARD = 5;
/** A `blkifRequestIndirect`. With feature-max-indirect-segments. */
export const BLKIF_OP_INDIRECT = 6;

/** io/blkif.h: segments in one request; with whole pages 44 KiB. */
export const BLKIF_MAX_SEGMENTS_PER_REQUEST = 11;
/** io/blkif.h: pages of segments that an indirect request may name. */
export const BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST = 8;

/** io/blkif.h, blkif_request_discard `flag`. */
export const BLKIF_DISCARD_SECURE = 1;

/** io/blkif.h, STATUS RETURN CODES. */
export const BLKIF_RSP_EOPNOTSUPP = -2;
export const BLKIF_RSP_ERROR = -1;
export const BLKIF_RSP_OKAY = 0;

/** io/blkif.h, VDISK_*: bits of the backend's `info` key. */
export const VDISK_CDROM = 0x1;
export const VDISK_REMOVABLE = 0x2;
export const VDISK_READONLY = 0x4;

/** blkif_request_segment, io/blkif.h: sectors first_sect to last_sect, both included, of a granted page. */
export const blkifRequestSegment = structs(
  'blkif_request_segment',
  { gref: u32, first_sect: u8, last_sect: u8 },
  8,
);

/** blkif_request, io/blkif.h: read, write, barrier, flush. `id` comes back in the response. */
export const blkifRequest = structs(
  'blkif_request',
  {
    operation: u8,
    nr_segments: u8,
    handle: u16,
    id: u64,
    sector_number: u64,
    seg: array(blkifRequestSegment, BLKIF_MAX_SEGMENTS_PER_REQUEST),
  },
  { x86_64: 112, i386: 108 },
);

/** blkif_request_discard, io/blkif.h: sectors whose contents no longer matter. */
export const blkifRequestDiscard = structs(
  'blkif_request_discard',
  { operation: u8, flag: u8, handle: u16, id: u64, sector_number: u64, nr_sectors: u64 },
  { x86_64: 32, i386: 28 },
);

const indirect = {
  operation: u8,
  indirect_op: u8,
  nr_segments: u16,
  id: u64,
  sector_number: u64,
  handle: u16,
  indirect_grefs: array(u32, BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST),
};

/** blkif_request_indirect, io/blkif.h: the segments are in granted pages. i386 pads it to the size of x86-64. */
export const blkifRequestIndirect = {
  x86_64: struct('blkif_request_indirect', indirect, { size: 64 }),
  i386: struct('blkif_request_indirect', { ...indirect, pad: u64 }, { abi: 'i386', size: 64 }),
};

/** blkif_response, io/blkif.h: `status` is BLKIF_RSP_*. */
export const blkifResponse = structs(
  'blkif_response',
  { id: u64, operation: u8, status: i16 },
  { x86_64: 16, i386: 12 },
);

/** blkif_sring_entry, io/blkif.h: one slot of the ring. */
export const blkifSringEntry = unions(
  'blkif_sring_entry',
  { req: blkifRequest, rsp: blkifResponse },
  { x86_64: 112, i386: 108 },
);

/** blkif_sring, io/blkif.h: the shared page, declared with one slot. */
export const blkifSring = structs('blkif_sring', sringTable(blkifSringEntry), {
  x86_64: 176,
  i386: 172,
});
