/** GNTTABOP_swap_grant_ref (grant_table.h): exchange two entries that nobody uses. */
import { GNTST_bad_gntref, GNTST_eagain, GNTST_okay } from '../abi/grant-table.ts';
import type { Domain } from '../machine/machine.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { ACT } from './active.ts';
import { GT } from './structs.ts';
import {
  activeEntryOf,
  grantVersion,
  nrGrantEntries,
  sharedEntryOf,
  statusWordOf,
} from './table.ts';

/** struct gnttab_swap_grant_ref. */
export class GnttabSwapGrantRef {
  refA = 0;
  refB = 0;
  status = 0;
}

/** Swaps one pair. A reference with itself is fine even in use; GNTST_eagain where one of two is pinned. */
export function swapGrantRef(domain: Domain, op: GnttabSwapGrantRef): void {
  const { native, trace } = domain.machine;
  // Two active entries at once: that takes the write lock ("Locking").
  native.writeLock(domain.base + GT.lock);
  op.status = swap(domain, op.refA, op.refB);
  native.writeUnlock(domain.base + GT.lock);
  trace.emit(TRACE.swapGrantRef, domain.id, op.refA, op.refB, op.status);
}

function swap(domain: Domain, refA: number, refB: number): number {
  const { u32, u16 } = domain.machine;
  const entries = nrGrantEntries(domain);
  const valid = (ref: number) => ref >>> 0 === ref && ref < entries;
  if (!valid(refA) || !valid(refB)) return GNTST_bad_gntref;
  if (refA === refB) return GNTST_okay;
  const pinned = (ref: number) => u32[(activeEntryOf(domain, ref) + ACT.pin) >>> 2] !== 0;
  if (pinned(refA) || pinned(refB)) return GNTST_eagain;
  const version = grantVersion(domain);
  exchange(u32, sharedEntryOf(domain, refA) >>> 2, sharedEntryOf(domain, refB) >>> 2, version * 2);
  if (version === 2) {
    exchange(u16, statusWordOf(domain, refA) >>> 1, statusWordOf(domain, refB) >>> 1, 1);
  }
  return GNTST_okay;
}

/** Exchanges `count` words. */
function exchange(
  words: Uint32Array<ArrayBufferLike> | Uint16Array<ArrayBufferLike>,
  a: number,
  b: number,
  count: number,
): void {
  for (let i = 0; i < count; i++) {
    const word = words[a + i]!;
    words[a + i] = words[b + i]!;
    words[b + i] = word;
  }
}
