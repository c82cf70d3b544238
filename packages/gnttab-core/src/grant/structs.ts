/** Xen's private structs of the grant table: active entries and map track entries. Source: docs/misc/grant-tables.txt of Xen. */
import { i32, struct, u16, u32, u8 } from '../abi/struct.ts';
import { DOMAIN, grantTable } from '../machine/layout.ts';

/** struct active_grant_entry: what Xen believes of a grant in use, whatever the guest writes meanwhile. */
export const activeEntry = struct(
  'active_grant_entry',
  {
    lock: i32,
    /** Reference counts, four of eight bits: GNTPIN_*. */
    pin: u32,
    /** Who was granted access. */
    domid: u16,
    /** Not in Xen: which time limit this use of the grant has, 0 if none. */
    limit: u16,
    /** The granted machine frame. */
    frame: u32,
    /** The same as the granter named it. */
    gfn: u32,
    /** Sub-page window: first byte and length. */
    start: u16,
    length: u16,
    trans_gref: u32,
    trans_domid: u16,
    is_sub_page: u16,
  },
  { size: 32 },
);
export const ACTIVE_PER_PAGE = 128;

/** struct grant_mapping (map track): one for each mapping that a domain has made; its index is the handle. */
export const maptrackEntry = struct(
  'grant_mapping',
  {
    /** The reference; in a free entry, the next free handle. */
    ref: u32,
    /** GNTMAP_*; written last when an entry is filled, 0 when it is free. */
    flags: u8,
    /** Virtual CPU whose queue the handle goes back to. */
    vcpu: u8,
    /** Owner of the mapped frame. */
    domid: u16,
    /** Not in Xen: where the host mapping is; see places.ts and host-mapping.ts, `hostPlace`. */
    place: u32,
    /** Serial number of the owner: its id may come to be another domain's. */
    serial: u32,
  },
  { size: 16 },
);
/**
 * grant_mapping.flags, not in Xen: the grant was taken back while it was mapped. The entry has no pins any more and waits
 * for its unmap; `ref` is the frame of the private copy that is mapped at `place` instead, INVALID_MFN if nothing is.
 */
export const MAPTRACK_revoked = 0x80;
/** grant_mapping.place: the mapping is nowhere any more, and only its pin is left. */
export const NO_PLACE = 0xffff_ffff;
export const MAPTRACK_PER_PAGE = 256;
export const MAPTRACK_TAIL = 0xffff_ffff;

/** Byte offsets of struct grant_table's members from the start of struct domain. */
export const GT = Object.fromEntries(
  Object.entries(grantTable.offset).map(([name, offset]) => [name, DOMAIN.grant_table + offset]),
) as typeof grantTable.offset;

/** The four reference counts of `pin`: host and device, writable and read-only. */
export const GNTPIN_hstw_inc = 1;
export const GNTPIN_hstw_mask = 0xff;
export const GNTPIN_hstr_inc = 1 << 8;
export const GNTPIN_hstr_mask = 0xff00;
export const GNTPIN_devw_inc = 1 << 16;
export const GNTPIN_devw_mask = 0xff_0000;
export const GNTPIN_devr_inc = 1 << 24;
export const GNTPIN_writers = GNTPIN_hstw_mask | GNTPIN_devw_mask;

/** A counter whose top bit is set takes no more references. */
export const overflowMask = (increments: number): number => increments << 7;
