/** grant_table.h: shared grant entries of both versions, and the operations of grant_table_op. */
import {
  array,
  i16,
  pointer,
  struct,
  structs,
  u16,
  u32,
  u64,
  ulong,
  union,
  unions,
} from './struct.ts';

/** grant_table.h, grant_entry: the first entries survive a change of version and may be filled in by tools. */
export const GNTTAB_NR_RESERVED_ENTRIES = 8;
export const GNTTAB_RESERVED_CONSOLE = 0;
export const GNTTAB_RESERVED_XENSTORE = 1;

/** grant_table.h, GTF_*: the type of a grant entry, in the low bits of `flags`. */
/** Grants nothing. */
export const GTF_invalid = 0;
/** The domain may map or copy the frame. */
export const GTF_permit_access = 1;
/** The domain may hand over one frame; Xen writes which. */
export const GTF_accept_transfer = 2;
/** The domain may use another domain's grant through this one (copy only). */
export const GTF_transitive = 3;
export const GTF_type_mask = 3;

/** grant_table.h, GTF_*: subflags of GTF_permit_access and GTF_transitive. */
/** Set by the granting guest. */
export const GTF_readonly = 0x4;
/** Set by Xen while the frame is mapped or pinned for reading. */
export const GTF_reading = 0x8;
/** Set by Xen while the frame is mapped or pinned for writing. */
export const GTF_writing = 0x10;
export const GTF_PWT = 0x20;
export const GTF_PCD = 0x40;
export const GTF_PAT = 0x80;
/** Only part of the page, and only by copy (version 2). */
export const GTF_sub_page = 0x100;

/** grant_table.h, GTF_*: subflags of GTF_accept_transfer, both set by Xen. */
/** A frame will come: the guest must leave the entry alone. */
export const GTF_transfer_committed = 0x4;
/** The frame number has been written. */
export const GTF_transfer_completed = 0x8;

/** grant_entry_v1, grant_table.h: who may do what with which frame. */
export const grantEntryV1 = structs('grant_entry_v1', { flags: u16, domid: u16, frame: u32 }, 8);

/** grant_entry_header, grant_table.h: what entries of both versions begin with. */
export const grantEntryHeader = structs('grant_entry_header', { flags: u16, domid: u16 }, 4);

/** grant_entry_v2, grant_table.h: a whole page, part of a page, or another domain's grant. */
export const grantEntryV2 = unions(
  'grant_entry_v2',
  {
    hdr: grantEntryHeader,
    full_page: struct('', { hdr: grantEntryHeader, pad0: u32, frame: u64 }),
    sub_page: struct('', { hdr: grantEntryHeader, page_off: u16, length: u16, frame: u64 }),
    transitive: struct('', { hdr: grantEntryHeader, trans_domid: u16, pad0: u16, gref: u32 }),
    __spacer: array(u32, 4),
  },
  16,
);

/** grant_table.h, grant_table_op: the operations. */
export const GNTTABOP_map_grant_ref = 0;
export const GNTTABOP_unmap_grant_ref = 1;
export const GNTTABOP_setup_table = 2;
export const GNTTABOP_dump_table = 3;
export const GNTTABOP_transfer = 4;
export const GNTTABOP_copy = 5;
export const GNTTABOP_query_size = 6;
export const GNTTABOP_unmap_and_replace = 7;
export const GNTTABOP_set_version = 8;
export const GNTTABOP_get_status_frames = 9;
export const GNTTABOP_get_version = 10;
export const GNTTABOP_swap_grant_ref = 11;
export const GNTTABOP_cache_flush = 12;

/** grant_table.h, GNTMAP_*: flags of map_grant_ref. */
/** Map for I/O devices. */
export const GNTMAP_device_map = 0x1;
/** Map for the CPUs. */
export const GNTMAP_host_map = 0x2;
export const GNTMAP_readonly = 0x4;
/** Accessible to the guest's user mode too. */
export const GNTMAP_application_map = 0x8;
/** `host_addr` is the machine address of the PTE to write, not a virtual address. */
export const GNTMAP_contains_pte = 0x10;
/** The mapping may fail, and the caller is prepared for it. In headers up to Xen 4.5 or so; Xen does not look at it. */
export const GNTMAP_can_fail = 0x20;
export const _GNTMAP_guest_avail0 = 16;
export const GNTMAP_guest_avail_mask = 0xffff_0000;

/** gnttab_map_grant_ref, grant_table.h: map a granted frame. `status` and below come back. */
export const gnttabMapGrantRef = structs(
  'gnttab_map_grant_ref',
  { host_addr: u64, flags: u32, ref: u32, dom: u16, status: i16, handle: u32, dev_bus_addr: u64 },
  32,
);

/** gnttab_unmap_grant_ref, grant_table.h: undo a mapping; an address of zero is not looked at. */
export const gnttabUnmapGrantRef = structs(
  'gnttab_unmap_grant_ref',
  { host_addr: u64, dev_bus_addr: u64, handle: u32, status: i16 },
  24,
);

/** gnttab_setup_table, grant_table.h: have a table of so many frames, and learn which they are. */
export const gnttabSetupTable = structs(
  'gnttab_setup_table',
  { dom: u16, nr_frames: u32, status: i16, frame_list: pointer },
  { x86_64: 24, i386: 16 },
);

/** gnttab_dump_table, grant_table.h: print a domain's table on Xen's console. */
export const gnttabDumpTable = structs('gnttab_dump_table', { dom: u16, status: i16 }, 4);

/** gnttab_transfer, grant_table.h: give a frame away through the receiver's reference. */
export const gnttabTransfer = structs(
  'gnttab_transfer',
  { mfn: ulong, domid: u16, ref: u32, status: i16 },
  { x86_64: 24, i386: 16 },
);

/** grant_table.h, GNTCOPY_*: which side of a copy is named by grant reference. */
export const GNTCOPY_source_gref = 1;
export const GNTCOPY_dest_gref = 2;

/** gnttab_copy_ptr, grant_table.h: one side of a copy, by grant reference or by frame. */
export const gnttabCopyPtr = structs(
  'gnttab_copy_ptr',
  { u: union('', { ref: u32, gmfn: ulong }), domid: u16, offset: u16 },
  { x86_64: 16, i386: 8 },
);

/** gnttab_copy, grant_table.h: have Xen copy `len` bytes, within one page on either side. */
export const gnttabCopy = structs(
  'gnttab_copy',
  { source: gnttabCopyPtr, dest: gnttabCopyPtr, len: u16, flags: u16, status: i16 },
  { x86_64: 40, i386: 24 },
);

/** gnttab_query_size, grant_table.h: how many frames a table has and may have. */
export const gnttabQuerySize = structs(
  'gnttab_query_size',
  { dom: u16, nr_frames: u32, max_nr_frames: u32, status: i16 },
  16,
);

/** gnttab_unmap_and_replace, grant_table.h: unmap, and put the mapping of another address in its place. */
export const gnttabUnmapAndReplace = structs(
  'gnttab_unmap_and_replace',
  { host_addr: u64, new_addr: u64, handle: u32, status: i16 },
  24,
);

/** gnttab_set_version, grant_table.h: ask for version 1 or 2; the version in force comes back. */
export const gnttabSetVersion = structs('gnttab_set_version', { version: u32 }, 4);

/** gnttab_get_status_frames, grant_table.h: the frames that hold version 2's status words. */
export const gnttabGetStatusFrames = structs(
  'gnttab_get_status_frames',
  { nr_frames: u32, dom: u16, status: i16, frame_list: pointer },
  { x86_64: 16, i386: 12 },
);

/** gnttab_get_version, grant_table.h: the version of a domain's table. */
export const gnttabGetVersion = structs(
  'gnttab_get_version',
  { dom: u16, pad: u16, version: u32 },
  8,
);

/** gnttab_swap_grant_ref, grant_table.h: exchange two unused entries. */
export const gnttabSwapGrantRef = structs(
  'gnttab_swap_grant_ref',
  { ref_a: u32, ref_b: u32, status: i16 },
  12,
);

/** grant_table.h, cache_flush `op`. */
export const GNTTAB_CACHE_CLEAN = 1;
export const GNTTAB_CACHE_INVAL = 2;
/** `a` holds a grant reference, not a bus address. */
export const GNTTAB_CACHE_SOURCE_GREF = 0x8000_0000;

/** gnttab_cache_flush, grant_table.h: write back or drop cache lines of a frame. */
export const gnttabCacheFlush = structs(
  'gnttab_cache_flush',
  { a: union('', { dev_bus_addr: u64, ref: u32 }), offset: u16, length: u16, op: u32 },
  16,
);

/** grant_table.h, GNTST_*: the status of one operation. */
export const GNTST_okay = 0;
export const GNTST_general_error = -1;
export const GNTST_bad_domain = -2;
export const GNTST_bad_gntref = -3;
export const GNTST_bad_handle = -4;
export const GNTST_bad_virt_addr = -5;
export const GNTST_bad_dev_addr = -6;
export const GNTST_no_device_space = -7;
export const GNTST_permission_denied = -8;
export const GNTST_bad_page = -9;
export const GNTST_bad_copy_arg = -10;
export const GNTST_address_too_big = -11;
export const GNTST_eagain = -12;
export const GNTST_no_space = -13;

/** GNTTABOP_error_msgs, grant_table.h: the message for status -i is element i. */
export const GNTTABOP_error_msgs: readonly string[] = [
  'okay',
  'undefined error',
  'unrecognised domain id',
  'invalid grant reference',
  'invalid mapping handle',
  'invalid virtual address',
  'invalid device address',
  'no spare translation slot in the I/O MMU',
  'permission denied',
  'bad page',
  'copy arguments cross page boundary',
  'page address size too large',
  'operation not done; try again',
  'out of space',
];

/** The header's message for a GNTST_* status; of a status that the header does not have, its number. */
export function gnttabErrorMessage(status: number): string {
  return GNTTABOP_error_msgs[-status] ?? `unknown status ${status}`;
}
