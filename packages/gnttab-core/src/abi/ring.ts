/** io/ring.h: the shared page of a ring. Index arithmetic and the two ends are under ring/. */
import { array, struct, u32, u8, union } from './struct.ts';
import type { Aggregate } from './struct.ts';

/** io/ring.h: log2 of the size that ring macros take for a page. */
export const XEN_PAGE_SHIFT = 12;

const header = {
  req_prod: u32,
  req_event: u32,
  rsp_prod: u32,
  rsp_event: u32,
  pvt: union('', {
    netif: struct('', { smartpoll_active: u8 }),
    tapif_user: struct('', { msg: u8 }),
    pvt_pad: array(u8, 4),
  }),
  __pad: array(u8, 44),
};

/** NAME_sring without its entries, io/ring.h: the producer indices and the event thresholds; entries follow. */
export const sringHeader = struct('sring_header', header, { size: 64 });

/** The table of NAME_sring, io/ring.h. As the header has it, with one entry; how many there really are: `ringSize`. */
export function sring<E extends Aggregate>(entry: E) {
  return { ...header, ring: array(entry, 1) };
}

/**
 * RING_SIZE, io/ring.h: entries of `entryBytes` that fit in a shared ring of `ringBytes` with its header: the largest
 * power of two, 0 if none fits.
 */
export function ringSize(ringBytes: number, entryBytes: number): number {
  const fit = Math.floor((ringBytes - sringHeader.size) / entryBytes);
  return fit < 1 ? 0 : 2 ** Math.floor(Math.log2(fit));
}
