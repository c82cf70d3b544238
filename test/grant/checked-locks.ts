/**
 * Watches a machine's locks: none is taken twice, each only while those are held that docs/architecture.md ("Locks") allows,
 * and all are let go. With one thread a mistake would go unnoticed; with several it would hang.
 */
import { type Domain, InvariantError, type Machine, PAGE_SIZE } from '@ringside/gnttab-core';
import {
  domainStruct,
  eventChannels,
  evtchnOf,
  grantTable,
  machineHeader,
  portIsValid,
  vcpuStruct,
} from '@ringside/gnttab-core/hypervisor';

type Kind =
  | 'grant table'
  | 'active entry'
  | 'map track'
  | 'free handles'
  | 'page list'
  | 'event channels'
  | 'global VIRQs'
  | 'VIRQs'
  | 'port'
  | 'event queue'
  | 'heap';

/** What may be held when one is taken. */
const outer: Readonly<Record<Kind, readonly Kind[]>> = {
  'grant table': [],
  'active entry': ['grant table'],
  'map track': ['grant table', 'active entry'],
  'free handles': ['grant table', 'active entry', 'map track'],
  'page list': ['grant table', 'active entry', 'event channels'],
  'event channels': ['event channels'],
  'global VIRQs': ['event channels'],
  VIRQs: ['event channels'],
  port: ['event channels', 'global VIRQs', 'VIRQs', 'port'],
  'event queue': ['event channels', 'global VIRQs', 'VIRQs', 'port', 'event queue'],
  heap: [
    'grant table',
    'active entry',
    'map track',
    'free handles',
    'page list',
    'event channels',
    'global VIRQs',
  ],
};
/** Of these two may be held at once: the one at the lower address was taken first. */
const pairs: ReadonlySet<Kind> = new Set(['event channels', 'port', 'event queue']);

const DOMAIN = domainStruct.offset;
const VCPU = vcpuStruct.offset;
/** Domains of a test have ids below this. */
const MAX_DOMID = 64;

function kindOf(machine: Machine, lock: number): Kind {
  if (lock === machineHeader.offset.heap_lock) return 'heap';
  if (lock === machineHeader.offset.global_virq_lock) return 'global VIRQs';
  for (let id = 0; id < MAX_DOMID; id++) {
    const domain = machine.domainById(id);
    const kind = domain && kindIn(domain, lock);
    if (kind !== undefined) return kind;
  }
  // Nothing else has locks.
  return 'active entry';
}

/** What a lock of a domain's own structs guards. */
function kindIn(domain: Domain, lock: number): Kind | undefined {
  const { base } = domain;
  if (lock === base + DOMAIN.page_alloc_lock) return 'page list';
  if (lock === base + DOMAIN.grant_table + grantTable.offset.lock) return 'grant table';
  if (lock === base + DOMAIN.grant_table + grantTable.offset.maptrack_lock) return 'map track';
  if (lock === base + DOMAIN.evtchn + eventChannels.offset.lock) return 'event channels';
  if (isPort(domain, lock)) return 'port';
  // The first structs vcpu are in the domain's own frame; further ones fill frames of their own.
  const { u32 } = domain.machine;
  for (let group = 0; group * 8 < domain.vcpus; group++) {
    const offset = lock - u32[(base + DOMAIN.vcpu_groups + group * 4) >>> 2]!;
    if (offset < 0 || offset >= 8 * vcpuStruct.size) continue;
    const member = offset % vcpuStruct.size;
    if (member === VCPU.maptrack_freelist_lock) return 'free handles';
    return member === VCPU.virq_lock ? 'VIRQs' : 'event queue';
  }
  return undefined;
}

function isPort(domain: Domain, lock: number): boolean {
  for (let port = 0; portIsValid(domain, port); port++) {
    const at = evtchnOf(domain, port);
    if (at === lock) return true;
    // Neighbours lie in one frame.
    if (Math.floor(at / PAGE_SIZE) !== Math.floor(lock / PAGE_SIZE)) port |= 127;
  }
  return false;
}

/** Has the machine's locks watched from now on. What is held is in the array; a mistake is an InvariantError. */
export function watchLocks(
  machine: Machine,
): readonly { readonly lock: number; readonly kind: Kind }[] {
  const { native } = machine;
  const held: { lock: number; kind: Kind }[] = [];
  const take = (lock: number) => {
    const kind = kindOf(machine, lock);
    for (const other of held) {
      if (other.lock === lock) throw new InvariantError(`${kind} lock is taken twice`);
      const pair = pairs.has(kind) && other.kind === kind;
      if (!outer[kind].includes(other.kind) || (pair && other.lock > lock)) {
        throw new InvariantError(`${kind} lock is taken under ${other.kind}`);
      }
    }
    if (kind === 'active entry' && held.length === 0) {
      throw new InvariantError('active entry lock is taken without its table’s');
    }
    held.push({ lock, kind });
  };
  const letGo = (lock: number) => {
    const at = held.findIndex((one) => one.lock === lock);
    if (at < 0) throw new InvariantError(`lock 0x${lock.toString(16)} is let go, and was not held`);
    held.splice(at, 1);
  };
  machine.native = Object.assign(Object.create(native) as typeof native, {
    spinLock: take,
    readLock: take,
    writeLock: take,
    spinUnlock: letGo,
    readUnlock: letGo,
    writeUnlock: letGo,
  });
  return held;
}
