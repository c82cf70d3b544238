/** A small protocol and small rings for the tests of this folder. */
import { flatAddressSpace } from '../machine/address-space.ts';
import type { AddressSpace } from '../machine/address-space.ts';
import { BackRing } from './back-ring.ts';
import { FrontRing } from './front-ring.ts';
import type { RingIndex } from './ring-index.ts';
import type { RingLayout } from './ring-layout.ts';

export interface Message {
  id: number;
}

/** Requests of 12 bytes and responses of 8; the id is repeated in the last word. */
export const testLayout: RingLayout<Message, Message> = {
  name: 'test',
  slotBytes: 12,
  requestBytes: 12,
  responseBytes: 8,
  newRequest: () => ({ id: 0 }),
  newResponse: () => ({ id: 0 }),
  readRequest: (view, offsetBytes, into) => {
    into.id = view.getUint32(offsetBytes, true);
    if (view.getUint32(offsetBytes + 8, true) !== into.id) throw new Error('torn request');
  },
  writeRequest: (view, offsetBytes, { id }) => {
    view.setUint32(offsetBytes, id, true);
    view.setUint32(offsetBytes + 8, id, true);
  },
  readResponse: (view, offsetBytes, into) => {
    into.id = view.getUint32(offsetBytes, true);
  },
  writeResponse: (view, offsetBytes, { id }) => view.setUint32(offsetBytes, id, true),
};

/** Both ends of a ring of `size` slots whose indices all start at `at`. */
export function ringPair(size: number, at: RingIndex = 0, space = memory(1)) {
  const sizeBytes = 64 + testLayout.slotBytes * size;
  const front = FrontRing.create(space, 0, testLayout, { sizeBytes });
  const { shared } = front;
  shared.reqProd = shared.rspProd = at;
  front.reqProdPvt = front.rspCons = at;
  const back = BackRing.attach(space, 0, testLayout, { sizeBytes, at });
  // As SHARED_RING_INIT leaves it: both ends are notified of the first message.
  front.finalCheckForResponses();
  back.finalCheckForRequests();
  return { front, back, shared };
}

export const memory = (pages: number): AddressSpace =>
  flatAddressSpace(new SharedArrayBuffer(pages * 4096));

export const ids = (messages: readonly Message[]): number[] => messages.map(({ id }) => id);
