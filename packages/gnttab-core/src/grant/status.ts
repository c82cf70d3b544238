/**
 * The in-use bits of a grant: set when it is first pinned, cleared when its last pin goes. In version 1 they live in the
 * flags, a word that the guest writes too, so every change is one atomic step and a word that will not hold still is
 * refused. In version 2 they are in a word of their own, which only Xen writes.
 */
import {
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transitive,
  GTF_type_mask,
  GTF_writing,
} from '../abi/grant-table.ts';
import type { Machine } from '../machine/machine.ts';
import { GNTPIN_writers } from './structs.ts';

/** Attempts at a shared word before the guest is taken to be changing it on purpose. */
export const MAX_RETRIES = 4;

/** The bits of a type that must be right: sub-page grants can be copied and not mapped. */
export const FOR_MAP = GTF_type_mask | GTF_sub_page;
export const FOR_COPY = GTF_type_mask;

// Constants of this module: V8 folds them into the code, what is imported it does not.
const READING = GTF_reading;
const WRITING = GTF_writing;
const BOTH = GTF_reading | GTF_writing;
const READONLY = GTF_readonly;
const PERMIT_ACCESS = GTF_permit_access;
const WRITERS = GNTPIN_writers;

/**
 * _set_status(): checks type and domid in one look at flags and domid together (unless the entry is pinned: then what
 * was checked holds), and marks the grant as read, or read and written.
 *
 * @param shared byte offset in bank 0 of the shared entry
 * @param status of the word with the in-use bits: the same in version 1
 * @param typeMask FOR_MAP or FOR_COPY
 */
export function setStatus(
  machine: Machine,
  shared: number,
  status: number,
  pinned: boolean,
  domid: number,
  readonly: boolean,
  typeMask: number,
): number {
  return status === shared
    ? setStatusV1(machine, shared, pinned, domid, readonly, typeMask)
    : setStatusV2(machine, shared, status, pinned, domid, readonly, typeMask);
}

/** _set_status_v1(): check and mark in one compare and exchange. */
function setStatusV1(
  { i32, native }: Machine,
  shared: number,
  pinned: boolean,
  domid: number,
  readonly: boolean,
  typeMask: number,
): number {
  // A plain look will do: the exchange fails if it was stale.
  let seen = i32[shared >>> 2]!;
  for (let retries = 0; retries <= MAX_RETRIES; retries++) {
    const granted = (seen & typeMask) === PERMIT_ACCESS && seen >>> 16 === domid;
    if (!(pinned || granted) || (!readonly && (seen & READONLY) !== 0)) break;
    const previous = native.cas(shared, seen, seen | (readonly ? READING : BOTH));
    if (previous === seen) return GNTST_okay;
    seen = previous;
  }
  return GNTST_general_error;
}

/**
 * _set_status_v2(): mark, and look again: the guest invalidates an entry by clearing its flags *before* it looks at the
 * status, so one of the two sees the other.
 */
function setStatusV2(
  { native }: Machine,
  shared: number,
  status: number,
  pinned: boolean,
  domid: number,
  readonly: boolean,
  typeMask: number,
): number {
  const refused = (seen: number): boolean =>
    (!readonly && (seen & READONLY) !== 0) || !(pinned || permits(seen, domid, typeMask));
  if (refused(native.load(shared))) return GNTST_general_error;
  // Atomic steps keep their order: the second look comes after the mark.
  native.or16(status, readonly ? READING : BOTH);
  if (!refused(native.load(shared))) return GNTST_okay;
  native.and16(status, ~(pinned ? WRITING : BOTH) & 0xffff);
  return GNTST_general_error;
}

/** The header of a version 2 entry lets `domid` in; a transitive one can be copied. */
function permits(seen: number, domid: number, typeMask: number): boolean {
  const type = seen & typeMask;
  const fits = type === PERMIT_ACCESS || (typeMask === FOR_COPY && type === GTF_transitive);
  return fits && seen >>> 16 === domid;
}

/**
 * reduce_status_for_pin(): after a pin was dropped, clears the bits that no remaining pin justifies. Only the 16 bits of
 * the flags (or of the status word) are touched.
 *
 * @param pin what is left of it
 */
export function reduceStatusForPin(
  machine: Machine,
  status: number,
  pin: number,
  readonly: boolean,
): void {
  let clear = pin === 0 ? READING : 0;
  if (!readonly && (pin & WRITERS) === 0) clear |= WRITING;
  if (clear !== 0) machine.native.and16(status, ~clear & 0xffff);
}
