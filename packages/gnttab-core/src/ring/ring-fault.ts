/** A producer index that no honest peer can have written. */
import { add } from './ring-index.ts';
import type { RingIndex } from './ring-index.ts';

/**
 * What a drain found instead of messages. The index is judged before the first slot is touched: it lies further
 * ahead than there can be messages, which includes an index that went backwards.
 *
 * `req_prod overflow`: RING_REQUEST_PROD_OVERFLOW, or req_prod behind what was consumed.
 * `rsp_prod overflow`: RING_RESPONSE_PROD_OVERFLOW, or more responses than there are unanswered requests.
 */
export interface RingFault {
  readonly fault: 'req_prod overflow' | 'rsp_prod overflow';
  /** The peer's producer index. */
  readonly produced: RingIndex;
  /** Our consumer index. */
  readonly consumed: RingIndex;
  /** Slots in the ring. */
  readonly size: number;
  /** How many messages there could have been at most. */
  readonly allowed: number;
}

/** One line: what was wrong, and what is allowed. */
export function describeRingFault({ fault, produced, consumed, size, allowed }: RingFault): string {
  const [index] = fault.split(' ');
  return `${fault}: the peer set ${index} to ${produced}; allowed are ${consumed} to ${add(consumed, allowed)} (ring of ${size})`;
}

/** The peer broke the ring protocol; the connection is lost. */
export class RingError extends Error {
  override readonly name = 'RingError';
  readonly fault: RingFault;

  constructor(ring: string, fault: RingFault) {
    super(`${ring} ring: ${describeRingFault(fault)}`);
    this.fault = fault;
  }
}
