/** A thread of the lock tests: attaches to the machine's memory, and does its job many times over. */
import { parentPort, workerData } from 'node:worker_threads';
import {
  GnttabMapGrantRef,
  GnttabUnmapGrantRef,
  Hypercalls,
  Machine,
  type MachineShare,
} from '@ringside/gnttab-core';
import { GNTMAP_host_map, GNTST_okay } from '@ringside/gnttab-core/abi';

/** What a thread is told. Byte offsets are of bank 0. */
export interface Job {
  readonly share: MachineShare;
  readonly kind: 'spin' | 'write' | 'read' | 'map';
  readonly rounds: number;
  /** Where a lock and, 64 bytes on, two words that it guards are. */
  readonly at: number;
  /** map: who maps, whose reference 8, and where. */
  readonly mapper: number;
  readonly granter: number;
  readonly va: number;
}

const { share, kind, rounds, at, mapper, granter, va } = workerData as Job;
const machine = new Machine(share);
const { native, heap } = machine;
const word = (at + 64) >>> 2;

/** Adds to both words as if nobody else were there; wrong as soon as somebody is. */
function increment(): void {
  const value = heap.u32[word]!;
  for (let n = 0; n < 20; n++) if (heap.u32[word] !== value) throw new Error('not alone');
  heap.u32[word] = value + 1;
  heap.u32[word + 1] = value + 1;
}

let bad = 0;
const calls = kind === 'map' ? new Hypercalls(machine.domainById(mapper)!) : undefined;
// All threads start together.
Atomics.add(heap.i32, (at + 128) >>> 2, -1);
while (Atomics.load(heap.i32, (at + 128) >>> 2) > 0);
for (let round = 0; round < rounds; round++) {
  if (kind === 'spin') {
    native.spinLock(at);
    increment();
    native.spinUnlock(at);
  } else if (kind === 'write') {
    native.writeLock(at);
    increment();
    native.writeUnlock(at);
  } else if (kind === 'read') {
    native.readLock(at);
    if (heap.u32[word] !== heap.u32[word + 1]) bad += 1;
    native.readUnlock(at);
  } else {
    const map = Object.assign(new GnttabMapGrantRef(), {
      dom: granter,
      ref: 8,
      flags: GNTMAP_host_map,
      hostAddr: va,
    });
    calls!.gnttabMap([map]);
    const { handle } = map;
    const unmap = Object.assign(new GnttabUnmapGrantRef(), { hostAddr: va, handle });
    if (map.status === GNTST_okay) calls!.gnttabUnmap([unmap]);
    if (map.status !== GNTST_okay || unmap.status !== GNTST_okay) bad += 1;
  }
}
parentPort!.postMessage(bad);
