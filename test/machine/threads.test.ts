/** "Locking" of the usage document, with real threads: the locks are atomics in the machine's memory. */
import { Worker } from 'node:worker_threads';
import { PAGE_SIZE } from '@ringside/gnttab-core';
import { GTF_permit_access } from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { type Actor, windowOf, World } from '../grant/world.ts';
import type { Job } from './worker.ts';

/** Starts a thread on worker.ts, which is TypeScript; resolves to the number of things it found wrong. */
function thread(job: Job): Promise<number> {
  const boot = `import('tsx/esm/api').then(({ register }) => {
    register();
    return import(${JSON.stringify(new URL('./worker.ts', import.meta.url).href)});
  });`;
  const worker = new Worker(boot, { eval: true, workerData: job });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

/** A world with a lock on a page of nobody's interest, and the common part of the jobs. */
function world(threads: number) {
  const all = new World();
  const granter = all.domain();
  const at = granter.mfn(9) * PAGE_SIZE;
  all.machine.heap.i32[(at + 128) >>> 2] = threads;
  const job = (change: Partial<Job>): Job => ({
    share: all.machine.share(),
    kind: 'spin',
    rounds: 20_000,
    at,
    mapper: 0,
    granter: granter.id,
    va: 0,
    ...change,
  });
  const guarded = () => {
    const word = (at + 64) >>> 2;
    return Array.from(all.machine.heap.u32.subarray(word, word + 2));
  };
  return { world: all, granter, at, job, guarded };
}

describe('between threads', () => {
  it('a spinlock lets one in at a time', async () => {
    const { job, guarded } = world(2);
    await Promise.all([thread(job({})), thread(job({}))]);
    expect(guarded()).toEqual([40_000, 40_000]);
  });

  it('a rwlock lets one writer in, or readers, who never see half of what it writes', async () => {
    const { world: all, at, job, guarded } = world(3);
    const bad = await Promise.all([
      thread(job({ kind: 'write' })),
      thread(job({ kind: 'write' })),
      thread(job({ kind: 'read' })),
    ]);
    expect(bad).toEqual([0, 0, 0]);
    expect(guarded()).toEqual([40_000, 40_000]);
    expect(all.machine.heap.i32[at >>> 2]).toBe(0);
  });

  it('one entry is mapped and unmapped from two threads, and every count comes out even', async () => {
    const { world: all, granter, job } = world(2);
    const mapper = all.domain();
    granter.entry(8, { flags: GTF_permit_access, domid: mapper.id, frame: granter.mfn(0) });
    const job2 = (n: number) =>
      job({ kind: 'map', rounds: 5000, mapper: mapper.id, va: windowOf(mapper.domain, n) });
    const bad = await Promise.all([thread(job2(0)), thread(job2(1))]);
    expect(bad).toEqual([0, 0]);
    const settled = (actor: Actor) => [actor.pin(8), actor.flags(8), actor.extraReferences(0)];
    const none = { hstw: 0, hstr: 0, devw: 0, devr: 0 };
    expect(settled(granter)).toEqual([none, GTF_permit_access, 0]);
    expect(all.typeCount(granter.mfn(0))).toBe(1);
    expect([mapper.pte(0), mapper.pte(1)]).toEqual([undefined, undefined]);
  });
});
