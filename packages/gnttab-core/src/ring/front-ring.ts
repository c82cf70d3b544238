/**
 * The frontend's end of a ring (io/ring.h): it produces requests and consumes responses.
 *
 * | io/ring.h | here |
 * |-|-|
 * | `XEN_FRONT_RING_INIT` | `FrontRing.create` |
 * | `FRONT_RING_INIT`, `FRONT_RING_ATTACH` | `FrontRing.attach`, with `at` |
 * | `req_prod_pvt`, `rsp_cons` | `reqProdPvt`, `rspCons` |
 * | `RING_SIZE`, `RING_FREE_REQUESTS`, `RING_FULL` | `size`, `freeRequests`, `isFull` |
 * | `RING_GET_REQUEST` | `requestOffsetBytes`, `writeRequest`; `put` also moves `reqProdPvt` |
 * | `RING_PUSH_REQUESTS`, `…_AND_CHECK_NOTIFY` | `pushRequests`, `pushRequestsAndCheckNotify` |
 * | `XEN_RING_NR_UNCONSUMED_RESPONSES`, `RING_HAS_…` | `unconsumedResponses`, `hasUnconsumedResponses` |
 * | `RING_COPY_RESPONSE` | `copyResponse`; `drainResponses` copies all there are |
 * | `RING_RESPONSE_PROD_OVERFLOW` | `responseProdOverflow`; `drainResponses` checks by itself |
 * | `RING_FINAL_CHECK_FOR_RESPONSES` | `finalCheckForResponses` |
 */
import type { AddressSpace } from '../machine/address-space.ts';
import { DrainBuffer } from './drained.ts';
import type { Drained } from './drained.ts';
import { add, distance } from './ring-index.ts';
import type { RingIndex } from './ring-index.ts';
import type { RingLayout } from './ring-layout.ts';
import { SharedRing } from './shared-ring.ts';
import type { RingSpace } from './shared-ring.ts';
import { SlotScratch } from './slot.ts';

/** Where a frontend starts on a ring. */
export interface FrontRingOptions extends RingSpace {
  /** First index of both kinds. Default 0; for a ring in use, the index up to which everything is answered. */
  readonly at?: RingIndex;
}

/** Throws PageFault wherever it reaches for a shared page that is gone. */
export class FrontRing<Req, Rsp> {
  readonly shared: SharedRing;
  readonly layout: RingLayout<Req, Rsp>;
  /** req_prod_pvt: the next request goes here; the backend sees requests up to the last push. */
  reqProdPvt: RingIndex;
  /** rsp_cons: the next response comes from here. */
  rspCons: RingIndex;
  readonly #scratch: SlotScratch;
  readonly #responses: DrainBuffer<Rsp>;

  /** An empty ring in pages of ours: `XEN_FRONT_RING_INIT`. Only the front initialises the shared part. */
  static create<Req, Rsp>(
    space: AddressSpace,
    va: number,
    layout: RingLayout<Req, Rsp>,
    ringSpace: RingSpace = {},
  ): FrontRing<Req, Rsp> {
    const ring = FrontRing.attach(space, va, layout, ringSpace);
    ring.shared.init();
    return ring;
  }

  /** A ring that is initialised already: `FRONT_RING_ATTACH` at index `at`; `FRONT_RING_INIT` if that is 0. */
  static attach<Req, Rsp>(
    space: AddressSpace,
    va: number,
    layout: RingLayout<Req, Rsp>,
    options: FrontRingOptions = {},
  ): FrontRing<Req, Rsp> {
    const shared = new SharedRing(space, va, layout.slotBytes, options);
    return new FrontRing(shared, layout, options.at ?? 0);
  }

  private constructor(shared: SharedRing, layout: RingLayout<Req, Rsp>, at: RingIndex) {
    this.shared = shared;
    this.layout = layout;
    this.reqProdPvt = at;
    this.rspCons = at;
    this.#scratch = new SlotScratch(layout.slotBytes);
    this.#responses = new DrainBuffer(() => layout.newResponse());
  }

  /** Slots in the ring. */
  get size(): number {
    return this.shared.size;
  }

  /** How many requests may be put before a response is consumed. */
  get freeRequests(): number {
    return distance(distance(this.rspCons, this.reqProdPvt), this.size);
  }

  get isFull(): boolean {
    return this.freeRequests === 0;
  }

  /** Where the request of an index lies, in bytes from the start of the ring. */
  requestOffsetBytes(index: RingIndex): number {
    return this.shared.slotOffsetBytes(index);
  }

  /** Stores a request in the slot of an index; nothing is announced. */
  writeRequest(index: RingIndex, request: Readonly<Req>): void {
    const scratch = this.#scratch;
    const words = this.layout.requestBytes >>> 2;
    scratch.clear(words);
    this.layout.writeRequest(scratch.view, 0, request);
    this.shared.writeSlot(index, words, scratch.words);
  }

  /** Stores the next request; the backend sees it after a push. Throws RangeError if the ring is full. */
  put(request: Readonly<Req>): void {
    if (this.isFull) {
      throw new RangeError(
        `${this.layout.name} ring is full: all ${this.size} requests wait for a response`,
      );
    }
    this.writeRequest(this.reqProdPvt, request);
    this.reqProdPvt = add(this.reqProdPvt, 1);
  }

  /** Shows the backend what was put, without asking whether it wants to be notified. */
  pushRequests(): void {
    this.shared.reqProd = this.reqProdPvt; // xen_wmb: the requests are visible before the index
  }

  /** Shows the backend what was put. True: it asked to be notified of this. */
  pushRequestsAndCheckNotify(): boolean {
    return this.shared.produceRequests(this.reqProdPvt);
  }

  /** How many responses the backend claims to have waiting: not checked, any number below 2^32. */
  get unconsumedResponses(): number {
    return distance(this.rspCons, this.shared.rspProd);
  }

  get hasUnconsumedResponses(): boolean {
    return this.unconsumedResponses !== 0;
  }

  /** Copies the response of an index out of the ring; consumes nothing. */
  copyResponse(index: RingIndex, into: Rsp): void {
    const scratch = this.#scratch;
    this.shared.readSlots(index, 1, scratch.words);
    this.layout.readResponse(scratch.view, 0, into);
  }

  /** Whether a response producer index is further ahead than the ring is long. */
  responseProdOverflow(producer: RingIndex): boolean {
    return distance(this.rspCons, producer) > this.size;
  }

  /**
   * Copies and consumes the responses there are. Afterwards, before waiting for an event, comes
   * `finalCheckForResponses`. There cannot be more than unanswered requests: otherwise the result is a fault,
   * and nothing is consumed.
   */
  drainResponses(): Drained<Rsp> {
    const responses = this.#responses;
    const consumed = this.rspCons;
    const produced = this.shared.rspProd; // read once; xen_rmb: the index is read before the responses
    const { size } = this;
    const available = distance(consumed, produced);
    const allowed = Math.min(distance(consumed, this.reqProdPvt), size);
    if (available > allowed) {
      return responses.refuse({ fault: 'rsp_prod overflow', produced, consumed, size, allowed });
    }
    const { items } = responses.hold(available);
    const scratch = this.#scratch;
    scratch.reserve(available);
    this.shared.readSlots(consumed, available, scratch.words);
    const { layout } = this;
    const { view } = scratch;
    for (let i = 0; i < available; i++) {
      layout.readResponse(view, i * layout.slotBytes, items[i] as Rsp);
    }
    this.rspCons = produced;
    return responses;
  }

  /**
   * Asks the backend to notify of the very next response. True: one is there already, drain again; only after
   * false is it safe to wait for an event.
   */
  finalCheckForResponses(): boolean {
    if (this.hasUnconsumedResponses) return true;
    return this.shared.armResponses(add(this.rspCons, 1)) !== this.rspCons;
  }
}
