/** From a frame number in a grant entry or copy argument to a frame that somebody holds. */
import { GNTST_bad_page, GNTST_okay } from '../abi/grant-table.ts';
import type { Domain } from '../machine/machine.ts';
import { getPage } from '../machine/frame-table.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import { entryFrame, entryType, p2m_ram_rw, p2mEntry } from '../machine/p2m.ts';

/** The machine frame that `owner` means by `frame` (mfn for PV, gfn for translated); INVALID_MFN if none. */
export function frameNamed(owner: Domain, frame: number): number {
  if (!owner.translated) return frame;
  const entry = p2mEntry(owner, frame);
  return entryType(entry) === p2m_ram_rw ? entryFrame(entry) : INVALID_MFN;
}

/**
 * get_paged_frame(): takes a reference to the frame that `owner` means by `frame`.
 * GNTST_bad_page if `owner` does not own such a frame.
 */
export function getPagedFrame(owner: Domain, frame: number): number {
  const mfn = frameNamed(owner, frame);
  return mfn !== INVALID_MFN && getPage(owner.machine, mfn, owner.id) ? GNTST_okay : GNTST_bad_page;
}
