/**
 * The page between a guest and its XenStore daemon: struct xenstore_domain_interface, io/xs_wire.h. Two byte rings of
 * 1024 bytes, and what the server says about the connection.
 */
import { array, struct, u32, u8 } from '../abi/struct.ts';
import type { AddressSpace } from '../machine/address-space.ts';
import { ByteConsumer, ByteProducer } from './byte-ring.ts';
import type { ByteRingPlace } from './byte-ring.ts';

/** Bytes in each direction. */
export const XENSTORE_RING_SIZE = 1024;

export const xenstore_domain_interface = struct(
  'xenstore_domain_interface',
  {
    req: array(u8, XENSTORE_RING_SIZE),
    rsp: array(u8, XENSTORE_RING_SIZE),
    req_cons: u32,
    req_prod: u32,
    rsp_cons: u32,
    rsp_prod: u32,
    server_features: u32,
    connection: u32,
    error: u32,
  },
  { size: 2076 },
);

const streamAt = (va: number, stream: 'req' | 'rsp'): ByteRingPlace => {
  const { offset } = xenstore_domain_interface;
  return {
    dataVa: va + offset[stream],
    sizeBytes: XENSTORE_RING_SIZE,
    consVa: va + offset[`${stream}_cons`],
    prodVa: va + offset[`${stream}_prod`],
  };
};

/** The guest's end of the page at `va`: it writes requests and reads replies and watch events. */
export const xenstoreClientRing = (space: AddressSpace, va: number) => ({
  requests: new ByteProducer(space, streamAt(va, 'req')),
  responses: new ByteConsumer(space, streamAt(va, 'rsp')),
});

/** The daemon's end of the page at `va`. */
export const xenstoreServerRing = (space: AddressSpace, va: number) => ({
  requests: new ByteConsumer(space, streamAt(va, 'req')),
  responses: new ByteProducer(space, streamAt(va, 'rsp')),
});
