/** The first line of a trace: which domains there are, within what a machine can have. */
import { BANK_PAGES } from '@ringside/gnttab-core';
import { DOMID_FIRST_RESERVED } from '@ringside/gnttab-core/abi';
import {
  boolean,
  hex,
  integerFrom,
  listOf,
  object,
  oneOf,
  type Read,
  RecordingError,
  text,
} from '../reader.ts';

/** What a machine can have: banks of so many frames, Xen's own limits on a domain, and what fits a host's memory. */
const MAX_MFN = 128 * BANK_PAGES - 1;
const MAX_TABLE_FRAMES = 1024;
const MAX_VCPUS = 128;
const MAX_ADDRESS_BITS = 64;

const domain = object({
  id: integerFrom(0, DOMID_FIRST_RESERVED - 1),
  priv: boolean,
  type: oneOf('pv', 'hvm'),
  frames: integerFrom(1, BANK_PAGES),
  max_pages: integerFrom(1, MAX_MFN),
  max_grant_frames: integerFrom(1, MAX_TABLE_FRAMES),
  max_maptrack_frames: integerFrom(0, MAX_TABLE_FRAMES),
  max_version: oneOf(1, 2),
  nvcpu: integerFrom(1, MAX_VCPUS),
  addr_bits: integerFrom(0, MAX_ADDRESS_BITS),
  l1_gfns: listOf(integerFrom(0, BANK_PAGES - 1)),
  mfn_base: integerFrom(BANK_PAGES, MAX_MFN),
});
/** A domain as it begins. */
export type DomainHeader = Read<typeof domain>;

const header = object({
  t: oneOf('hdr'),
  format: oneOf(1),
  name: text,
  desc: text,
  xen: text,
  arch: oneOf('x86_64'),
  features: listOf(text),
  opts: object({ transitive: oneOf(0, 1), transfer: oneOf(0, 1) }),
  va_base: hex,
  domains: listOf(domain),
});

/** Every frame is held twice, as it is and as it should be. */
const MAX_FRAMES = 2 * BANK_PAGES;

/** Reads the first line of a trace. Throws RecordingError. */
export function headerOf(value: unknown, where: string): Read<typeof header> {
  const read = header(value, where);
  const frames = read.domains.reduce((sum, one) => sum + one.frames, 0);
  if (frames <= MAX_FRAMES) return read;
  throw new RecordingError(`${where}: ${frames} frames in all domains; room is for ${MAX_FRAMES}`);
}
