/**
 * The in-use bits of a shared entry: set when a grant is first pinned, cleared when its last pin goes. They live in the
 * word that the guest writes too, so every change is one atomic step and a word that will not hold still is refused.
 */
import {
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_type_mask,
  GTF_writing,
} from '../abi/grant-table.ts';
import type { Machine } from '../machine/machine.ts';
import { activeEntry, GNTPIN_writers } from './structs.ts';

const PIN = activeEntry.offset.pin;
/** Attempts at a shared word before the guest is taken to be changing it on purpose. */
export const MAX_RETRIES = 4;

/**
 * _set_status_v1(): checks type and domid in one look at flags and domid together (unless the entry is pinned: then what
 * was checked holds), and marks the grant as read, or read and written.
 *
 * @param shared byte offset in bank 0 of the shared entry
 * @param forMap sub-page grants cannot be mapped
 */
export function setStatusV1(
  machine: Machine,
  shared: number,
  active: number,
  domid: number,
  readonly: boolean,
  forMap: boolean,
): number {
  const { i32, u32 } = machine.heap;
  const mask = forMap ? GTF_type_mask | GTF_sub_page : GTF_type_mask;
  const pinned = u32[(active + PIN) >>> 2] !== 0;
  const use = readonly ? GTF_reading : GTF_reading | GTF_writing;
  // A plain look will do: the exchange fails if it was stale.
  let seen = i32[shared >>> 2]!;
  for (let retries = 0; retries <= MAX_RETRIES; retries++) {
    const grantedTo = seen >>> 16;
    if (!pinned && ((seen & mask) !== GTF_permit_access || grantedTo !== domid)) {
      return GNTST_general_error;
    }
    if (!readonly && (seen & GTF_readonly) !== 0) return GNTST_general_error;
    const previous = machine.native.cas(shared, seen, seen | use);
    if (previous === seen) return GNTST_okay;
    seen = previous;
  }
  return GNTST_general_error;
}

/**
 * reduce_status_for_pin(): after a pin was dropped, clears the bits that no remaining pin justifies. Only the 16 bits of
 * the flags are touched.
 */
export function reduceStatusForPin(
  machine: Machine,
  shared: number,
  active: number,
  readonly: boolean,
): void {
  const pin = machine.heap.u32[(active + PIN) >>> 2]!;
  let clear = 0;
  if (!readonly && (pin & GNTPIN_writers) === 0) clear |= GTF_writing;
  if (pin === 0) clear |= GTF_reading;
  if (clear !== 0) machine.native.and16(shared, ~clear & 0xffff);
}
