/**
 * GNTTABOP_set_version (grant_table.h): from 8-byte entries to 16-byte entries with status words apart, and back. The
 * reserved entries survive, everything else is gone.
 */
import { XEN_EBUSY, XEN_EINVAL, XEN_ENOMEM, XEN_ENOSYS, XEN_ERANGE } from '../abi/errno.ts';
import {
  GNTTAB_NR_RESERVED_ENTRIES,
  GTF_permit_access,
  GTF_reading,
  GTF_transitive,
  GTF_type_mask,
  GTF_writing,
} from '../abi/grant-table.ts';
import { claimXenHeapPages } from '../machine/frame-table.ts';
import { giveFree } from '../machine/free-pages.ts';
import type { Domain } from '../machine/machine.ts';
import { leaveGfn } from '../machine/p2m.ts';
import { frameAddress, PAGE_SIZE } from '../machine/page.ts';
import { TRACE } from '../machine/trace-kinds.ts';
import { ACT } from './active.ts';
import { grantedFrame, setGrantedFrame } from './frames.ts';
import { GT } from './structs.ts';
import {
  activeEntryOf,
  grantVersion,
  nrGrantEntries,
  nrGrantFrames,
  nrStatusFrames,
  populateStatusFrames,
  sharedEntryOf,
  sharedFrameAt,
  statusFrameAt,
  statusWordOf,
} from './table.ts';

/** struct gnttab_set_version. */
export interface SetVersion {
  /** In: the version asked for. Out: the version in force. */
  version: number;
}

/** GNTTABOP_set_version: 0 or -errno. */
export function setVersion(domain: Domain, op: SetVersion): number {
  const { native, trace } = domain.machine;
  const asked = op.version;
  native.writeLock(domain.base + GT.lock);
  const result = change(domain, asked);
  op.version = grantVersion(domain);
  native.writeUnlock(domain.base + GT.lock);
  trace.emit(TRACE.setVersion, domain.id, asked, result);
  return result;
}

/** Under the write lock. The order of the checks is the genuine one. */
function change(domain: Domain, version: number): number {
  const { u32 } = domain.machine;
  if (version !== 1 && version !== 2) return -XEN_EINVAL;
  if (version > u32[(domain.base + GT.max_version) >>> 2]!) return -XEN_ENOSYS;
  if (version === grantVersion(domain)) return 0;
  for (let ref = GNTTAB_NR_RESERVED_ENTRIES; ref < nrGrantEntries(domain); ref++) {
    if (u32[(activeEntryOf(domain, ref) + ACT.pin) >>> 2] !== 0) return -XEN_EBUSY;
  }
  return version === 2 ? toVersion2(domain) : toVersion1(domain);
}

/** A reserved entry on its way from one layout to the other. */
interface Reserved {
  flags: number;
  domid: number;
  frame: number;
}

const IN_USE = GTF_reading | GTF_writing;

/** Flags, domid and frame are kept as they are, whatever they mean; the in-use bits move to the status words. */
function toVersion2(domain: Domain): number {
  if (!populateStatusFrames(domain, nrGrantFrames(domain))) return -XEN_ENOMEM;
  const kept = reservedEntries(domain);
  setLayout(domain, 2);
  const { u16 } = domain.machine;
  kept.forEach(({ flags, domid, frame }, ref) => {
    writeEntry(domain, ref, { flags: flags & ~IN_USE, domid, frame });
    u16[statusWordOf(domain, ref) >>> 1] = flags & IN_USE;
  });
  return 0;
}

/** Only what permits access to a whole page has an equivalent; a transitive entry, or too high a frame, is in the way. */
function toVersion1(domain: Domain): number {
  const kept = reservedEntries(domain);
  for (const entry of kept) {
    const type = entry.flags & GTF_type_mask;
    const permits = type === GTF_permit_access;
    if (type === GTF_transitive || (permits && entry.frame > 0xffff_ffff)) return -XEN_ERANGE;
    if (!permits) Object.assign(entry, { flags: 0, domid: 0, frame: 0 });
  }
  if (!unpopulateStatusFrames(domain)) return -XEN_EBUSY;
  setLayout(domain, 1);
  kept.forEach((entry, ref) => writeEntry(domain, ref, entry));
  return 0;
}

/** Each is read once: the guest may be writing. In-use bits are among the flags, wherever they are kept. */
function reservedEntries(domain: Domain): Reserved[] {
  const { machine } = domain;
  const { u16, u32 } = machine;
  return Array.from({ length: GNTTAB_NR_RESERVED_ENTRIES }, (_, ref) => {
    const shared = sharedEntryOf(domain, ref);
    const header = u32[shared >>> 2]!;
    return {
      flags: (header & 0xffff) | u16[statusWordOf(domain, ref) >>> 1]!,
      domid: header >>> 16,
      frame: grantedFrame(machine, shared, grantVersion(domain)),
    };
  });
}

function writeEntry(domain: Domain, ref: number, { flags, domid, frame }: Reserved): void {
  const { machine } = domain;
  const shared = sharedEntryOf(domain, ref);
  machine.u32[shared >>> 2] = flags | (domid << 16);
  setGrantedFrame(machine, shared, grantVersion(domain), frame);
}

/** From here on entries have the other layout, and are empty. */
function setLayout(domain: Domain, version: number): void {
  const { machine } = domain;
  for (let i = 0; i < nrGrantFrames(domain); i++) {
    machine.native.zero(frameAddress(sharedFrameAt(domain, i)), PAGE_SIZE);
  }
  machine.u32[(domain.base + GT.version) >>> 2] = version;
}

/**
 * gnttab_unpopulate_status_frames(): a translated domain's leave its physical address space; false, with nothing
 * changed, while a page table still maps one.
 */
function unpopulateStatusFrames(domain: Domain): boolean {
  const { machine } = domain;
  const frames = Array.from({ length: nrStatusFrames(domain) }, (_, i) => statusFrameAt(domain, i));
  if (!claimXenHeapPages(machine, frames)) return false;
  if (domain.translated) for (const frame of frames) leaveGfn(domain, frame);
  machine.u32[(domain.base + GT.nr_status_frames) >>> 2] = 0;
  for (const frame of frames) giveFree(machine, frame);
  return true;
}
