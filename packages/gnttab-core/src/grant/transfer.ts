/**
 * GNTTABOP_transfer (grant_table.h): hand a frame to a domain that accepts it. The frame leaves the caller before the
 * receiver is looked at, so every failure but GNTST_bad_page loses it, as the header says.
 */
import {
  GNTST_bad_domain,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_transfer_committed,
  GTF_transfer_completed,
} from '../abi/grant-table.ts';
import { COUNTER } from '../machine/counters.ts';
import type { Domain } from '../machine/machine.ts';
import {
  assignReserved,
  freeStolenPage,
  reservePage,
  stealPage,
  unreservePage,
} from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import { gfnToMfn, p2m_ram_rw, setP2m } from '../machine/p2m.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { MAX_RETRIES } from './status.ts';
import { GT } from './structs.ts';
import { nrGrantEntries, sharedEntryV1 } from './table.ts';

/** struct gnttab_transfer. */
export class GnttabTransfer {
  mfn = 0;
  domid = 0;
  ref = 0;
  status = 0;
}

/** Transfers one frame; the result is in `op.status`. */
export function transfer(caller: Domain, op: GnttabTransfer): void {
  op.status = transferOne(caller, op);
  if (op.status === GNTST_okay) caller.count(COUNTER.transfers);
  caller.machine.trace.emit(TRACE.grantTransfer, caller.id, op.domid, op.ref, op.mfn, op.status);
}

function transferOne(caller: Domain, op: GnttabTransfer): number {
  const { machine } = caller;
  // A translated domain's frames cannot be taken out of its p2m.
  if (caller.translated) {
    return gfnToMfn(caller, op.mfn) === INVALID_MFN ? GNTST_bad_page : GNTST_general_error;
  }
  if (!stealPage(caller, op.mfn)) return GNTST_bad_page;
  const receiver = machine.domainById(op.domid);
  if (receiver === undefined) {
    freeStolenPage(machine, op.mfn);
    return GNTST_bad_domain;
  }
  // Room first: a committed entry has its receiver spinning until the frame is there.
  const room = reservePage(receiver);
  if (!room || !prepareForTransfer(receiver, caller.id, op.ref)) {
    if (room) unreservePage(receiver);
    freeStolenPage(machine, op.mfn);
    return GNTST_general_error;
  }
  assignReserved(receiver, op.mfn);
  complete(receiver, op.ref, op.mfn);
  return GNTST_okay;
}

/** gnttab_prepare_for_transfer(): commits the entry, if it says exactly "accept a transfer from this domain". */
function prepareForTransfer(receiver: Domain, domid: number, ref: number): boolean {
  const { native } = receiver.machine;
  const { i32 } = receiver.machine.heap;
  native.readLock(receiver.base + GT.lock);
  let committed = false;
  if (ref < nrGrantEntries(receiver)) {
    const word = sharedEntryV1(receiver, ref) >>> 2;
    const expected = (domid << 16) | GTF_accept_transfer;
    let seen = Atomics.load(i32, word);
    for (let retries = 0; retries <= MAX_RETRIES && seen === expected; retries++) {
      const previous = Atomics.compareExchange(i32, word, seen, seen | GTF_transfer_committed);
      committed = previous === seen;
      if (committed) break;
      seen = previous;
    }
  }
  native.readUnlock(receiver.base + GT.lock);
  return committed;
}

/** Writes the frame and then, after a barrier, that the transfer is complete: the receiver may be spinning on it. */
function complete(receiver: Domain, ref: number, mfn: number): void {
  const { native } = receiver.machine;
  const { u16, u32 } = receiver.machine.heap;
  native.readLock(receiver.base + GT.lock);
  const shared = sharedEntryV1(receiver, ref);
  if (receiver.translated) setP2m(receiver, u32[(shared + 4) >>> 2]!, mfn, p2m_ram_rw);
  else u32[(shared + 4) >>> 2] = mfn;
  Atomics.or(u16, shared >>> 1, GTF_transfer_completed);
  native.readUnlock(receiver.base + GT.lock);
}
