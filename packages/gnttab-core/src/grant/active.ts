/**
 * Active entries: what Xen believes of a grant in use, whatever the guest writes to its shared entry meanwhile.
 * Source: docs/misc/grant-tables.txt of Xen, "Active grant entries".
 */
import { GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly } from '../abi/grant-table.ts';
import type { Domain, Machine } from '../machine/machine.ts';
import { PAGE_SIZE } from '../machine/page.ts';
import {
  activeEntry,
  GNTPIN_devr_inc,
  GNTPIN_devw_inc,
  GNTPIN_hstr_inc,
  GNTPIN_hstw_inc,
  GNTPIN_writers,
} from './structs.ts';

/** Byte offsets of an active entry's members. */
export const ACT = activeEntry.offset;
const {
  domid: DOMID,
  limit: LIMIT,
  frame: FRAME,
  gfn: GFN,
  start: START,
  length: LENGTH,
  is_sub_page: IS_SUB_PAGE,
  trans_domid: TRANS_DOMID,
  trans_gref: TRANS_GREF,
} = ACT;
const WHOLE_PAGE = PAGE_SIZE;

/** One more pin of each kind in `flags` (GNTMAP_*): host, device, or both. */
export function pinIncrement(flags: number): number {
  const readonly = (flags & GNTMAP_readonly) !== 0;
  const host = readonly ? GNTPIN_hstr_inc : GNTPIN_hstw_inc;
  const device = readonly ? GNTPIN_devr_inc : GNTPIN_devw_inc;
  return (
    ((flags & GNTMAP_host_map) !== 0 ? host : 0) + ((flags & GNTMAP_device_map) !== 0 ? device : 0)
  );
}

/**
 * Records at the first pin which frame the grant stands for, all of it. The pin itself is no reference to the frame: each
 * mapping, and each copy under way, takes its own, and is refused should the frame have changed hands meanwhile.
 *
 * @param gfn the frame as the granter names it
 */
export function recordGrant(
  granter: Domain,
  active: number,
  ref: number,
  domid: number,
  frame: number,
  gfn: number,
): void {
  const { u16, u32 } = granter.machine;
  u16[(active + DOMID) >>> 1] = domid;
  u16[(active + LIMIT) >>> 1] = 0;
  u32[(active + FRAME) >>> 2] = frame;
  u32[(active + GFN) >>> 2] = gfn;
  u16[(active + START) >>> 1] = 0;
  u16[(active + LENGTH) >>> 1] = WHOLE_PAGE;
  u16[(active + IS_SUB_PAGE) >>> 1] = 0;
  u16[(active + TRANS_DOMID) >>> 1] = granter.id;
  u32[(active + TRANS_GREF) >>> 2] = ref;
}

/** Narrows what was recorded to a window of the page, in bytes: it can be copied, and not mapped. */
export function recordWindow(
  { u16 }: Machine,
  active: number,
  start: number,
  length: number,
): void {
  u16[(active + START) >>> 1] = start;
  u16[(active + LENGTH) >>> 1] = length;
  u16[(active + IS_SUB_PAGE) >>> 1] = 1;
}

/** A use that needs the entry checked: its first, or its first writer. Later ones follow what was pinned. */
export const mustCheck = (pin: number, readonly: boolean): boolean =>
  pin === 0 || (!readonly && (pin & GNTPIN_writers) === 0);
