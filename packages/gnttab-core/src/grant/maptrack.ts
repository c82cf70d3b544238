/**
 * Map tracking: a domain's mappings of other domains' grants, by handle. Each virtual CPU has a queue of free entries,
 * linked through `ref`; its last one is never given out, so one CPU makes 256n - 1 mappings with n frames. A CPU without
 * entries takes some from the others once the domain has its limit. Source: docs/misc/grant-tables.txt, "Map tracking".
 */
import { DOMAIN, vcpuStruct } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { vcpuOf } from '../machine/vcpu.ts';
import { GT, MAPTRACK_PER_PAGE, MAPTRACK_TAIL, maptrackEntry } from './structs.ts';
import { listedFrame, listFrame } from './table.ts';

const {
  ref: REF,
  flags: FLAGS,
  vcpu: VCPU,
  domid: DOMID,
  place: PLACE,
  serial: SERIAL,
} = maptrackEntry.offset;
const {
  maptrack_freelist_lock: FREELIST_LOCK,
  maptrack_head: HEAD,
  maptrack_tail: TAIL,
} = vcpuStruct.offset;

const vcpusOf = (domain: Domain): number =>
  domain.machine.u32[(domain.base + DOMAIN.nr_vcpus) >>> 2]!;

/** Byte offset in bank 0 of a handle's entry. The handle is below nrMaptrackEntries. */
export const maptrackEntryOf = (domain: Domain, handle: number): number =>
  (listedFrame(domain, GT.maptrack_list, handle >>> 8) << 12) + ((handle & 255) << 4);

/** Handles below this have an entry. */
export const nrMaptrackEntries = (domain: Domain): number =>
  domain.machine.u32[(domain.base + GT.nr_maptrack_frames) >>> 2]! * MAPTRACK_PER_PAGE;

/** No virtual CPU has handles yet. */
export function initMaptrack(domain: Domain): void {
  const { u32 } = domain.machine;
  for (let vcpu = 0; vcpu < vcpusOf(domain); vcpu++) {
    u32[(vcpuOf(domain, vcpu) + HEAD) >>> 2] = MAPTRACK_TAIL;
    u32[(vcpuOf(domain, vcpu) + TAIL) >>> 2] = MAPTRACK_TAIL;
  }
}

/** get_maptrack_handle(): a free handle for a virtual CPU, or MAPTRACK_TAIL when the limit is reached. */
export function getMaptrackHandle(domain: Domain, vcpu: number): number {
  const handle = takeFrom(domain, vcpu);
  return handle === MAPTRACK_TAIL ? getWithoutHeadroom(domain, vcpu) : handle;
}

/** The first of a queue; MAPTRACK_TAIL where only the last is left. */
function takeFrom(domain: Domain, vcpu: number): number {
  const { native } = domain.machine;
  const { u32 } = domain.machine;
  const queue = vcpuOf(domain, vcpu);
  native.spinLock(queue + FREELIST_LOCK);
  let handle = u32[(queue + HEAD) >>> 2]!;
  if (handle !== MAPTRACK_TAIL) {
    const next = u32[(maptrackEntryOf(domain, handle) + REF) >>> 2]!;
    if (next === MAPTRACK_TAIL) handle = MAPTRACK_TAIL;
    else u32[(queue + HEAD) >>> 2] = next;
  }
  native.spinUnlock(queue + FREELIST_LOCK);
  return handle;
}

/** Grows the map track by a frame for this CPU; at the limit, takes from the others. */
function getWithoutHeadroom(domain: Domain, vcpu: number): number {
  const { native } = domain.machine;
  native.spinLock(domain.base + GT.maptrack_lock);
  const handle = growFor(domain, vcpu);
  native.spinUnlock(domain.base + GT.maptrack_lock);
  if (handle !== MAPTRACK_TAIL) return handle;
  // A queue must have a last entry before handles can be given back to it.
  const { u32 } = domain.machine;
  if (u32[(vcpuOf(domain, vcpu) + TAIL) >>> 2] === MAPTRACK_TAIL) {
    const last = steal(domain, vcpu);
    if (last === MAPTRACK_TAIL) return last;
    append(domain, vcpu, last, last);
  }
  return steal(domain, vcpu);
}

/** steal_maptrack_handle(): the first free handle of another CPU; MAPTRACK_TAIL if none has one to spare. */
function steal(domain: Domain, vcpu: number): number {
  const { u8 } = domain.machine;
  const vcpus = vcpusOf(domain);
  for (let i = 1; i < vcpus; i++) {
    const handle = takeFrom(domain, (vcpu + i) % vcpus);
    if (handle === MAPTRACK_TAIL) continue;
    u8[maptrackEntryOf(domain, handle) + VCPU] = vcpu;
    return handle;
  }
  return MAPTRACK_TAIL;
}

/** put_maptrack_handle(): the handle is free again. Its flags are zero already. */
export function putMaptrackHandle(domain: Domain, handle: number): void {
  const vcpu = domain.machine.u8[maptrackEntryOf(domain, handle) + VCPU]!;
  append(domain, vcpu, handle, handle);
}

/** Adds a chain of entries, `last` without a successor, to the end of a queue. */
function append(domain: Domain, vcpu: number, first: number, last: number): void {
  const { native } = domain.machine;
  const { u32 } = domain.machine;
  const queue = vcpuOf(domain, vcpu);
  u32[(maptrackEntryOf(domain, last) + REF) >>> 2] = MAPTRACK_TAIL;
  native.spinLock(queue + FREELIST_LOCK);
  const tail = u32[(queue + TAIL) >>> 2]!;
  if (tail === MAPTRACK_TAIL) u32[(queue + HEAD) >>> 2] = first;
  else u32[(maptrackEntryOf(domain, tail) + REF) >>> 2] = first;
  u32[(queue + TAIL) >>> 2] = last;
  native.spinUnlock(queue + FREELIST_LOCK);
}

/** A new frame: its first handle is returned, the others are the CPU's. MAPTRACK_TAIL at the limit or without memory. */
function growFor(domain: Domain, vcpu: number): number {
  const { base } = domain;
  const { u8, u32 } = domain.machine;
  const frames = u32[(base + GT.nr_maptrack_frames) >>> 2]!;
  if (frames === u32[(base + GT.max_maptrack_frames) >>> 2]!) return MAPTRACK_TAIL;
  if (!listFrame(domain, GT.maptrack_list, frames)) return MAPTRACK_TAIL;
  const first = frames * MAPTRACK_PER_PAGE;
  const last = first + MAPTRACK_PER_PAGE - 1;
  for (let handle = first; handle <= last; handle++) {
    const entry = maptrackEntryOf(domain, handle);
    u32[(entry + REF) >>> 2] = handle + 1;
    u8[entry + VCPU] = vcpu;
  }
  // Only now are the handles valid; who looks one up sees a filled entry.
  Atomics.store(u32, (base + GT.nr_maptrack_frames) >>> 2, frames + 1);
  append(domain, vcpu, first + 1, last);
  return first;
}

/** Fills an entry, flags last: who uses an entry checks them first ("Locking"). */
export function fillMaptrack(
  domain: Domain,
  handle: number,
  granter: Domain,
  ref: number,
  flags: number,
  place: number,
): void {
  const { u8, u16, u32 } = domain.machine;
  const entry = maptrackEntryOf(domain, handle);
  u32[(entry + REF) >>> 2] = ref;
  u16[(entry + DOMID) >>> 1] = granter.id;
  u32[(entry + PLACE) >>> 2] = place;
  if (granter === domain) domain.noteSelfMap();
  u32[(entry + SERIAL) >>> 2] = granter.serial;
  // The end of the active entry's lock is the barrier.
  u8[entry + FLAGS] = flags;
}

/** The domain whose frame an entry maps; undefined if it is gone, whoever has its id now. */
export function granterOf(mapper: Domain, entry: number): Domain | undefined {
  const { machine } = mapper;
  const { u16, u32 } = machine;
  const granter = machine.domainById(u16[(entry + DOMID) >>> 1]!);
  return granter?.serial === u32[(entry + SERIAL) >>> 2] ? granter : undefined;
}
