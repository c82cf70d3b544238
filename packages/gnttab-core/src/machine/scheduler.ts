/**
 * Who runs next. With the real scheduler tasks run soon, as microtasks; with the seeded one the
 * order of everything, and the time, is a function of the seed: a run can be repeated to the byte.
 */
import type { Clock, VirtualClock } from './clock.ts';
import { macrotask, microtask, timer } from './host.ts';
import type { Random } from './random.ts';

export interface Scheduler {
  /** Runs `task` soon. Tasks may run in any order: whoever needs one keeps a queue of its own. */
  post(task: () => void): void;
  /** Starts real asynchronous work (a file, a socket) and brings its result back in scheduled order. */
  external<T>(start: () => Promise<T>): Promise<T>;
  /** Resolves after `ns` nanoseconds of the machine's clock. */
  sleep(ns: number): Promise<void>;
}

/** How long tasks may keep the host from its own work (input, timers, signals). */
const TURN_NS = 4e6;
/** Reading the clock costs as much as a small task, so it is read once in so many turns. */
const TURNS_PER_LOOK = 64;

/** Tasks run in the order posted, as microtasks, with the host let in every few milliseconds. */
export class RealScheduler implements Scheduler {
  #ready: (() => void)[] = [];
  #scheduled = false;
  #turns = 0;
  #hostTurnNs = 0;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  post(task: () => void): void {
    this.#ready.push(task);
    if (!this.#scheduled) this.#schedule();
  }

  external<T>(start: () => Promise<T>): Promise<T> {
    return start();
  }

  sleep(ns: number): Promise<void> {
    return new Promise((resolve) => timer(ns, resolve));
  }

  #schedule(): void {
    this.#scheduled = true;
    this.#turns += 1;
    if (this.#turns % TURNS_PER_LOOK === 0 && this.#clock.nowNs() - this.#hostTurnNs > TURN_NS) {
      macrotask(this.#afterHost);
    } else {
      microtask(this.#run);
    }
  }

  readonly #afterHost = (): void => {
    this.#hostTurnNs = this.#clock.nowNs();
    this.#run();
  };

  readonly #run = (): void => {
    const tasks = this.#ready;
    this.#ready = [];
    this.#scheduled = false;
    for (const task of tasks) runTask(task);
  };
}

/** A task that throws is a bug of ours: it surfaces as an uncaught error and takes no other task with it. */
function runTask(task: () => void): void {
  try {
    task();
  } catch (error) {
    microtask(() => {
      throw error;
    });
  }
}

interface Sleeper {
  readonly timeNs: number;
  readonly wake: () => void;
}

/**
 * One task at a time, chosen among the ready ones by the seed; all promise reactions of a task run before the next is
 * chosen. Each step moves the virtual clock on. Real asynchronous work is awaited only when nothing else can run, and
 * then all of it, so that its results come back in the order of the starts and not of the finishes.
 */
export class SeededScheduler implements Scheduler {
  readonly clock: VirtualClock;
  readonly #random: Random;
  readonly #ready: (() => void)[] = [];
  readonly #sleepers: Sleeper[] = [];
  #external: Promise<() => void>[] = [];
  #running = false;

  constructor(clock: VirtualClock, random: Random) {
    this.clock = clock;
    this.#random = random;
  }

  post(task: () => void): void {
    this.#ready.push(task);
    this.#start();
  }

  external<T>(start: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#external.push(
        start().then(
          (value) => () => resolve(value),
          (error: unknown) => () => reject(error as Error),
        ),
      );
      this.#start();
    });
  }

  sleep(ns: number): Promise<void> {
    return new Promise((resolve) => {
      const timeNs = this.clock.nowNs() + ns;
      const later = this.#sleepers.findIndex((sleeper) => sleeper.timeNs > timeNs);
      this.#sleepers.splice(later < 0 ? this.#sleepers.length : later, 0, {
        timeNs,
        wake: resolve,
      });
      this.#start();
    });
  }

  #start(): void {
    if (this.#running) return;
    this.#running = true;
    macrotask(this.#step);
  }

  readonly #step = (): void => {
    const count = this.#ready.length;
    if (count > 0) {
      const chosen = this.#random.below(count);
      const task = this.#ready[chosen]!;
      this.#ready[chosen] = this.#ready[count - 1]!;
      this.#ready.pop();
      this.clock.advanceTo(this.clock.nowNs() + 100 + this.#random.below(400));
      runTask(task);
      macrotask(this.#step);
    } else if (this.#external.length > 0) {
      const started = this.#external;
      this.#external = [];
      void Promise.all(started).then((results) => {
        // Other tasks may come in between, but the results come in order.
        this.#ready.push(...results.map(() => () => results.shift()!()));
        macrotask(this.#step);
      });
    } else if (this.#sleepers.length > 0) {
      const { timeNs, wake } = this.#sleepers.shift()!;
      this.clock.advanceTo(timeNs);
      this.#ready.push(wake);
      macrotask(this.#step);
    } else {
      this.#running = false;
    }
  };
}
