/** Waiting for frames that may have been lost: nobody says so, they just do not come. */
import type { Scheduler } from '@ringside/gnttab-core';

const LOOK_EVERY_NS = 20e6;
const PATIENCE_NS = 2e9;
const SURPLUS_NS = 2e6;

/**
 * Waits for `done` as long as `count` keeps growing; gives up after two seconds of the machine's clock without progress.
 * (With the virtual clock time passes only when nothing else can happen.) Then it waits a little more, so that a frame
 * that comes twice is seen, too.
 */
export async function progressing(
  scheduler: Scheduler,
  done: Promise<unknown>,
  count: () => number,
): Promise<void> {
  let isDone = false;
  const settled = done.then(() => (isDone = true));
  let [last, idleNs] = [count(), 0];
  while (!isDone && idleNs < PATIENCE_NS) {
    await Promise.race([settled, scheduler.sleep(LOOK_EVERY_NS)]);
    const now = count();
    idleNs = now === last ? idleNs + LOOK_EVERY_NS : 0;
    last = now;
  }
  await scheduler.sleep(SURPLUS_NS);
}
