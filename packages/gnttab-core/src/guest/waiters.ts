/** Those who wait until enough of something is there, in the order in which they came. */
import type { Scheduler } from '../machine/scheduler.ts';

interface Waiter<T> {
  readonly need: number;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: unknown) => void;
  /** Nobody aborts it any more. */
  readonly settled: () => void;
}

/** A line of those who wait; each gets a value of type T when it is served. */
export class Waiters<T> {
  readonly #scheduler: Scheduler;
  readonly #line: Waiter<T>[] = [];

  /** `scheduler` runs those who are served, in tasks of their own. */
  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  /** How many wait. */
  get length(): number {
    return this.#line.length;
  }

  /** Waits to be served with at least `need`. Rejects with the signal's reason if that aborts first. */
  wait(need: number, signal?: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      const abort = () => {
        this.#line.splice(this.#line.indexOf(waiter), 1);
        reject(signal?.reason as Error);
      };
      const settled = () => signal?.removeEventListener('abort', abort);
      const waiter: Waiter<T> = { need, resolve, reject, settled };
      signal?.addEventListener('abort', abort, { once: true });
      this.#line.push(waiter);
    });
  }

  /** The first whose need is met leaves the line, and gets `value` soon; false if there is none. */
  serve(available: number, value: T): boolean {
    const at = this.#line.findIndex(({ need }) => need <= available);
    if (at < 0) return false;
    const [waiter] = this.#line.splice(at, 1);
    waiter!.settled();
    this.#scheduler.post(() => waiter!.resolve(value));
    return true;
  }

  /** There will be nothing for those in line. */
  dismiss(reason: Error): void {
    for (const { settled, reject } of this.#line.splice(0)) {
      settled();
      reject(reason);
    }
  }
}
