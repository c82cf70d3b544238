/**
 * The two ways in which a receiver offers pages on a netif_rx ring: as room for a copy (`request-rx-copy`), or as a
 * place for a frame that changes hands (page flipping).
 */
import type { GrantRef } from '@ringside/gnttab-core';
import type { Link } from '../link.ts';
import type { Frame } from '../memory/frame-pool.ts';

/** What a page that comes back is: with data, without a frame, or still in the other end's use. */
export type Reclaimed = 'full' | 'empty' | 'busy';

export interface Buffers {
  /** A page to offer; undefined if the domain is out of memory. */
  take(): Frame | undefined;
  offer(ref: GrantRef, frame: Frame): void;
  reclaim(ref: GrantRef, frame: Frame): Reclaimed;
}

/** The other end copies into pages of ours: GTF_permit_access. */
export function copyBuffers({ guest, peer, packets }: Link): Buffers {
  return {
    take: () => packets.frames.takeFull(),
    offer: (ref, { page }) =>
      guest.grants.grantForeignAccessRef(ref, peer, guest.memory.frameOf(page), false),
    reclaim: (ref) => (guest.grants.endForeignAccessRef(ref) === 'busy' ? 'busy' : 'full'),
  };
}

/** The other end hands its frames over: GTF_accept_transfer. What is in them is the sender's to answer for. */
export function flipBuffers({ guest, peer, packets }: Link): Buffers {
  return {
    take: () => packets.frames.takeEmpty(),
    offer: (ref, { page }) => guest.grants.grantForeignTransferRef(ref, peer, page.gfn),
    reclaim(ref, frame) {
      const mfn = guest.grants.endForeignTransferRef(ref);
      if (mfn === undefined) return 'empty';
      guest.memory.adopt(frame.page, mfn);
      frame.dirtyBytes = 0;
      return 'full';
    },
  };
}
