/**
 * Every XenStore key of the block protocol that Ringside honours. Keys that every device has (state, backend, frontend,
 * online …) belong to xenbus. Source: io/blkif.h, "Feature and Parameter Negotiation".
 */

import { keyTable } from '@ringside/xenstore-lite';

const U32_MAX = 0xffff_ffff;

/** io/protocols.h; the layout of ring entries of a 64-bit guest. */
export const XEN_IO_PROTO_ABI_X86_64 = 'x86_64-abi';

/** In the backend's directory, from the toolstack: what the device is. */
export const vbdConfigKeys = keyTable({
  params: {
    type: 'string',
    writer: 'toolstack',
    docs: 'What to serve, in words that the backend understands: a path, an address.',
  },
  type: {
    type: 'string',
    default: 'file',
    writer: 'toolstack',
    docs: 'Kind of the backing object: file, phy, tap, or what the backend knows besides.',
  },
  mode: {
    type: 'string',
    pattern: /^[rw]$/,
    default: 'w',
    writer: 'toolstack',
    docs: 'Whether the frontend may write (w) or only read (r).',
  },
});

/** In the frontend's directory, from the toolstack: what the guest shall see. */
export const vbdDeviceKeys = keyTable({
  'virtual-device': {
    type: 'uint',
    max: U32_MAX,
    writer: 'toolstack',
    docs: 'Number of the device in the guest; 51712 is xvda. Its low half is the handle in requests.',
  },
  'device-type': {
    type: 'string',
    default: 'disk',
    writer: 'toolstack',
    docs: 'disk, cdrom or floppy.',
  },
});

/** What the backend offers, before it goes to InitWait. */
export const vbdFeatureKeys = keyTable({
  'feature-flush-cache': {
    type: 'bool',
    default: false,
    writer: 'backend',
    docs: 'BLKIF_OP_FLUSH_DISKCACHE is carried out.',
  },
  'feature-barrier': {
    type: 'bool',
    default: false,
    writer: 'backend',
    docs: 'BLKIF_OP_WRITE_BARRIER is carried out.',
  },
});

/** What the backend says of the disk, before it goes to Connected. */
export const vbdPropertyKeys = keyTable({
  sectors: {
    type: 'uint',
    min: 1,
    max: 2 ** 44 - 1,
    writer: 'backend',
    docs: 'Size in units of 512 bytes, whatever sector-size says.',
  },
  'sector-size': {
    type: 'uint',
    min: 512,
    max: 4096,
    default: 512,
    writer: 'backend',
    docs: 'Logical block in bytes, a power of two: requests are multiples of it.',
  },
  'physical-sector-size': {
    type: 'uint',
    min: 512,
    max: 2 ** 31,
    optional: true,
    writer: 'backend',
    docs: 'Physical block in bytes, a multiple of sector-size, and the same if missing.',
  },
  info: {
    type: 'uint',
    max: U32_MAX,
    default: 0,
    writer: 'backend',
    docs: 'Bits VDISK_CDROM (1), VDISK_REMOVABLE (2), VDISK_READONLY (4).',
  },
});

/** What the frontend shares, before it goes to Initialised. */
export const vbdRingKeys = keyTable({
  'ring-ref': {
    type: 'uint',
    max: U32_MAX,
    writer: 'frontend',
    docs: 'Grant reference of the one page of the ring.',
  },
  'event-channel': {
    type: 'uint',
    min: 1,
    max: U32_MAX,
    writer: 'frontend',
    docs: 'Event channel port, unbound, that the backend binds to.',
  },
  protocol: {
    type: 'string',
    pattern: new RegExp(`^${XEN_IO_PROTO_ABI_X86_64}$`),
    default: XEN_IO_PROTO_ABI_X86_64,
    writer: 'frontend',
    docs: 'Layout of the ring entries.',
  },
});
