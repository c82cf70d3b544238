/**
 * The pages that a domain keeps for packets. Page flipping takes the frame out of a page and puts another one into a
 * page, so a page is either full (a frame is behind it) or empty (only its number, the gfn, is ours). Frames come and
 * go with packets; the pool keeps the domain's reservation level by asking the hypervisor for a frame, or by giving
 * one back, only when it has nothing of the kind that is needed.
 */
import type { GuestMemory, GuestPage } from '@ringside/gnttab-core';
import { pageBytes } from '../packet.ts';

/** One page for packets, and the one fragment that lies in it while a packet has it. */
export interface Frame {
  readonly page: GuestPage;
  /** Where in the page the fragment begins, and how long it is. */
  offsetBytes: number;
  sizeBytes: number;
  /** Bytes from its start that a peer must not see unless they are part of its packet. */
  dirtyBytes: number;
}

/** Frames that are asked for, or given back, with one hypercall. */
const reservationBatch = 32;

export class FramePool {
  readonly memory: GuestMemory;
  readonly #full: Frame[] = [];
  readonly #empty: Frame[] = [];
  readonly #batch: GuestPage[] = [];
  #pages = 0;

  constructor(memory: GuestMemory) {
    this.memory = memory;
  }

  /** Pages of the pool, lent ones included. */
  get pages(): number {
    return this.#pages;
  }

  /** Pages that are with some packet or ring at the moment. */
  get lent(): number {
    return this.#pages - this.#full.length - this.#empty.length;
  }

  /** A page with a frame behind it; undefined if the domain is out of memory. */
  takeFull(): Frame | undefined {
    if (this.#full.length === 0 && !this.#refill() && !this.#grow()) return undefined;
    return this.#full.pop();
  }

  /** A page without a frame, to receive one; undefined if the domain is out of memory. */
  takeEmpty(): Frame | undefined {
    if (this.#empty.length === 0) {
      if (this.#full.length === 0 && !this.#grow()) return undefined;
      this.#surrender();
    }
    return this.#empty.pop();
  }

  putFull(frame: Frame): void {
    this.#full.push(frame);
  }

  /**
   * As `putFull`, for a page with a received packet in it. Behind the packet is what its sender left there: nothing of
   * anybody's if it is honest (see `clearBehind`), and else its own loss.
   */
  putUsed(frame: Frame): void {
    const endBytes = frame.offsetBytes + frame.sizeBytes;
    if (frame.dirtyBytes < endBytes) frame.dirtyBytes = endBytes;
    this.#full.push(frame);
  }

  /** As `putFull`, for a page of which nothing is known. */
  putDirty(frame: Frame): void {
    frame.dirtyBytes = pageBytes;
    this.#full.push(frame);
  }

  putEmpty(frame: Frame): void {
    this.#empty.push(frame);
  }

  /** Writes a part of a packet at the start of a page, and clears what an earlier packet left behind it. */
  write(frame: Frame, from: Uint8Array): void {
    this.memory.write(frame.page.va, from);
    this.#clear(frame, from.length);
    frame.dirtyBytes = from.length;
  }

  /** Clears a page behind its fragment, before it is shown to a peer. */
  clearBehind(frame: Frame): void {
    this.#clear(frame, frame.offsetBytes + frame.sizeBytes);
  }

  /** Gives everything back to the domain, each page with a frame behind it, as it came. */
  close(): void {
    while (this.#refill());
    for (const { page } of this.#full) this.memory.freePage(page);
    this.#pages -= this.#full.length;
    this.#full.length = 0;
  }

  #clear(frame: Frame, atBytes: number): void {
    if (frame.dirtyBytes <= atBytes) return;
    this.memory.write(frame.page.va + atBytes, zeros.subarray(0, frame.dirtyBytes - atBytes));
    frame.dirtyBytes = atBytes;
  }

  /** Asks for frames to put behind empty pages; false if there are none of either. */
  #refill(): boolean {
    const frames = this.#empty.splice(-reservationBatch);
    if (frames.length === 0) return false;
    const filled = this.memory.refill(frames.map(({ page }) => page));
    frames.forEach((frame, i) => {
      frame.dirtyBytes = 0;
      (i < filled ? this.#full : this.#empty).push(frame);
    });
    return filled > 0;
  }

  /** Gives frames back, so that their pages are empty. */
  #surrender(): void {
    this.#batch.length = 0;
    for (let i = 0; i < reservationBatch; i++) {
      const frame = this.#full.pop();
      if (!frame) break;
      this.#batch.push(frame.page);
      this.#empty.push(frame);
    }
    this.memory.surrender(this.#batch);
  }

  /** Takes another page of the domain's memory; false if there is none. */
  #grow(): boolean {
    if (this.memory.freeCount === 0) return false;
    const page = this.memory.allocPage();
    this.memory.write(page.va, zeros);
    this.#full.push({ page, offsetBytes: 0, sizeBytes: 0, dirtyBytes: 0 });
    this.#pages++;
    return true;
  }
}

const zeros = new Uint8Array(pageBytes);
