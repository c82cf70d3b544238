/**
 * Watches a machine's locks: none is taken twice, each only while those are held that docs/architecture.md ("Locks") allows,
 * and all are let go. With one thread a mistake would go unnoticed; with several it would hang.
 */
import { InvariantError, type Machine } from '@ringside/gnttab-core';
import { domainStruct, grantTable, machineHeader } from '@ringside/gnttab-core/hypervisor';

type Kind =
  | 'grant table'
  | 'active entry'
  | 'map track'
  | 'free handles'
  | 'page list'
  | 'event channels'
  | 'heap';

/** What may be held when one is taken. */
const outer: Readonly<Record<Kind, readonly Kind[]>> = {
  'grant table': [],
  'active entry': ['grant table'],
  'map track': ['grant table', 'active entry'],
  'free handles': ['grant table', 'active entry', 'map track'],
  'page list': ['grant table', 'active entry'],
  'event channels': ['event channels'],
  heap: ['grant table', 'active entry', 'map track', 'free handles', 'page list', 'event channels'],
};

const DOMAIN = domainStruct.offset;
const PAGE_MASK = 0xfff;

function kindOf({ heap, domainById }: Bound, lock: number): Kind {
  if (lock === machineHeader.offset.heap_lock) return 'heap';
  const offset = lock & PAGE_MASK;
  const base = lock - offset;
  // The first member of a struct domain is its id. Other frames with locks are those of active entries.
  if (domainById(heap.u16[(base + DOMAIN.domid) >>> 1]!)?.base !== base) return 'active entry';
  if (offset === DOMAIN.page_alloc_lock) return 'page list';
  if (offset === DOMAIN.grant_table + grantTable.offset.lock) return 'grant table';
  if (offset === DOMAIN.grant_table + grantTable.offset.maptrack_lock) return 'map track';
  return offset >= DOMAIN.vcpus ? 'free handles' : 'event channels';
}
interface Bound {
  readonly heap: Machine['heap'];
  readonly domainById: Machine['domainById'];
}

/** Has the machine's locks watched from now on. What is held is in the array; a mistake is an InvariantError. */
export function watchLocks(
  machine: Machine,
): readonly { readonly lock: number; readonly kind: Kind }[] {
  const { native, heap } = machine;
  const bound = { heap, domainById: (id: number) => machine.domainById(id) };
  const held: { lock: number; kind: Kind }[] = [];
  const take = (lock: number) => {
    const kind = kindOf(bound, lock);
    for (const other of held) {
      const twice = other.lock === lock;
      if (twice || !outer[kind].includes(other.kind)) {
        throw new InvariantError(
          `${kind} lock is taken ${twice ? 'twice' : `under ${other.kind}`}`,
        );
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
