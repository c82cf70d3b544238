/**
 * The backend's end of a ring (io/ring.h): it consumes requests and produces responses.
 *
 * | io/ring.h | here |
 * |-|-|
 * | `BACK_RING_INIT`, `BACK_RING_ATTACH` | `BackRing.attach`, with `at` |
 * | `rsp_prod_pvt`, `req_cons` | `rspProdPvt`, `reqCons` |
 * | `RING_SIZE` | `size` |
 * | `XEN_RING_NR_UNCONSUMED_REQUESTS`, `RING_HAS_…` | `unconsumedRequests`, `hasUnconsumedRequests` |
 * | `RING_COPY_REQUEST` | `copyRequest`; `drainRequests` copies all there are |
 * | `RING_REQUEST_CONS_OVERFLOW`, `RING_REQUEST_PROD_OVERFLOW` | `requestConsOverflow`, `requestProdOverflow`; `drainRequests` checks by itself |
 * | `RING_GET_RESPONSE` | `responseOffsetBytes`, `writeResponse`; `put` also moves `rspProdPvt` |
 * | `RING_PUSH_RESPONSES`, `…_AND_CHECK_NOTIFY` | `pushResponses`, `pushResponsesAndCheckNotify` |
 * | `RING_FINAL_CHECK_FOR_REQUESTS` | `finalCheckForRequests` |
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

/** Where a backend starts on a ring. */
export interface BackRingOptions extends RingSpace {
  /**
   * First index of both kinds. Default 0. `'rsp_prod'` is for a ring in use (the backend restarted): rsp_prod is read
   * once, and the requests that were not answered are seen again. A ring page that makes no sense is found out by the
   * first drain.
   */
  readonly at?: RingIndex | 'rsp_prod';
}

/** Throws PageFault wherever it reaches for a shared page that is gone. */
export class BackRing<Req, Rsp> {
  readonly shared: SharedRing;
  readonly layout: RingLayout<Req, Rsp>;
  /** rsp_prod_pvt: the next response goes here; the frontend sees responses up to the last push. */
  rspProdPvt: RingIndex;
  /** req_cons: the next request comes from here. */
  reqCons: RingIndex;
  readonly #scratch: SlotScratch;
  readonly #requests: DrainBuffer<Req>;

  /** A ring that its frontend has initialised: `BACK_RING_ATTACH` at index `at`; `BACK_RING_INIT` if that is 0. */
  static attach<Req, Rsp>(
    space: AddressSpace,
    va: number,
    layout: RingLayout<Req, Rsp>,
    options: BackRingOptions = {},
  ): BackRing<Req, Rsp> {
    const shared = new SharedRing(space, va, layout.slotBytes, options);
    const at = options.at === 'rsp_prod' ? shared.rspProd : (options.at ?? 0);
    return new BackRing(shared, layout, at);
  }

  private constructor(shared: SharedRing, layout: RingLayout<Req, Rsp>, at: RingIndex) {
    this.shared = shared;
    this.layout = layout;
    this.rspProdPvt = at;
    this.reqCons = at;
    this.#scratch = new SlotScratch(layout.slotBytes);
    this.#requests = new DrainBuffer(() => layout.newRequest());
  }

  /** Slots in the ring. */
  get size(): number {
    return this.shared.size;
  }

  /** How many more requests can be consumed before a response is put: size less those consumed and unanswered. */
  get #consumable(): number {
    return distance(distance(this.rspProdPvt, this.reqCons), this.size);
  }

  /** How many requests wait: what the frontend claims, or what the ring can hold beside the unanswered ones if less. */
  get unconsumedRequests(): number {
    return this.#unconsumed(this.shared.reqProd);
  }

  #unconsumed(produced: RingIndex): number {
    return Math.min(distance(this.reqCons, produced), this.#consumable);
  }

  get hasUnconsumedRequests(): boolean {
    return this.unconsumedRequests !== 0;
  }

  /** Copies the request of an index out of the ring; consumes nothing. */
  copyRequest(index: RingIndex, into: Req): void {
    const scratch = this.#scratch;
    this.shared.readSlots(index, 1, scratch.words);
    this.layout.readRequest(scratch.view, 0, into);
  }

  /** Whether the request at this consumer index cannot exist yet, because its slot waits for a response. */
  requestConsOverflow(consumer: RingIndex): boolean {
    return distance(this.rspProdPvt, consumer) >= this.size;
  }

  /** Whether a request producer index is further ahead of the responses than the ring is long. */
  requestProdOverflow(producer: RingIndex): boolean {
    return distance(this.rspProdPvt, producer) > this.size;
  }

  /**
   * Copies and consumes the requests there are, `limit` at most. Afterwards, before waiting for an event, comes
   * `finalCheckForRequests`. Requests and unanswered ones together cannot be more than the ring holds: otherwise the
   * result is a fault, and nothing is consumed.
   */
  drainRequests(limit = Infinity): Drained<Req> {
    const requests = this.#requests;
    const consumed = this.reqCons;
    const produced = this.shared.reqProd; // read once; xen_rmb: the index is read before the requests
    const { size } = this;
    const available = distance(consumed, produced);
    const allowed = this.#consumable;
    if (available > allowed) {
      return requests.refuse({ fault: 'req_prod overflow', produced, consumed, size, allowed });
    }
    const count = Math.min(available, limit);
    const { items } = requests.hold(count);
    const scratch = this.#scratch;
    scratch.reserve(count);
    this.shared.readSlots(consumed, count, scratch.words);
    const { layout } = this;
    const { view } = scratch;
    for (let i = 0; i < count; i++) {
      layout.readRequest(view, i * layout.slotBytes, items[i] as Req);
    }
    this.reqCons = add(consumed, count);
    return requests;
  }

  /**
   * Asks the frontend to notify of the very next request. True: one is there already, drain again; only after false is
   * it safe to wait for an event.
   */
  finalCheckForRequests(): boolean {
    if (this.hasUnconsumedRequests) return true;
    return this.#unconsumed(this.shared.armRequests(add(this.reqCons, 1))) !== 0;
  }

  /** Where the response of an index lies, in bytes from the start of the ring. */
  responseOffsetBytes(index: RingIndex): number {
    return this.shared.slotOffsetBytes(index);
  }

  /** Stores a response in the slot of an index; nothing is announced. */
  writeResponse(index: RingIndex, response: Readonly<Rsp>): void {
    const scratch = this.#scratch;
    const words = this.layout.responseBytes >>> 2;
    scratch.clear(words);
    this.layout.writeResponse(scratch.view, 0, response);
    this.shared.writeSlot(index, words, scratch.words);
  }

  /** Stores the next response; the frontend sees it after a push. Throws RangeError if every request has its own. */
  put(response: Readonly<Rsp>): void {
    if (this.rspProdPvt === this.reqCons) {
      throw new RangeError(`${this.layout.name} ring: every consumed request has its response`);
    }
    this.writeResponse(this.rspProdPvt, response);
    this.rspProdPvt = add(this.rspProdPvt, 1);
  }

  /** Shows the frontend what was put, without asking whether it wants to be notified. */
  pushResponses(): void {
    this.shared.rspProd = this.rspProdPvt; // xen_wmb: the responses are visible before the index
  }

  /** Shows the frontend what was put. True: it asked to be notified of this. */
  pushResponsesAndCheckNotify(): boolean {
    return this.shared.produceResponses(this.rspProdPvt);
  }
}
