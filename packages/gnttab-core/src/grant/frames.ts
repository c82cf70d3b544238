/** From the frame numbers of grant entries and copy arguments to machine frames, with the references that a use takes. */
import {
  grantEntryV1,
  grantEntryV2,
  GNTST_bad_page,
  GNTST_eagain,
  GNTST_general_error,
} from '../abi/grant-table.ts';
import { getPageFor, ownerOf } from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain, Machine } from '../machine/machine.ts';
import { entryFrame, entryType, p2m_ram_paged, p2m_ram_rw, p2mEntry } from '../machine/p2m.ts';

const FRAME_V1 = grantEntryV1.x86_64.offset.frame;
/** `frame` is at the same place in a full page entry and in a sub-page one. */
const FRAME_V2 = grantEntryV2.x86_64.fields.find(({ path }) => path === 'full_page.frame')!.offset;

/** The frame number in an entry at byte offset `shared` of bank 0, as its granter names it. */
export const grantedFrame = ({ u32 }: Machine, shared: number, version: number): number =>
  version === 1 ? u32[(shared + FRAME_V1) >>> 2]! : grantedFrameV2(u32, shared);

function grantedFrameV2(u32: Uint32Array<ArrayBufferLike>, shared: number): number {
  return u32[(shared + FRAME_V2) >>> 2]! + u32[(shared + FRAME_V2 + 4) >>> 2]! * 2 ** 32;
}

/** Writes the frame number of an entry, for the guest to find. */
export function setGrantedFrame(
  machine: Machine,
  shared: number,
  version: number,
  frame: number,
): void {
  const { u32 } = machine;
  if (version === 1) u32[(shared + FRAME_V1) >>> 2] = frame;
  else {
    u32[(shared + FRAME_V2) >>> 2] = frame;
    u32[(shared + FRAME_V2 + 4) >>> 2] = 0;
  }
}

/** The machine frame that `owner` means by `frame` (mfn for PV, gfn for translated); INVALID_MFN if none. */
export function frameNamed(owner: Domain, frame: number): number {
  if (!owner.translated) return frame;
  const entry = p2mEntry(owner, frame);
  return entryType(entry) === p2m_ram_rw ? entryFrame(entry) : INVALID_MFN;
}

/** get_paged_frame(), the look-up: a machine frame, or a negative status. Whose it is, `takePage` will see. */
export function pagedFrame(owner: Domain, frame: number): number {
  if (owner.translated) return pagedGfn(owner, frame);
  return frame < 0 ? GNTST_bad_page : frame;
}

function pagedGfn(owner: Domain, gfn: number): number {
  const entry = p2mEntry(owner, gfn);
  const type = entryType(entry);
  if (type === p2m_ram_rw) return entryFrame(entry);
  return type === p2m_ram_paged ? GNTST_eagain : GNTST_bad_page;
}

/**
 * Takes a reference to a frame of `domid`'s, and with `writable` a use of it as a writable page. GNTST_bad_page if the
 * frame is not the domain's, GNTST_general_error if it is in use as a page table; nothing is taken then.
 */
export function takePage(
  machine: Machine,
  frame: number,
  domid: number,
  writable: boolean,
): number {
  return getPageFor(machine, frame, domid, writable) ? 0 : whyNot(machine, frame, domid);
}

const whyNot = (machine: Machine, frame: number, domid: number): number =>
  ownerOf(machine, frame) === domid ? GNTST_general_error : GNTST_bad_page;
