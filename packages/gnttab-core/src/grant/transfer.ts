/**
 * GNTTABOP_transfer (grant_table.h): hand a frame to a domain that accepts it. The frame leaves the caller before the
 * receiver is looked at, so every failure but GNTST_bad_page loses it, as the header says.
 */
import {
  GNTST_address_too_big,
  GNTST_bad_domain,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_transfer_committed,
  GTF_transfer_completed,
} from '../abi/grant-table.ts';
import { COUNTER } from '../machine/counters.ts';
import type { Domain, Machine } from '../machine/machine.ts';
import {
  allocFreePage,
  assignReserved,
  freeStolenPage,
  reservePage,
  stealPage,
  unreservePage,
} from '../machine/frame-table.ts';
import { DOMAIN, INVALID_MFN } from '../machine/layout.ts';
import { addPage, gfnToMfn, p2m_ram_rw } from '../machine/p2m.ts';
import { frameAddress, PAGE_SHIFT, PAGE_SIZE } from '../machine/page.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { grantedFrame, setGrantedFrame } from './frames.ts';
import { MAX_RETRIES } from './status.ts';
import { GT } from './structs.ts';
import { grantVersion, nrGrantEntries, sharedEntryOf } from './table.ts';

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
  const frame = withinReach(receiver, op.mfn);
  if (frame === INVALID_MFN) return GNTST_address_too_big;
  // Room first: a committed entry has its receiver spinning until the frame is there.
  const room = reservePage(receiver);
  if (!room || !prepareForTransfer(receiver, caller.id, op.ref)) {
    if (room) unreservePage(receiver);
    freeStolenPage(machine, frame);
    return GNTST_general_error;
  }
  assignReserved(receiver, frame);
  complete(receiver, caller.id, op.ref, frame);
  return GNTST_okay;
}

/**
 * A stolen frame as the receiver can have it: where its addresses are too narrow for this one, or the frame lies in memory
 * that a guest has brought, the contents move to another, or are lost with INVALID_MFN. A version 1 entry holds 32 bits of frame number, more than the machine has.
 */
function withinReach(receiver: Domain, frame: number): number {
  const { machine, base } = receiver;
  const bits = machine.u32[(base + DOMAIN.address_bits) >>> 2]!;
  const limit = bits === 0 ? INVALID_MFN : 2 ** Math.max(bits - PAGE_SHIFT, 0);
  if (frame < limit && canChangeHands(machine, frame)) return frame;
  const low = allocFreePage(machine, limit);
  if (low !== INVALID_MFN) {
    machine.copyBytes(frameAddress(low), frameAddress(frame), PAGE_SIZE);
  }
  freeStolenPage(machine, frame);
  return low;
}

/** Nobody has the frame's memory but through the machine: a guest that brought its own would go on seeing it. */
function canChangeHands(machine: Machine, frame: number): boolean {
  const bank = machine.bank(frame);
  return !bank.foreign || bank.memory.trusted === true;
}

/** gnttab_prepare_for_transfer(): commits the entry, if it says exactly "accept a transfer from this domain". */
function prepareForTransfer(receiver: Domain, domid: number, ref: number): boolean {
  const { native } = receiver.machine;
  native.readLock(receiver.base + GT.lock);
  let committed = false;
  if (ref >>> 0 === ref && ref < nrGrantEntries(receiver)) {
    const shared = sharedEntryOf(receiver, ref);
    const expected = (domid << 16) | GTF_accept_transfer;
    let seen = receiver.machine.i32[shared >>> 2]!;
    for (let retries = 0; retries <= MAX_RETRIES && seen === expected; retries++) {
      const previous = native.cas(shared, seen, seen | GTF_transfer_committed);
      committed = previous === seen;
      if (committed) break;
      seen = previous;
    }
  }
  native.readUnlock(receiver.base + GT.lock);
  return committed;
}

/**
 * Writes the frame and then, after a barrier, that the transfer is complete: the receiver may be spinning on it. A
 * translated receiver finds the frame at the gfn that its entry names.
 */
function complete(receiver: Domain, domid: number, ref: number, frame: number): void {
  const { machine } = receiver;
  const { native } = machine;
  native.readLock(receiver.base + GT.lock);
  const committed = (domid << 16) | GTF_accept_transfer | GTF_transfer_committed;
  const valid = ref < nrGrantEntries(receiver);
  const shared = valid ? sharedEntryOf(receiver, ref) : 0;
  // The receiver may have changed its table's version meanwhile: then the entry is another, and the frame just its own.
  if (valid && machine.i32[shared >>> 2] === committed) {
    const version = grantVersion(receiver);
    if (!receiver.translated) setGrantedFrame(machine, shared, version, frame);
    else addPage(receiver, grantedFrame(machine, shared, version), frame, p2m_ram_rw);
    native.or16(shared, GTF_transfer_completed);
  }
  native.readUnlock(receiver.base + GT.lock);
}
