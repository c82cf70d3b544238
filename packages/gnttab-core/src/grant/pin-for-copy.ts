/** Pinning a grant for GNTTABOP_copy (grant_table.h), version 2's sub-page and transitive grants included. */
import {
  grantEntryV2,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_general_error,
  GNTST_okay,
  GTF_sub_page,
  GTF_transitive,
  GTF_type_mask,
} from '../abi/grant-table.ts';
import { INVALID_M2P_ENTRY, putPageFor } from '../machine/frame-table.ts';
import type { Domain, Machine } from '../machine/machine.ts';
import { ACT, mustCheck, recordGrant, recordWindow } from './active.ts';
import { grantedFrame, pagedFrame, takePage } from './frames.ts';
import { transitiveEnabled } from './options.ts';
import { FOR_COPY, reduceStatusForPin, setStatus } from './status.ts';
import { GNTPIN_hstr_inc, GNTPIN_hstw_inc } from './structs.ts';
import {
  activeEntryAcquire,
  activeEntryOf,
  activeEntryReacquire,
  activeEntryRelease,
  grantVersion,
  sharedEntryOf,
  statusWordAt,
  statusWordOf,
} from './table.ts';

const {
  pin: PIN,
  domid: DOMID,
  frame: FRAME,
  start: START,
  length: LENGTH,
  is_sub_page: IS_SUB_PAGE,
  trans_domid: TRANS_DOMID,
  trans_gref: TRANS_GREF,
} = ACT;

/** What was pinned: a frame, with a reference of its own, and the window of it that may be copied. */
export interface Pinned {
  /** The granter's active entry. */
  active: number;
  frame: number;
  start: number;
  length: number;
}

/** -ERESTART of acquire_grant_for_copy(): something changed meanwhile. No status has this value. */
export const TRY_AGAIN = 1;

const offsetOf = (path: string): number =>
  grantEntryV2.x86_64.fields.find((field) => field.path === path)!.offset;
const PAGE_OFF = offsetOf('sub_page.page_off');
const SUB_PAGE_LENGTH = offsetOf('sub_page.length');
const BEHIND_DOMID = offsetOf('transitive.trans_domid');
const BEHIND_GREF = offsetOf('transitive.gref');
/** page_off of a sub-page grant is kept in so many bits. */
const PAGE_OFF_MASK = 0x7fff;

// Constants of this module: V8 folds them into the code, what is imported it does not.
const READER = GNTPIN_hstr_inc;
const WRITER = GNTPIN_hstw_inc;

/** acquire_grant_for_copy(): pins the grant and takes a reference to its frame; what is pinned is told in `pinned`. */
export function acquireGrant(
  granter: Domain,
  ref: number,
  domid: number,
  readonly: boolean,
  pinned: Pinned,
  allowTransitive = true,
): number {
  const active = activeEntryAcquire(granter, ref);
  if (active === 0) return GNTST_bad_gntref;
  const { u16, u32 } = granter.machine;
  const pin = u32[(active + PIN) >>> 2]!;
  const increment = readonly ? READER : WRITER;
  let status = GNTST_general_error as number;
  if (pin === 0 || (u16[(active + DOMID) >>> 1] === domid && (pin & (increment << 7)) === 0)) {
    const shared = sharedEntryOf(granter, ref);
    const word = statusWordAt(granter, ref, shared);
    // Only version 2 knows the type, and only there the words are two.
    if (word !== shared && (u16[shared >>> 1]! & GTF_type_mask) === GTF_transitive) {
      status = pinTransitive(granter, ref, active, domid, readonly, pinned, allowTransitive);
    } else if (mustCheck(pin, readonly)) {
      status = pinChecked(granter, ref, active, shared, word, pin, domid, readonly);
    } else status = pinAgain(granter, active, readonly);
  }
  if (status === 0) {
    u32[(active + PIN) >>> 2] = pin + increment;
    pinned.active = active;
    pinned.frame = u32[(active + FRAME) >>> 2]!;
    pinned.start = u16[(active + START) >>> 1]!;
    pinned.length = u16[(active + LENGTH) >>> 1]!;
  }
  activeEntryRelease(granter, active);
  return status;
}

/** release_grant_for_copy(): drops the pin, and the one behind it of a transitive grant. */
export function releaseGrant(
  granter: Domain,
  ref: number,
  active: number,
  readonly: boolean,
): void {
  const { machine } = granter;
  const { u16, u32 } = machine;
  activeEntryReacquire(granter, active);
  const pin = u32[(active + PIN) >>> 2]! - (readonly ? READER : WRITER);
  u32[(active + PIN) >>> 2] = pin;
  const behind = u16[(active + TRANS_DOMID) >>> 1]!;
  const behindRef = u32[(active + TRANS_GREF) >>> 2]!;
  reduceStatusForPin(machine, statusWordOf(granter, ref), pin, readonly);
  activeEntryRelease(granter, active);
  if (behind !== granter.id) releaseBehind(machine, behind, behindRef, readonly);
}

/** The granter behind a transitive grant: its pin has kept it alive. */
function releaseBehind(machine: Machine, domid: number, ref: number, readonly: boolean): void {
  const granter = machine.domainById(domid)!;
  releaseGrant(granter, ref, activeEntryOf(granter, ref), readonly);
}

/** A later use of what is pinned: nothing is looked at that the granter could have changed. */
function pinAgain(granter: Domain, active: number, readonly: boolean): number {
  const { machine } = granter;
  // A pin is no promise of a domain that is being taken apart.
  if (granter.isDying) return GNTST_bad_domain;
  // Pinned as a transitive grant, which it is no more: its pins must have gone first.
  if (machine.u16[(active + TRANS_DOMID) >>> 1] !== granter.id) return TRY_AGAIN;
  const frame = machine.u32[(active + FRAME) >>> 2]!;
  const taken = takePage(machine, frame, granter.id, !readonly);
  return taken === GNTST_okay ? taken : GNTST_general_error;
}

/** A first use, or a first writer, who must find the frame that the readers pinned. */
function pinChecked(
  granter: Domain,
  ref: number,
  active: number,
  shared: number,
  word: number,
  pin: number,
  domid: number,
  readonly: boolean,
): number {
  const { machine } = granter;
  let status = setStatus(machine, shared, word, pin !== 0, domid, readonly, FOR_COPY);
  if (status !== 0) return status;
  const gfn = grantedFrame(machine, shared, word === shared ? 1 : 2);
  const frame = pagedFrame(granter, gfn);
  status = frame < 0 ? frame : takePage(machine, frame, granter.id, !readonly);
  if (status === 0) {
    if (pin === 0) {
      recordGrant(granter, active, ref, domid, frame, gfn);
      if (word !== shared) recordSubPage(machine, active, shared);
      return status;
    }
    if (machine.u32[(active + FRAME) >>> 2] === frame) return status;
    putPageFor(machine, frame, !readonly);
    status = GNTST_general_error;
  }
  reduceStatusForPin(machine, word, pin, readonly);
  return status;
}

/** The window of a version 2 entry, if it grants no more than that. */
function recordSubPage(machine: Machine, active: number, shared: number): void {
  const { u16 } = machine;
  if ((u16[shared >>> 1]! & GTF_sub_page) === 0) return;
  const start = u16[(shared + PAGE_OFF) >>> 1]! & PAGE_OFF_MASK;
  recordWindow(machine, active, start, u16[(shared + SUB_PAGE_LENGTH) >>> 1]!);
}

/**
 * A grant of somebody else's grant: one level of it. While the one behind is pinned no lock is held on this one, so it
 * is looked at again afterwards; should it have changed, the caller tries again.
 */
function pinTransitive(
  granter: Domain,
  ref: number,
  active: number,
  domid: number,
  readonly: boolean,
  pinned: Pinned,
  allowTransitive: boolean,
): number {
  const { machine } = granter;
  const { u16, u32 } = machine;
  const shared = sharedEntryOf(granter, ref);
  const word = statusWordOf(granter, ref);
  const pin = u32[(active + PIN) >>> 2]!;
  let status = GNTST_okay as number;
  if (mustCheck(pin, readonly)) {
    status = setStatus(machine, shared, word, pin !== 0, domid, readonly, FOR_COPY);
    if (status !== GNTST_okay) return status;
  }
  const behindDomid = u16[(shared + BEHIND_DOMID) >>> 1]!;
  const behindGref = u32[(shared + BEHIND_GREF) >>> 2]!;
  const behind = allowTransitive ? domainBehind(granter, behindDomid) : undefined;
  if (behind === undefined) status = GNTST_general_error;
  else {
    activeEntryRelease(granter, active);
    status = acquireGrant(behind, behindGref, granter.id, readonly, pinned, false);
    activeEntryReacquire(granter, active);
    if (status === GNTST_okay) {
      const now = u32[(active + PIN) >>> 2]!;
      const recorded =
        now === 0 || recordedBehind(machine, active, pinned, domid, behindDomid, behindGref);
      if (grantVersion(granter) !== 2 || now !== pin || !recorded) {
        releaseGrant(behind, behindGref, pinned.active, readonly);
        putPageFor(machine, pinned.frame, !readonly);
        status = TRY_AGAIN;
      } else if (pin === 0) {
        recordGrant(granter, active, ref, domid, pinned.frame, INVALID_M2P_ENTRY);
        // Always a sub-page, whatever stands behind: so it can never be mapped.
        recordWindow(machine, active, pinned.start, pinned.length);
        u16[(active + TRANS_DOMID) >>> 1] = behindDomid;
        u32[(active + TRANS_GREF) >>> 2] = behindGref;
      }
    }
  }
  if (status !== GNTST_okay) {
    // Not `word`: without the lock the version may have changed, and the status frame gone.
    const now = statusWordOf(granter, ref);
    reduceStatusForPin(machine, now, u32[(active + PIN) >>> 2]!, readonly);
  }
  return status;
}

/** What was recorded at the first pin of a transitive grant is what stands behind it now. */
function recordedBehind(
  { u16, u32 }: Machine,
  active: number,
  pinned: Pinned,
  domid: number,
  behindDomid: number,
  behindGref: number,
): boolean {
  return (
    u16[(active + DOMID) >>> 1] === domid &&
    u32[(active + FRAME) >>> 2] === pinned.frame &&
    u16[(active + START) >>> 1] === pinned.start &&
    u16[(active + LENGTH) >>> 1] === pinned.length &&
    u16[(active + IS_SUB_PAGE) >>> 1] === 1 &&
    u16[(active + TRANS_DOMID) >>> 1] === behindDomid &&
    u32[(active + TRANS_GREF) >>> 2] === behindGref
  );
}

/** Whose grant may stand behind one of `granter`'s: another domain's that exists, if the machine allows it at all. */
function domainBehind(granter: Domain, domid: number): Domain | undefined {
  const { machine } = granter;
  const refused = domid === granter.id || !transitiveEnabled(machine);
  return refused ? undefined : machine.domainById(domid);
}
