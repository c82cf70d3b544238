/**
 * Races without chance: another virtual CPU comes in between any two steps of a hypercall that others could see. The steps
 * are those of `machine.native` (locks, references, in-use bits, copying) and of `Atomics`. A machine that one thread is
 * attached to need not take its locks; here they are kept account of.
 */
import type { Machine } from '@ringside/gnttab-core';

const atomics = [
  'add',
  'and',
  'compareExchange',
  'exchange',
  'load',
  'or',
  'store',
  'sub',
] as const;
type Step = (...args: number[]) => unknown;

/** Somebody wants a lock that somebody else has: it would spin. */
class Waits extends Error {
  override readonly name = 'Waits';
}

/** Who has which lock, as the names of the steps tell. */
class Locks {
  /** By the lock's address: readers, or EXCLUSIVE. */
  readonly #held = new Map<number, number>();

  step(name: string, [lock, second]: readonly number[]): void {
    switch (name) {
      case 'spinLock':
      case 'writeLock':
        this.#take(lock!, EXCLUSIVE);
        break;
      case 'readLock':
        this.#take(lock!, 1);
        break;
      case 'spinUnlock':
      case 'writeUnlock':
        this.#held.delete(lock!);
        break;
      case 'readUnlock':
        this.#drop(lock!);
        break;
      case 'readLockAndSpinLock':
        this.#take(lock!, 1);
        this.#take(second!, EXCLUSIVE);
        break;
      case 'readUnlockAndSpinUnlock':
        this.#held.delete(second!);
        this.#drop(lock!);
        break;
      default:
    }
  }

  #take(lock: number, how: number): void {
    const held = this.#held.get(lock) ?? 0;
    if (held === EXCLUSIVE || (held > 0 && how === EXCLUSIVE)) {
      throw new Waits(`for the lock at 0x${lock.toString(16)}`);
    }
    this.#held.set(lock, held + how);
  }

  #drop(lock: number): void {
    const readers = this.#held.get(lock)! - 1;
    if (readers === 0) this.#held.delete(lock);
    else this.#held.set(lock, readers);
  }

  /** How it is now, to go back to. */
  save(): () => void {
    const saved = [...this.#held];
    return () => {
      this.#held.clear();
      for (const [lock, held] of saved) this.#held.set(lock, held);
    };
  }
}
const EXCLUSIVE = -1;

/** Calls `before` ahead of every step, with its name, until it is disposed. */
export function watchSteps(
  machine: Machine,
  before: (name: string) => void,
  locks = new Locks(),
): Disposable {
  const { native } = machine;
  machine.native = new Proxy(native, {
    get(target, name) {
      const step = Reflect.get(target, name) as Step;
      return (...args: number[]) => {
        before(String(name));
        locks.step(String(name), args);
        return step.apply(target, args);
      };
    },
  });
  const genuine = atomics.map(
    (name) => [name, Reflect.get(Atomics, name) as unknown as Step] as const,
  );
  for (const [name, step] of genuine) {
    Object.assign(Atomics, {
      [name]: (...args: number[]) => {
        before(name);
        return step(...args);
      },
    });
  }
  return {
    [Symbol.dispose]: () => {
      machine.native = native;
      Object.assign(Atomics, Object.fromEntries(genuine));
    },
  };
}

/** How many steps an operation takes. */
export function countSteps(machine: Machine, op: () => void): number {
  let steps = 0;
  using _watch = watchSteps(machine, () => (steps += 1));
  op();
  return steps;
}

/**
 * Runs `op`, and `race` just before its `step`-th step. A race that meets a lock of `op`'s would spin until `op` is done:
 * what it did so far is taken back, and it is run afterwards. False if `op` has fewer steps; the race is not run then.
 */
export function interleave(
  machine: Machine,
  step: number,
  op: () => void,
  race: () => void,
): boolean {
  const locks = new Locks();
  let steps = 0;
  let waits = false;
  {
    const before = () => {
      if (steps++ !== step) return;
      const memory = machine.heap.u8.slice();
      const restore = locks.save();
      try {
        race();
      } catch (error) {
        if (!(error instanceof Waits)) throw error;
        machine.heap.u8.set(memory);
        restore();
        waits = true;
      }
    };
    using _watch = watchSteps(machine, before, locks);
    op();
  }
  if (waits) race();
  return steps > step;
}

/** A world of its own, and who meets in it. */
export interface Scene {
  readonly machine: Machine;
  readonly op: () => void;
  readonly race: () => void;
  /** Looks at what has become of it. Must hold without the race too. */
  readonly check: () => void;
}

/** Plays a scene again and again, with the race one step later each time; returns the number of steps. */
export function atEveryStep(scene: () => Scene): number {
  for (let step = 0; ; step++) {
    const { machine, op, race, check } = scene();
    let reached = false;
    try {
      reached = interleave(machine, step, op, race);
      check();
    } catch (error) {
      throw new Error(`with the race before step ${step}`, { cause: error });
    }
    if (!reached) return step;
  }
}
