/** One pass over the blocks of a disk, with as many requests under way as there are slots. */
import type { Blkfront } from '@ringside/blkif';
import type { Guest } from '@ringside/gnttab-core';
import type { BlockSlot } from './block-slot.ts';
import { WORKLOAD_TRACE } from './trace-kinds.ts';

/** What a pass goes over, and what becomes of each block. */
export interface BlockPass {
  readonly guest: Guest;
  readonly disk: Blkfront;
  readonly slots: readonly BlockSlot[];
  readonly operation: number;
  /** How many blocks there are, and where each is. */
  readonly blocks: number;
  blockAt(index: number): { readonly offsetBytes: number; readonly lengthBytes: number };
  /** No request begins after this time. */
  readonly endNs: number;
  /** Called before each request: fills the slot's pages if it writes. */
  prepare(slot: BlockSlot): void;
  /** Called after each request; `false` begins no more. */
  finish(slot: BlockSlot, status: number): boolean;
}

/** Resolves with what was done when no request is under way any more; rejects if `prepare` or `finish` throws. */
export function runBlockPass(pass: BlockPass): Promise<{ requests: number; bytes: number }> {
  const { guest, disk, slots, operation, blocks, endNs } = pass;
  const { clock, trace } = guest.machine;
  let [next, finished, bytes] = [0, 0, 0];
  let goOn = true;

  const issue = (slot: BlockSlot): void => {
    const { offsetBytes, lengthBytes } = pass.blockAt(next);
    slot.number = next++;
    slot.place(operation, offsetBytes, lengthBytes);
    pass.prepare(slot);
    slot.startNs = clock.nowNs();
    const { sector512 } = slot.request;
    const { id } = guest;
    trace.emit(WORKLOAD_TRACE.diskSubmit, id, slot.number, operation, sector512, lengthBytes);
    disk.submit(slot.request, slot.done);
  };

  return new Promise((resolve, reject) => {
    /** Begins the slot's next request, if there is one; the last slot to find none ends the pass. */
    const proceed = (slot: BlockSlot): void => {
      if (goOn && next < blocks && clock.nowNs() < endNs) issue(slot);
      else if (finished === next) resolve({ requests: finished, bytes });
    };
    for (const slot of slots) {
      slot.done = (status) => {
        slot.elapsedNs = clock.nowNs() - slot.startNs;
        trace.emit(WORKLOAD_TRACE.diskDone, guest.id, slot.number, status);
        finished++;
        bytes += slot.lengthBytes;
        try {
          goOn = pass.finish(slot, status) && goOn;
          proceed(slot);
        } catch (error) {
          goOn = false;
          reject(error as Error);
        }
      };
    }
    for (const slot of slots) proceed(slot);
  });
}
