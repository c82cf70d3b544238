/** io/ring.h: what the shared memory of a ring begins with. Index arithmetic and the two ends are under ring/. */
import { array, struct, u32, u8, union } from './struct.ts';
import type { Aggregate } from './struct.ts';

/** io/ring.h: log2 of the size that ring macros take for a page. */
export const XEN_PAGE_SHIFT = 12;

/** What NAME_sring begins with, io/ring.h: the producer indices and the event thresholds. 64 bytes. */
export const sringHeader = {
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

/** The table of NAME_sring, io/ring.h: the header and one entry, as declared there. How many there really are is RING_SIZE. */
export function sringTable<E extends Aggregate>(entry: E) {
  return { ...sringHeader, ring: array(entry, 1) };
}
