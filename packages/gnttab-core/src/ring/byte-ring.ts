/**
 * Rings of bytes: one stream in one direction, with its producer and its consumer index in shared memory. The same
 * arithmetic serves XenStore's page (struct xenstore_domain_interface, io/xs_wire.h) and the flexible rings of
 * io/ring.h (DEFINE_XEN_FLEX_RING_AND_INTF).
 *
 * Nobody keeps an index of his own here: the format lets either end be replaced while bytes are in flight. So both
 * indices are read once per call and judged, and every byte is found through the mask; whoever writes nonsense into
 * them can spoil this stream and nothing else.
 */
import { readBytes, writeBytes } from '../machine/address-space.ts';
import type { AddressSpace } from '../machine/address-space.ts';
import { bankOffset } from '../machine/page.ts';
import { add, distance, slotOf } from './ring-index.ts';
import type { RingIndex } from './ring-index.ts';
import { loadIndex, storeIndex } from './shared-index.ts';

/** Where one stream lies. The bytes may cross pages. */
export interface ByteRingPlace {
  readonly dataVa: number;
  /** A power of two. */
  readonly sizeBytes: number;
  readonly consVa: number;
  readonly prodVa: number;
}

/** Producer and consumer index are further apart than the ring is long. */
export interface ByteRingFault {
  readonly fault: 'byte ring indices';
  readonly produced: RingIndex;
  readonly consumed: RingIndex;
  readonly size: number;
}

/**
 * How many bytes from `index` on lie in one piece: up to the end of the ring. At most two pieces make up any range
 * that fits.
 */
export const contiguousBytes = (index: RingIndex, lengthBytes: number, sizeBytes: number): number =>
  Math.min(lengthBytes, sizeBytes - slotOf(index, sizeBytes));

class ByteRingEnd {
  protected readonly space: AddressSpace;
  protected readonly place: ByteRingPlace;

  constructor(space: AddressSpace, place: ByteRingPlace) {
    const { sizeBytes } = place;
    if (sizeBytes < 1 || slotOf(sizeBytes, sizeBytes) !== 0) {
      throw new RangeError(`byte ring of ${sizeBytes} bytes: allowed are powers of two`);
    }
    this.space = space;
    this.place = place;
  }

  /** Calls `move` for each contiguous piece: where it is, and which part of the caller's bytes it is. */
  protected eachPiece(
    index: RingIndex,
    bytes: Uint8Array,
    lengthBytes: number,
    move: (space: AddressSpace, va: number, part: Uint8Array) => void,
  ): void {
    const { dataVa, sizeBytes } = this.place;
    for (let done = 0; done < lengthBytes;) {
      const at = add(index, done);
      const piece = contiguousBytes(at, lengthBytes - done, sizeBytes);
      move(this.space, dataVa + slotOf(at, sizeBytes), bytes.subarray(done, done + piece));
      done += piece;
    }
  }

  protected load(va: number): RingIndex {
    const address = this.space.translate(va, 'read');
    return loadIndex(this.space.bankOf(address), bankOffset(address));
  }

  protected store(va: number, index: RingIndex): void {
    const address = this.space.translate(va, 'write');
    storeIndex(this.space.bankOf(address), bankOffset(address), index);
  }

  protected fault(produced: RingIndex, consumed: RingIndex): ByteRingFault {
    return { fault: 'byte ring indices', produced, consumed, size: this.place.sizeBytes };
  }
}

/** The end that writes. Throws PageFault if the ring's memory is gone. */
export class ByteProducer extends ByteRingEnd {
  /** Writes as many of the bytes as there is room for, and says how many. The caller notifies the other end. */
  write(bytes: Uint8Array): number | ByteRingFault {
    const { consVa, prodVa, sizeBytes } = this.place;
    const consumed = this.load(consVa); // xen_mb: the index is read before the freed bytes are overwritten
    const produced = this.load(prodVa);
    const queued = distance(consumed, produced);
    if (queued > sizeBytes) return this.fault(produced, consumed);
    const lengthBytes = Math.min(bytes.length, sizeBytes - queued);
    this.eachPiece(produced, bytes, lengthBytes, writeBytes);
    this.store(prodVa, add(produced, lengthBytes)); // xen_wmb: the bytes are visible before the index
    return lengthBytes;
  }
}

/** The end that reads. Throws PageFault if the ring's memory is gone. */
export class ByteConsumer extends ByteRingEnd {
  /** Reads as many bytes as there are and `into` can hold, and says how many. The caller notifies the other end. */
  read(into: Uint8Array): number | ByteRingFault {
    const { consVa, prodVa, sizeBytes } = this.place;
    const consumed = this.load(consVa);
    const produced = this.load(prodVa); // xen_rmb: the index is read before the bytes
    const queued = distance(consumed, produced);
    if (queued > sizeBytes) return this.fault(produced, consumed);
    const lengthBytes = Math.min(into.length, queued);
    this.eachPiece(consumed, into, lengthBytes, readBytes);
    this.store(consVa, add(consumed, lengthBytes)); // xen_mb: the bytes are read before they are given back
    return lengthBytes;
  }
}
