/** The order of locks (docs/architecture.md, "Locks"), and what watches it in life-cycle.property.test.ts. */
import { InvariantError } from '@ringside/gnttab-core';
import {
  activeEntryOf,
  domainStruct,
  grantTable,
  machineHeader,
} from '@ringside/gnttab-core/hypervisor';
import { expect, it } from 'vitest';
import { watchLocks } from './checked-locks.ts';
import { World } from './world.ts';

const { grant_table: TABLE, page_alloc_lock: PAGES, vcpus: VCPUS } = domainStruct.offset;

type Name =
  | 'table'
  | 'other table'
  | 'entry'
  | 'other entry'
  | 'map track'
  | 'handles'
  | 'pages'
  | 'heap';
function watched() {
  const world = new World();
  const [{ domain }, other] = [world.domain(), world.domain()];
  const held = watchLocks(world.machine);
  const locks: Record<Name, number> = {
    table: domain.base + TABLE + grantTable.offset.lock,
    'other table': other.domain.base + TABLE + grantTable.offset.lock,
    entry: activeEntryOf(domain, 8),
    'other entry': activeEntryOf(domain, 9),
    'map track': domain.base + TABLE + grantTable.offset.maptrack_lock,
    handles: domain.base + VCPUS,
    pages: domain.base + PAGES,
    heap: machineHeader.offset.heap_lock,
  };
  return { native: world.machine.native, held, locks };
}

it.each<Name[]>([
  ['table', 'entry', 'pages', 'heap'],
  ['table', 'entry', 'handles'],
  ['map track', 'handles'],
  ['map track', 'heap'],
  ['table', 'heap'],
])('allowed: %s, %s, …', (...names) => {
  const { native, held, locks } = watched();
  for (const name of names) native.spinLock(locks[name]);
  for (const name of names.toReversed()) native.spinUnlock(locks[name]);
  expect(held).toEqual([]);
});

it.each<[string, ...Name[]]>([
  ['twice the same', 'table', 'table'],
  ['two tables', 'table', 'other table'],
  ['an entry without its table', 'entry'],
  ['two entries', 'table', 'entry', 'other entry'],
  ['an entry under the map track', 'map track', 'entry'],
  ['a table under free handles', 'handles', 'table'],
  ['the map track under free handles', 'handles', 'map track'],
  ['anything under the heap', 'heap', 'pages'],
])('not allowed: %s', (_, ...names) => {
  const { native, locks } = watched();
  const last = names.pop()!;
  for (const name of names) native.spinLock(locks[name]);
  expect(() => native.spinLock(locks[last])).toThrow(InvariantError);
});

it('what is not held is not let go', () => {
  const { native, locks } = watched();
  expect(() => native.spinUnlock(locks.heap)).toThrow(InvariantError);
});
