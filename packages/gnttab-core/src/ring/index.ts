/** Rings of io/ring.h: index arithmetic, both ends, byte rings, and the streams on top. */
export { add, distance, needsNotify, ringSize } from './ring-index.ts';
export { sring } from './sring.ts';
export type { RingIndex } from './ring-index.ts';
export type { RingLayout } from './ring-layout.ts';
export { SharedRing } from './shared-ring.ts';
export type { RingSpace } from './shared-ring.ts';
export { FrontRing } from './front-ring.ts';
export type { FrontRingOptions } from './front-ring.ts';
export { BackRing } from './back-ring.ts';
export type { BackRingOptions } from './back-ring.ts';
export type { Batch, Drained } from './drained.ts';
export { describeRingFault, RingError } from './ring-fault.ts';
export type { RingFault } from './ring-fault.ts';
export { ByteConsumer, ByteProducer, contiguousBytes } from './byte-ring.ts';
export type { ByteRingFault, ByteRingPlace } from './byte-ring.ts';
export { renderRing } from './render-ring.ts';
export { requests$, responses$ } from './ring.stream.ts';
export type { RingPort } from './ring.stream.ts';
export {
  XENSTORE_RING_SIZE,
  xenstore_domain_interface,
  xenstoreClientRing,
  xenstoreServerRing,
} from './xenstore-ring.ts';
export { flex_data_intf, flexBackRing, flexFrontRing, flexRingSize } from './flex-ring.ts';
export type { FlexRingPlace } from './flex-ring.ts';
