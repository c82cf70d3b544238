/** Grant races with real threads, each with a handle of its own on the machine's memory. */
import { Worker } from 'node:worker_threads';
import { type Machine, PAGE_SIZE } from '@ringside/gnttab-core';
import type { Job, Task } from './grant-worker.ts';

/** vitest's loader is not in a Worker, and grant-worker.ts is TypeScript. */
const boot = `import('tsx/esm/api').then(({ register }) => {
  register();
  return import(${JSON.stringify(new URL('./grant-worker.ts', import.meta.url).href)});
});`;

/**
 * Does all tasks at the same time, each in a thread, and resolves to how many things went wrong in each. The word that they
 * meet at is the first of page `scratch`.
 */
export async function atTheSameTime(
  machine: Machine,
  scratch: number,
  tasks: Task[],
): Promise<number[]> {
  const start = scratch * PAGE_SIZE;
  machine.heap.i32[start >>> 2] = tasks.length;
  const workers = tasks.map((task) => {
    const workerData: Job = { share: machine.share(), start, task };
    return new Worker(boot, { eval: true, workerData });
  });
  try {
    return await Promise.all(
      workers.map(
        (worker) =>
          new Promise<number>((resolve, reject) => {
            worker.once('message', resolve);
            worker.once('error', reject);
          }),
      ),
    );
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}
