import { describe, expect, it } from 'vitest';
import { VirtualClock } from './clock.ts';
import { realClock } from './host.ts';
import { seededRandom } from './random.ts';
import { RealScheduler, SeededScheduler } from './scheduler.ts';

const seeded = (seed: number) => {
  const clock = new VirtualClock();
  return { clock, scheduler: new SeededScheduler(clock, seededRandom(seed)) };
};

/** A small world of tasks that post tasks, sleep and wait for the outside; returns what happened, in order. */
async function story(seed: number): Promise<string[]> {
  const { clock, scheduler } = seeded(seed);
  const log: string[] = [];
  const note = (what: string) => log.push(`${clock.nowNs()} ${what}`);
  for (const name of ['a', 'b', 'c']) {
    scheduler.post(() => {
      note(name);
      scheduler.post(() => note(`${name}1`));
      scheduler.post(() => note(`${name}2`));
    });
  }
  const sleeps = [3000, 1000, 2000].map((ns) =>
    scheduler.sleep(ns).then(() => note(`slept ${ns}`)),
  );
  const outside = [5, 1, 3].map((ms, n) =>
    scheduler
      .external(() => new Promise<number>((resolve) => setTimeout(() => resolve(n), ms)))
      .then((result) => note(`outside ${result}`)),
  );
  await Promise.all([...sleeps, ...outside]);
  return log;
}

describe('the seeded scheduler', () => {
  it('is a function of its seed, virtual time included', async () => {
    const [first, again, other] = [await story(7), await story(7), await story(8)];
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
    expect(other.length).toBe(first.length);
  });

  it('finds every order of ready tasks', async () => {
    const orders = new Set<string>();
    for (let seed = 0; seed < 100; seed++) {
      const { scheduler } = seeded(seed);
      let order = '';
      for (const name of 'abc') scheduler.post(() => (order += name));
      await scheduler.sleep(1);
      orders.add(order);
    }
    expect(orders.size).toBe(6);
  });

  it('brings results from outside back in the order of their starts, not of their ends', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const { scheduler } = seeded(seed);
      const order: number[] = [];
      const delays = [6, 0, 3, 1];
      await Promise.all(
        delays.map(async (ms, n) => {
          await scheduler.external(() => new Promise((resolve) => setTimeout(resolve, ms)));
          order.push(n);
        }),
      );
      expect(order).toEqual([0, 1, 2, 3]);
    }
  });

  it('waits for the outside only when nothing else can run', async () => {
    const { scheduler } = seeded(1);
    const log: string[] = [];
    const outside = scheduler.external(async () => 'outside').then((what) => log.push(what));
    let left = 50;
    const again = () => {
      log.push('task');
      if (--left > 0) scheduler.post(again);
    };
    scheduler.post(again);
    await outside;
    expect(log.indexOf('outside')).toBe(50);
  });

  it('passes failures of the outside on, even those of starting', async () => {
    const { scheduler } = seeded(1);
    await expect(scheduler.external(() => Promise.reject(new Error('late')))).rejects.toThrow(
      'late',
    );
    const start = (): Promise<void> => {
      throw new Error('at once');
    };
    await expect(scheduler.external(start)).rejects.toThrow('at once');
    await scheduler.sleep(1); // and goes on
  });

  it('sleeps in virtual time, which stands still unless somebody moves it', async () => {
    const { clock, scheduler } = seeded(1);
    const woken: number[] = [];
    const hour = 3.6e12;
    await Promise.all(
      [3, 1, 2].map(async (hours) => {
        await scheduler.sleep(hours * hour);
        woken.push(hours);
        expect(clock.nowNs()).toBeGreaterThanOrEqual(hours * hour);
      }),
    );
    expect(woken).toEqual([1, 2, 3]);
    expect(clock.nowNs()).toBeLessThan(3.001 * hour);
  });

  it('runs a task’s promise reactions before it chooses the next task', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const { scheduler } = seeded(seed);
      const log: string[] = [];
      for (const name of ['a', 'b']) {
        scheduler.post(() => {
          log.push(name);
          void Promise.resolve()
            .then(() => undefined)
            .then(() => log.push(`${name}'`));
        });
      }
      await scheduler.sleep(1);
      expect(log.join(' ')).toMatch(/^(a a' b b'|b b' a a')$/);
    }
  });
});

describe('the real scheduler', () => {
  it('runs tasks in the order posted', async () => {
    const scheduler = new RealScheduler(realClock());
    const log: number[] = [];
    for (let n = 0; n < 5; n++) scheduler.post(() => log.push(n));
    expect(log).toEqual([]);
    await scheduler.sleep(0);
    expect(log).toEqual([0, 1, 2, 3, 4]);
  });

  it('lets the host in between tasks that never end', async () => {
    const scheduler = new RealScheduler(realClock());
    let running = true;
    let turns = 0;
    const again = () => {
      turns += 1;
      if (running) scheduler.post(again);
    };
    scheduler.post(again);
    await new Promise((resolve) => setTimeout(resolve, 1));
    running = false;
    expect(turns).toBeGreaterThan(1);
  });
});

describe('random numbers', () => {
  const take = (random: { u32(): number }) => Array.from({ length: 8 }, () => random.u32());

  it('are a function of the seed', () => {
    expect(take(seededRandom(5))).toEqual(take(seededRandom(5)));
    expect(take(seededRandom(5))).not.toEqual(take(seededRandom(6)));
  });

  it('of a fork depend on its label alone, not on what was drawn before', () => {
    const random = seededRandom(5);
    const fork = take(random.fork('net'));
    take(random);
    expect(take(random.fork('net'))).toEqual(fork);
    expect(take(random.fork('blk'))).not.toEqual(fork);
  });

  it('below n are below n, and all of them', () => {
    const random = seededRandom(9);
    const counts = Array.from({ length: 7 }, () => 0);
    for (let n = 0; n < 7000; n++) counts[random.below(7)]! += 1;
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150);
    expect(random.below(1)).toBe(0);
  });
});
