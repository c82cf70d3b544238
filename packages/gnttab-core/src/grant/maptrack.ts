/**
 * Map tracking: a domain's mappings of other domains' grants, by handle. Free entries form a queue through `ref`; its
 * last one is never given out, so n frames hold 256n - 1 mappings. Source: docs/misc/grant-tables.txt of Xen, "Map tracking".
 */
import type { Domain } from '../machine/machine.ts';
import { GT, MAPTRACK_PER_PAGE, MAPTRACK_TAIL, maptrackEntry } from './structs.ts';
import { listedFrame, listFrame } from './table.ts';

const { ref: REF, flags: FLAGS, domid: DOMID, serial: SERIAL } = maptrackEntry.offset;

/** Byte offset in bank 0 of a handle's entry. The handle is below nrMaptrackEntries. */
export const maptrackEntryOf = (domain: Domain, handle: number): number =>
  (listedFrame(domain, GT.maptrack_list, handle >>> 8) << 12) + ((handle & 255) << 4);

/** Handles below this have an entry. */
export const nrMaptrackEntries = (domain: Domain): number =>
  domain.machine.heap.u32[(domain.base + GT.nr_maptrack_frames) >>> 2]! * MAPTRACK_PER_PAGE;

/** get_maptrack_handle(): a free handle, or MAPTRACK_TAIL when the limit is reached. */
export function getMaptrackHandle(domain: Domain): number {
  const { base } = domain;
  const { native } = domain.machine;
  const { u32 } = domain.machine.heap;
  native.spinLock(base + GT.maptrack_lock);
  let handle = u32[(base + GT.maptrack_head) >>> 2]!;
  if (handle === u32[(base + GT.maptrack_tail) >>> 2]! && grow(domain)) {
    handle = u32[(base + GT.maptrack_head) >>> 2]!;
  }
  if (handle === u32[(base + GT.maptrack_tail) >>> 2]!) handle = MAPTRACK_TAIL;
  else {
    u32[(base + GT.maptrack_head) >>> 2] = u32[(maptrackEntryOf(domain, handle) + REF) >>> 2]!;
  }
  native.spinUnlock(base + GT.maptrack_lock);
  return handle;
}

/** put_maptrack_handle(): the handle is free again. Its flags are zero already. */
export function putMaptrackHandle(domain: Domain, handle: number): void {
  const { base } = domain;
  const { native } = domain.machine;
  const { u32 } = domain.machine.heap;
  u32[(maptrackEntryOf(domain, handle) + REF) >>> 2] = MAPTRACK_TAIL;
  native.spinLock(base + GT.maptrack_lock);
  append(domain, handle, handle);
  native.spinUnlock(base + GT.maptrack_lock);
}

function append(domain: Domain, first: number, last: number): void {
  const { base } = domain;
  const { u32 } = domain.machine.heap;
  const tail = u32[(base + GT.maptrack_tail) >>> 2]!;
  if (tail === MAPTRACK_TAIL) u32[(base + GT.maptrack_head) >>> 2] = first;
  else u32[(maptrackEntryOf(domain, tail) + REF) >>> 2] = first;
  u32[(base + GT.maptrack_tail) >>> 2] = last;
}

function grow(domain: Domain): boolean {
  const { base } = domain;
  const { u32 } = domain.machine.heap;
  const frames = u32[(base + GT.nr_maptrack_frames) >>> 2]!;
  if (frames === u32[(base + GT.max_maptrack_frames) >>> 2]!) return false;
  if (!listFrame(domain, GT.maptrack_list, frames)) return false;
  u32[(base + GT.nr_maptrack_frames) >>> 2] = frames + 1;
  const first = frames * MAPTRACK_PER_PAGE;
  const last = first + MAPTRACK_PER_PAGE - 1;
  for (let handle = first; handle < last; handle++) {
    u32[(maptrackEntryOf(domain, handle) + REF) >>> 2] = handle + 1;
  }
  u32[(maptrackEntryOf(domain, last) + REF) >>> 2] = MAPTRACK_TAIL;
  append(domain, first, last);
  return true;
}

/** Fills an entry, flags last: who uses an entry checks them first ("Locking"). */
export function fillMaptrack(
  domain: Domain,
  handle: number,
  granter: Domain,
  ref: number,
  flags: number,
): void {
  const { u16, u32 } = domain.machine.heap;
  const entry = maptrackEntryOf(domain, handle);
  u32[(entry + REF) >>> 2] = ref;
  u16[(entry + DOMID) >>> 1] = granter.id;
  u32[(entry + SERIAL) >>> 2] = granter.serial;
  Atomics.store(u16, (entry + FLAGS) >>> 1, flags);
}

/** The domain whose frame an entry maps; undefined if it is gone, whoever has its id now. */
export function granterOf(mapper: Domain, entry: number): Domain | undefined {
  const { machine } = mapper;
  const { u16, u32 } = machine.heap;
  const granter = machine.domainById(u16[(entry + DOMID) >>> 1]!);
  return granter?.serial === u32[(entry + SERIAL) >>> 2] ? granter : undefined;
}
