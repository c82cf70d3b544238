/**
 * The one place that touches the host's time and task queues; everything else takes them from the machine. Nothing here
 * is of Node: a browser has all of it.
 */
import type { Clock } from './clock.ts';

/** Follows the host's monotonic clock. */
export function realClock(): Clock {
  const start = performance.now();
  return { nowNs: () => Math.round((performance.now() - start) * 1e6) };
}

type Immediate = (task: () => void) => unknown;

/** Runs `task` after the host had its turn: pending input, timers, signals. */
export const macrotask: Immediate =
  (globalThis as { setImmediate?: Immediate }).setImmediate ?? messageChannelTask();

/** Runs `task` as soon as the current one is done. */
export const microtask = (task: () => void): void => queueMicrotask(task);

/** Runs `task` after at least `ns` nanoseconds. */
export const timer = (ns: number, task: () => void): void => void setTimeout(task, ns / 1e6);

function messageChannelTask(): Immediate {
  const { port1, port2 } = new MessageChannel();
  const tasks: (() => void)[] = [];
  port1.onmessage = () => tasks.shift()?.();
  return (task) => {
    tasks.push(task);
    port2.postMessage(undefined);
  };
}
