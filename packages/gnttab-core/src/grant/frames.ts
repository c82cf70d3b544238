/** From a frame number in a grant entry or copy argument to a machine frame. */
import type { Domain } from '../machine/machine.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import { entryFrame, entryType, p2m_ram_rw, p2mEntry } from '../machine/p2m.ts';

/** The machine frame that `owner` means by `frame` (mfn for PV, gfn for translated); INVALID_MFN if none. */
export function frameNamed(owner: Domain, frame: number): number {
  if (!owner.translated) return frame;
  const entry = p2mEntry(owner, frame);
  return entryType(entry) === p2m_ram_rw ? entryFrame(entry) : INVALID_MFN;
}
