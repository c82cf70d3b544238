/**
 * The memory that both ends of a ring share: struct name_sring of io/ring.h. One page or more, consecutive in virtual
 * address but not in the machine, so every access asks the address space anew: a page that was unmapped or transferred
 * in the meantime faults. A slot may straddle two pages.
 */
import type { AddressSpace } from '../machine/address-space.ts';
import { bankOffset, PAGE_SIZE } from '../machine/page.ts';
import { needsNotify, ringSize, slotOf, slotOffsetBytes } from './ring-index.ts';
import type { RingIndex } from './ring-index.ts';
import { loadIndex, storeIndex } from './shared-index.ts';
import { sring } from './sring.ts';

/** How much memory a ring has; the `__size` argument of the header's macros. */
export interface RingSpace {
  /** Whole pages. Default 1. */
  readonly pages?: number;
  /** Bytes, for a ring that shares its page with something else. Default `pages * 4096`. */
  readonly sizeBytes?: number;
}

const {
  req_prod: REQ_PROD,
  req_event: REQ_EVENT,
  rsp_prod: RSP_PROD,
  rsp_event: RSP_EVENT,
  pvt: PVT,
} = sring.offset;

/**
 * Four shared indices and the slots. Either end can write all of it at any time.
 *
 * The indices are accessed with `Atomics`, which are sequentially consistent. That is more than each barrier of the
 * header asks for; comments name the barrier that an access stands for.
 */
export class SharedRing {
  readonly space: AddressSpace;
  readonly va: number;
  readonly slotBytes: number;
  /** Number of slots, a power of two: `RING_SIZE`. */
  readonly size: number;

  constructor(space: AddressSpace, va: number, slotBytes: number, { pages, sizeBytes }: RingSpace) {
    if (va % PAGE_SIZE !== 0) {
      throw new RangeError(`ring at 0x${va.toString(16)}: a ring starts at a page boundary`);
    }
    if (slotBytes < 4 || slotBytes % 4 !== 0) {
      throw new RangeError(`ring slots of ${slotBytes} bytes: allowed are multiples of 4`);
    }
    const bytes = sizeBytes ?? (pages ?? 1) * PAGE_SIZE;
    this.space = space;
    this.va = va;
    this.slotBytes = slotBytes;
    this.size = ringSize(slotBytes, bytes);
    if (this.size === 0) {
      throw new RangeError(`ring of ${bytes} bytes: not one slot of ${slotBytes} bytes fits`);
    }
  }

  /** `SHARED_RING_INIT`: nothing produced, both ends want to hear of the first message, padding zero. */
  init(): void {
    this.reqProd = this.rspProd = 0;
    this.reqEvent = this.rspEvent = 1;
    for (let offset = PVT; offset < sring.size; offset += 4) this.#store(offset, 0);
  }

  /** How far the frontend has produced requests. */
  get reqProd(): RingIndex {
    return this.#load(REQ_PROD);
  }
  set reqProd(index: RingIndex) {
    this.#store(REQ_PROD, index);
  }

  /** The backend wants to be notified when req_prod reaches this. */
  get reqEvent(): RingIndex {
    return this.#load(REQ_EVENT);
  }
  set reqEvent(index: RingIndex) {
    this.#store(REQ_EVENT, index);
  }

  /** How far the backend has produced responses. */
  get rspProd(): RingIndex {
    return this.#load(RSP_PROD);
  }
  set rspProd(index: RingIndex) {
    this.#store(RSP_PROD, index);
  }

  /** The frontend wants to be notified when rsp_prod reaches this. */
  get rspEvent(): RingIndex {
    return this.#load(RSP_EVENT);
  }
  set rspEvent(index: RingIndex) {
    this.#store(RSP_EVENT, index);
  }

  /** Moves req_prod to `index`. True: that reached or passed req_event. */
  produceRequests(index: RingIndex): boolean {
    return this.#produce(REQ_PROD, REQ_EVENT, index);
  }

  /** Moves rsp_prod to `index`. True: that reached or passed rsp_event. */
  produceResponses(index: RingIndex): boolean {
    return this.#produce(RSP_PROD, RSP_EVENT, index);
  }

  /** Sets req_event, and then looks at req_prod. */
  armRequests(event: RingIndex): RingIndex {
    return this.#arm(REQ_EVENT, event, REQ_PROD);
  }

  /** Sets rsp_event, and then looks at rsp_prod. */
  armResponses(event: RingIndex): RingIndex {
    return this.#arm(RSP_EVENT, event, RSP_PROD);
  }

  /** Where a slot starts, in bytes from the start of the ring. */
  slotOffsetBytes(index: RingIndex): number {
    return slotOffsetBytes(index, this.size, this.slotBytes);
  }

  /** Copies `count` whole slots from `index` on, in ring order, each word read once. Throws PageFault. */
  readSlots(index: RingIndex, count: number, into: Int32Array): void {
    const slotWords = this.slotBytes >>> 2;
    const words = count * slotWords;
    const ringWords = this.size * slotWords;
    let at = slotOf(index, this.size) * slotWords;
    for (let done = 0; done < words;) {
      const address = this.space.translate(this.va + sring.size + at * 4, 'read');
      const { i32 } = this.space.bankOf(address);
      const start = bankOffset(address) >>> 2;
      const run = Math.min(words - done, ringWords - at, wordsLeftInPage(address));
      if (run < LONG_RUN_WORDS) {
        for (let i = 0; i < run; i++) into[done + i] = i32[start + i] as number;
      } else {
        into.set(i32.subarray(start, start + run), done);
      }
      done += run;
      at = (at + run) % ringWords;
    }
  }

  /** Writes the first `words` 32-bit words of a slot, each once. Throws PageFault. */
  writeSlot(index: RingIndex, words: number, from: Int32Array): void {
    const va = this.va + this.slotOffsetBytes(index);
    for (let done = 0; done < words;) {
      const address = this.space.translate(va + done * 4, 'write');
      const bank = this.space.bankOf(address);
      const { i32 } = bank;
      const start = bankOffset(address) >>> 2;
      const run = Math.min(words - done, wordsLeftInPage(address));
      for (let i = 0; i < run; i++) i32[start + i] = from[done + i] as number;
      bank.memory.written?.(bankOffset(address), run * 4);
      done += run;
    }
  }

  #produce(prodBytes: number, eventBytes: number, index: RingIndex): boolean {
    const address = this.space.translate(this.va + prodBytes, 'write');
    const bank = this.space.bankOf(address);
    const header = bankOffset(address) - prodBytes;
    const before = loadIndex(bank, header + prodBytes);
    storeIndex(bank, header + prodBytes, index); // xen_wmb: the slots are visible before the index
    // xen_mb: the index is visible before the event is read (Atomics do not change places)
    return needsNotify(before, index, loadIndex(bank, header + eventBytes));
  }

  #arm(eventBytes: number, event: RingIndex, prodBytes: number): RingIndex {
    const address = this.space.translate(this.va + eventBytes, 'write');
    const bank = this.space.bankOf(address);
    const header = bankOffset(address) - eventBytes;
    storeIndex(bank, header + eventBytes, event);
    // xen_mb: the event is visible before the index is read (Atomics do not change places)
    return loadIndex(bank, header + prodBytes);
  }

  #load(offsetBytes: number): RingIndex {
    const address = this.space.translate(this.va + offsetBytes, 'read');
    return loadIndex(this.space.bankOf(address), bankOffset(address));
  }

  #store(offsetBytes: number, index: RingIndex): void {
    const address = this.space.translate(this.va + offsetBytes, 'write');
    storeIndex(this.space.bankOf(address), bankOffset(address), index);
  }
}

/** From here on, making a subarray and one call to copy it cost less than a loop. */
const LONG_RUN_WORDS = 128;

const wordsLeftInPage = (address: number): number => (PAGE_SIZE - (address % PAGE_SIZE)) >>> 2;
