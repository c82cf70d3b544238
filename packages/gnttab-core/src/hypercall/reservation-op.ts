/**
 * XENMEM_increase_reservation, XENMEM_decrease_reservation and XENMEM_populate_physmap (memory.h). They know no errors:
 * the answer is how many extents are done, and an extent that fails is the end.
 */
import {
  XENMEM_decrease_reservation,
  XENMEM_increase_reservation,
  XENMEM_populate_physmap,
  xenMemoryReservation,
} from '../abi/memory.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { PAGE_SHIFT } from '../machine/page.ts';
import { type Caller, domainByAnyId, mayActOn } from './caller.ts';
import { accessible, type GuestAccess, GuestStruct, wide } from './guest-handle.ts';
import { continueAt, MAX_EXTENTS, maxOrder, type MemoryOp } from './memory-op-register.ts';
import {
  allocExtent,
  type ExtentOptions,
  noteReservation,
  populateExtent,
  releaseExtent,
} from './reservation.ts';

/** The extents of one call. */
interface Extents extends Required<ExtentOptions> {
  readonly domain: Domain;
  readonly access: GuestAccess;
  /** Guest address of the list; 0 is none. */
  readonly list: number;
}

/** One of the three operations. */
interface ReservationOp {
  readonly number: number;
  /** Whether pages come (1) or go (-1). */
  readonly sign: 1 | -1;
  /** There may be no list: nobody needs to know what the pages are. */
  readonly listOptional?: boolean;
  /** Does one extent; false if it could not be done. Throws PageFault. */
  readonly run: (extents: Extents, index: number) => boolean;
}

/** XENMEM_memory_op `mem_flags`: the width of machine addresses that will do; 0 is any. */
const ADDRESS_BITS_MASK = 0xff;

/** XENMEM_increase_reservation: pages that are nowhere yet. */
export const increaseOp: ReservationOp = {
  number: XENMEM_increase_reservation,
  sign: 1,
  listOptional: true,
  run(extents, index) {
    const frames = allocExtent(extents.domain, extents);
    if (frames === undefined) return false;
    tellMfn(extents, index, frames[0]!);
    return true;
  },
};

/** XENMEM_decrease_reservation: pages of the domain's go back to Xen. */
export const decreaseOp: ReservationOp = {
  number: XENMEM_decrease_reservation,
  sign: -1,
  run: ({ domain, access, list, order }, index) =>
    releaseExtent(domain, access.readWord(list, index), order),
};

/** XENMEM_populate_physmap: pages behind the gfns that the list names. */
export const populateOp: ReservationOp = {
  number: XENMEM_populate_physmap,
  sign: 1,
  run(extents, index) {
    const { domain, access, list } = extents;
    const mfn = populateExtent(domain, access.readWord(list, index), extents);
    if (mfn === INVALID_MFN) return false;
    tellMfn(extents, index, mfn);
    return true;
  },
};

/** A PV domain learns which frame it has got. */
function tellMfn({ domain, access, list }: Extents, index: number, mfn: number): void {
  if (!domain.translated && list !== 0) access.writeWord(list, mfn, index);
}

/** One of the operations for a caller. */
export function reservationOp(caller: Caller, operation: ReservationOp): MemoryOp {
  const { access } = caller;
  const { machine } = caller.domain;
  const guest = new GuestStruct(access, xenMemoryReservation[access.abi]);

  return (arg, start) => {
    if (!accessible(() => guest.read(arg))) return start;
    const { fields } = guest;
    const count = wide(fields.nr_extents_lo, fields.nr_extents_hi);
    const list = wide(fields.extent_start_lo, fields.extent_start_hi);
    const order = fields.extent_order;
    const limit = frameLimit(fields.mem_flags & ADDRESS_BITS_MASK);
    const domain = domainByAnyId(caller, fields.domid);
    if (count > MAX_EXTENTS || start >= count || limit <= 1) return start;
    if (domain === undefined || !mayActOn(caller, domain)) return start;
    if (order > maxOrder(caller.domain)) return start;
    const listed = operation.listOptional !== true || list !== 0;
    if (listed && !access.okay(list, count, access.wordBytes)) return start;

    const extents: Extents = { domain, access, list, order, limit };
    let done = start;
    let preempted = false;
    accessible(() => {
      while (done < count && !preempted && operation.run(extents, done)) {
        done += 1;
        preempted = done < count && machine.preemptCheck();
      }
    });
    const pages = (done - start) * 2 ** order;
    noteReservation(domain, operation.sign > 0 ? pages : 0, operation.sign < 0 ? pages : 0);
    return preempted ? continueAt(operation.number, done, arg) : done;
  };
}

/** The first frame number that needs more bits. */
const frameLimit = (bits: number): number =>
  bits === 0 ? INVALID_MFN : Math.min(2 ** (bits - PAGE_SHIFT), INVALID_MFN);
