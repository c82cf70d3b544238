/** XENMEM_exchange (memory.h), over numbers: pages of a domain go back to Xen, and as many others take their places. */
import { XEN_EINVAL, XEN_ENOMEM } from '../abi/errno.ts';
import { frameNamed } from '../grant/index.ts';
import {
  allocFreePage,
  assignPage,
  frameGfn,
  freeStolenPage,
  releaseAllocation,
  setFrameGfn,
  stealPage,
} from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain, Machine } from '../machine/machine.ts';
import { guestPhysmapAddPage, guestPhysmapRemovePage } from './physmap.ts';
import { noteReservation } from './reservation.ts';

/** What a domain got for its pages. */
export interface Exchanged {
  /** 0, or the -errno of the first page that could not be exchanged. */
  result: number;
  /** The fresh pages, in the order of the gfns that they are behind. */
  mfns: number[];
}

/**
 * XENMEM_exchange, page by page: the domain gives each of `gmfns`, which nothing else may refer to, and gets a fresh zeroed
 * page behind the gfn at the same place of `gfns`. The first error is the end; -EINVAL, with nothing done, if the lists are
 * not of one length.
 */
export function memoryExchange(
  domain: Domain,
  gmfns: readonly number[],
  gfns: readonly number[],
): Exchanged {
  const mfns: number[] = [];
  if (gmfns.length !== gfns.length) return { result: -XEN_EINVAL, mfns };
  for (const [i, gmfn] of gmfns.entries()) {
    const { result, mfns: fresh } = exchangePages(domain, [gmfn], [gfns[i]!]);
    if (result !== 0) return { result, mfns };
    mfns.push(fresh[0]!);
  }
  return { result: 0, mfns };
}

/**
 * Exchanges pages all at once. -EINVAL if one is not the domain's alone, and -ENOMEM without memory: nothing has changed
 * then. -EINVAL too if a fresh page could not be put behind its gfn: it is Xen's again, INVALID_MFN stands for it, and all
 * others are exchanged.
 */
export function exchangePages(
  domain: Domain,
  gmfns: readonly number[],
  gfns: readonly number[],
): Exchanged {
  const { machine } = domain;
  const stolen: number[] = [];
  const undo = (result: number): Exchanged => {
    for (const frame of stolen) reassign(domain, frame);
    return { result, mfns: [] };
  };
  for (const gmfn of gmfns) {
    const frame = frameNamed(domain, gmfn);
    if (!stealPage(domain, frame)) return undo(-XEN_EINVAL);
    stolen.push(frame);
  }
  const fresh = allocFreePages(machine, gmfns.length);
  if (fresh === undefined) return undo(-XEN_ENOMEM);

  for (const [i, frame] of stolen.entries()) {
    guestPhysmapRemovePage(domain, gmfns[i]!, frame);
    freeStolenPage(machine, frame);
  }
  const mfns = fresh.map((frame, i) => (assignAt(domain, frame, gfns[i]!) ? frame : INVALID_MFN));
  noteReservation(domain, fresh.length, stolen.length);
  return { result: mfns.includes(INVALID_MFN) ? -XEN_EINVAL : 0, mfns };
}

/** Pages that have no owner yet, all or none. */
function allocFreePages(machine: Machine, count: number): number[] | undefined {
  const frames: number[] = [];
  while (frames.length < count) {
    const frame = allocFreePage(machine);
    if (frame === INVALID_MFN) {
      for (const taken of frames) freeStolenPage(machine, taken);
      return undefined;
    }
    frames.push(frame);
  }
  return frames;
}

/** A stolen page is the domain's again, behind the gfn where it was: p2m has not changed, and m2p forgets with a new owner. */
function reassign(domain: Domain, frame: number): void {
  const { machine } = domain;
  const gfn = frameGfn(machine, frame);
  if (assignPage(domain, frame)) setFrameGfn(machine, frame, gfn);
  else {
    // It is dying, or another of its CPUs has taken the room: the page is lost to it.
    guestPhysmapRemovePage(domain, gfn, frame);
    freeStolenPage(machine, frame);
  }
}

/** Makes a page the domain's, behind `gfn`; false if that cannot be, and it is Xen's again. */
function assignAt(domain: Domain, frame: number, gfn: number): boolean {
  if (!assignPage(domain, frame)) {
    freeStolenPage(domain.machine, frame);
    return false;
  }
  if (guestPhysmapAddPage(domain, gfn, frame)) return true;
  releaseAllocation(domain.machine, frame);
  return false;
}
