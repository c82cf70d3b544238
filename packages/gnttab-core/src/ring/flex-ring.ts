/**
 * Flexible rings: DEFINE_XEN_FLEX_RING_AND_INTF of io/ring.h (9pfs, pvcalls). A page of indices and, apart from it,
 * 2^order pages of bytes, whose first half flows in to the frontend and whose second half flows out of it.
 *
 * The header's `name_queued` reduces hostile indices to something inside the ring; here they are a fault.
 */
import { array, struct, u32, u8 } from '../abi/struct.ts';
import type { AddressSpace } from '../machine/address-space.ts';
import { PAGE_SHIFT } from '../machine/page.ts';
import { ByteConsumer, ByteProducer } from './byte-ring.ts';
import type { ByteRingPlace } from './byte-ring.ts';

/** struct name_data_intf, up to its array of `1 << ring_order` grant references. */
export const flex_data_intf = struct(
  'xen_flex_data_intf',
  {
    in_cons: u32,
    in_prod: u32,
    pad1: array(u8, 56),
    out_cons: u32,
    out_prod: u32,
    pad2: array(u8, 56),
    ring_order: u32,
  },
  { size: 132 },
);

/** `XEN_FLEX_RING_SIZE`: bytes in each direction. */
export const flexRingSize = (order: number): number => 2 ** (order + PAGE_SHIFT - 1);

/** Where a flexible ring lies: its indices, and its `2^order` pages of bytes. */
export interface FlexRingPlace {
  readonly intfVa: number;
  readonly dataVa: number;
  readonly order: number;
}

function streamAt({ intfVa, dataVa, order }: FlexRingPlace, stream: 'in' | 'out'): ByteRingPlace {
  const { offset } = flex_data_intf;
  const sizeBytes = flexRingSize(order);
  return {
    dataVa: stream === 'in' ? dataVa : dataVa + sizeBytes,
    sizeBytes,
    consVa: intfVa + offset[`${stream}_cons`],
    prodVa: intfVa + offset[`${stream}_prod`],
  };
}

/** The frontend's end. */
export const flexFrontRing = (space: AddressSpace, place: FlexRingPlace) => ({
  in: new ByteConsumer(space, streamAt(place, 'in')),
  out: new ByteProducer(space, streamAt(place, 'out')),
});

/** The backend's end. */
export const flexBackRing = (space: AddressSpace, place: FlexRingPlace) => ({
  in: new ByteProducer(space, streamAt(place, 'in')),
  out: new ByteConsumer(space, streamAt(place, 'out')),
});
