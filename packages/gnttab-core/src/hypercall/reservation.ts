/**
 * How many pages a domain has: XENMEM_increase_reservation, XENMEM_decrease_reservation and XENMEM_populate_physmap
 * (memory.h), over numbers. An extent is 2^order pages.
 */
import { COUNTER } from '../machine/counters.ts';
import {
  allocFreePage,
  assignPage,
  freeStolenPage,
  releaseAllocation,
} from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { MAX_GFN } from '../machine/p2m.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { guestPhysmapAddPage, guestPhysmapRemovePage, guestRemovePage } from './physmap.ts';

/** What a domain wants its fresh pages to be. */
export interface ExtentOptions {
  /** Default 0. */
  readonly order?: number;
  /** Mfns have to be below this. Default: any will do. */
  readonly limit?: number;
}

/** Counts and traces a change of a domain's reservation, in pages. */
export function noteReservation(domain: Domain, added: number, removed: number): void {
  domain.count(COUNTER.reservationChanges, added + removed);
  domain.machine.trace.emit(TRACE.reservation, domain.id, added, removed, domain.totPages);
}

/** A fresh zeroed page of the domain's, its mfn below `limit`; INVALID_MFN when memory or its maximum is exhausted. */
function allocPage(domain: Domain, limit: number): number {
  const { machine } = domain;
  const frame = allocFreePage(machine, limit);
  if (frame === INVALID_MFN || assignPage(domain, frame)) return frame;
  freeStolenPage(machine, frame);
  return INVALID_MFN;
}

/**
 * The mfns of an extent of fresh zeroed pages, all or none: undefined when memory or the domain's maximum is exhausted. A
 * PV domain's extents are of consecutive machine frames, and the heap deals in single ones: to the domain that is a heap too
 * fragmented.
 */
export function allocExtent(
  domain: Domain,
  { order = 0, limit = INVALID_MFN }: ExtentOptions = {},
): number[] | undefined {
  if (order > 0 && !domain.translated) return undefined;
  const frames: number[] = [];
  for (let j = 0; j < 2 ** order; j++) {
    const frame = allocPage(domain, limit);
    if (frame === INVALID_MFN) {
      for (const taken of frames) releaseAllocation(domain.machine, taken);
      return undefined;
    }
    frames.push(frame);
  }
  return frames;
}

/**
 * Fresh zeroed pages behind 2^order gfns from `gfn` on: the mfn of the first, INVALID_MFN if not all of them could be had
 * and put there. None is the domain's then; what was behind these gfns before may be gone.
 */
export function populateExtent(domain: Domain, gfn: number, options: ExtentOptions = {}): number {
  if (gfn + 2 ** (options.order ?? 0) > MAX_GFN) return INVALID_MFN;
  const frames = allocExtent(domain, options);
  if (frames === undefined) return INVALID_MFN;
  const stop = frames.findIndex((frame, j) => !guestPhysmapAddPage(domain, gfn + j, frame));
  if (stop < 0) return frames[0]!;
  for (const [j, frame] of frames.entries()) {
    if (j < stop) guestPhysmapRemovePage(domain, gfn + j, frame);
    releaseAllocation(domain.machine, frame);
  }
  return INVALID_MFN;
}

/** Gives 2^order pages from `gmfn` on back to Xen, up to the first that is not RAM of the domain's; false if there is one. */
export function releaseExtent(domain: Domain, gmfn: number, order: number): boolean {
  for (let j = 0; j < 2 ** order; j++) if (guestRemovePage(domain, gmfn + j) !== 0) return false;
  return true;
}

/**
 * XENMEM_decrease_reservation: gives pages back to Xen. Returns how many were given back; it stops at the first that is
 * not RAM of the domain's.
 */
export function decreaseReservation(domain: Domain, gmfns: readonly number[]): number {
  const stop = gmfns.findIndex((gmfn) => guestRemovePage(domain, gmfn) !== 0);
  const done = stop < 0 ? gmfns.length : stop;
  noteReservation(domain, 0, done);
  return done;
}

/**
 * XENMEM_increase_reservation: fresh zeroed pages for a PV domain; their mfns are returned, fewer than asked for when
 * memory or the domain's maximum is exhausted.
 */
export function increaseReservation(domain: Domain, count: number): number[] {
  const frames: number[] = [];
  while (frames.length < count) {
    const frame = allocPage(domain, INVALID_MFN);
    if (frame === INVALID_MFN) break;
    frames.push(frame);
  }
  noteReservation(domain, frames.length, 0);
  return frames;
}

/** XENMEM_populate_physmap: a fresh page behind each gfn. Returns how many were populated. */
export function populatePhysmap(domain: Domain, gfns: readonly number[]): number {
  const stop = gfns.findIndex((gfn) => populateExtent(domain, gfn) === INVALID_MFN);
  const done = stop < 0 ? gfns.length : stop;
  noteReservation(domain, done, 0);
  return done;
}
