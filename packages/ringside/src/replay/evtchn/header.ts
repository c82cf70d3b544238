/** The first line of a trace: which domains there are, within what a machine can have. */
import { BANK_PAGES } from '@ringside/gnttab-core';
import { DOMID_FIRST_RESERVED } from '@ringside/gnttab-core/abi';
import {
  boolean,
  integerFrom,
  listOf,
  object,
  oneOf,
  orNull,
  type Read,
  RecordingError,
  text,
} from '../reader.ts';

const MAX_MFN = 128 * BANK_PAGES - 1;
const MAX_VCPUS = 128;
const domid = integerFrom(0, DOMID_FIRST_RESERVED - 1);

const domain = object({
  id: domid,
  priv: boolean,
  /** The hardware domain, which global VIRQs go to unless somebody else handles them. */
  hwdom: boolean,
  type: oneOf('pv', 'hvm'),
  bits: oneOf(64, 32),
  nvcpus: integerFrom(1, MAX_VCPUS),
  max_port: integerFrom(0, 0xffff_ffff),
  frames: integerFrom(1, BANK_PAGES),
  mfn_base: integerFrom(BANK_PAGES, MAX_MFN),
  /** Frames that are of another type than writable, and stay so. */
  ro_gfns: listOf(integerFrom(0, BANK_PAGES - 1)),
  /** The domain that it is the device model of. */
  target: orNull(domid),
});
/** A domain as it begins. */
export type DomainHeader = Read<typeof domain>;

const header = object({
  t: oneOf('hdr'),
  name: text,
  desc: text,
  xen: text,
  features: listOf(text),
  domains: listOf(domain),
});
/** The first line of a trace. */
export type EvtchnHeader = Read<typeof header>;

/** Every frame is held twice, as it is and as it should be. */
const MAX_FRAMES = 2 * BANK_PAGES;

/** Reads the first line of a trace. Throws RecordingError. */
export function headerOf(value: unknown, where: string): EvtchnHeader {
  const read = header(value, where);
  const frames = read.domains.reduce((sum, one) => sum + one.frames, 0);
  if (frames > MAX_FRAMES) {
    throw new RecordingError(
      `${where}: ${frames} frames in all domains; room is for ${MAX_FRAMES}`,
    );
  }
  for (const { id, ro_gfns, frames: own } of read.domains) {
    const beyond = ro_gfns.find((gfn) => gfn >= own);
    if (beyond !== undefined)
      throw new RecordingError(`${where}: domain ${id} has no gfn ${beyond}`);
  }
  return read;
}
