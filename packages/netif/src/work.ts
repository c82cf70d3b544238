/** Helpers around the machine's scheduler. */
import type { Guest, Scheduler } from '@ringside/gnttab-core';

/**
 * A task of a guest kernel that runs soon after it was asked for, once however often it was asked for, and not any more
 * when its domain is dead.
 */
export function coalesced({ domain, machine }: Guest, task: () => void): () => void {
  const { scheduler } = machine;
  let asked = false;
  const run = (): void => {
    asked = false;
    if (domain.alive) task();
  };
  return () => {
    if (asked) return;
    asked = true;
    scheduler.post(run);
  };
}

/** How long a driver that ran out of memory waits before it looks again. */
const memoryRetryNs = 10e6;

/** Asks for a task again when there may be memory; one timer at a time. */
export function onceThereIsMemory({ machine }: Guest, task: () => void): () => void {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    void machine.scheduler.sleep(memoryRetryNs).then(() => {
      waiting = false;
      task();
    });
  };
}

const lookEveryNs = 20e6;

/**
 * Waits for `promise`, but no longer than `limitNs`; true if it settled. Sleeps in short steps, so that no long timer
 * outlives the wait.
 */
export async function within(
  scheduler: Scheduler,
  limitNs: number,
  promise: Promise<unknown>,
): Promise<boolean> {
  let settled = false;
  const done = promise.then(
    () => void (settled = true),
    () => void (settled = true),
  );
  for (let leftNs = limitNs; !settled && leftNs > 0; leftNs -= lookEveryNs) {
    await Promise.race([done, scheduler.sleep(Math.min(lookEveryNs, leftNs))]);
  }
  return settled;
}
