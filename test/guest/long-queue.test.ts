/** A long queue of deferred ends: what one look costs, and that everybody has a turn. */
import { describe, expect, it } from 'vitest';
import { type Pair, pair, pass } from './guests.ts';

/** Ends that one look tries at most. */
const AT_ONCE = 64;

/** `count` grants of one page that the peer maps, given up; and what unmaps each. */
function queued(count: number): Pair & { unmap: Disposable[] } {
  const all = pair({ maxGrantFrames: 32 });
  const { guest, peer } = all;
  const page = guest.memory.allocPage();
  const refs = guest.grants.grantForeignAccessBatch(
    peer.id,
    Array.from({ length: count }, () => page),
  );
  const unmap = refs.map((ref) => peer.mappings.map(guest.id, ref));
  for (const ref of refs) expect(guest.grants.deferEnd(ref)).toBe('deferred');
  return { ...all, unmap };
}

/** The ends that are tried until `stop`, each with its reference and the time. */
function tries({ machine: { trace } }: Pair) {
  const seen: { ref: number; timeNs: number }[] = [];
  trace.enabled = true;
  trace.flush();
  trace.onRecords = (records) => {
    for (const { name, args, timeNs } of records) {
      if (name === 'grant_end') seen.push({ ref: args.ref!, timeNs });
    }
  };
  return {
    stop: () => {
      trace.flush();
      trace.onRecords = undefined;
      trace.enabled = false;
      return seen;
    },
  };
}

/** How many ends were tried at each look while `ns` passed. */
async function looks(all: Pair, ns: number): Promise<number[]> {
  const tried = tries(all);
  await pass(all.machine, ns);
  const at = new Map<number, number>();
  for (const { timeNs } of tried.stop()) at.set(timeNs, (at.get(timeNs) ?? 0) + 1);
  return [...at.values()];
}

describe('a look at the queue', () => {
  it('tries no more than 64 ends, however many wait', async () => {
    const all = queued(300);
    const tried = await looks(all, 1e9);
    expect(tried.length).toBeGreaterThan(5);
    expect(Math.max(...tried)).toBe(AT_ONCE);
  });

  it('tries each once if they are fewer', async () => {
    const all = queued(10);
    expect(new Set(await looks(all, 1e9))).toEqual(new Set([10]));
  });

  it('goes on where the one before stopped: the last of a long queue is found, the others are as they were', async () => {
    const all = queued(1000);
    all.unmap.at(-1)![Symbol.dispose]();
    await pass(all.machine, 20e9);
    expect(all.guest.grants.deferredEnds).toBe(999);
    all.unmap[500]![Symbol.dispose]();
    await pass(all.machine, 20e9);
    expect(all.guest.grants.deferredEnds).toBe(998);
  });

  it('comes early again after one that found something', async () => {
    const all = queued(2 * AT_ONCE);
    await pass(all.machine, 10e9); // the pauses are long now
    const first = all.unmap.slice(0, -1);
    for (const mapping of first) mapping[Symbol.dispose]();
    const found: number[] = [];
    all.guest.grants.released$.subscribe(() => found.push(all.machine.clock.nowNs()));
    await pass(all.machine, 2e9);
    expect(all.guest.grants.deferredEnds).toBe(1);
    expect(found.at(-1)! - found[0]!).toBeLessThan(10e6);
  });
});

it('10,000 of which one is never let go: the rest are free soon, and then a look costs one try, until it gives up', async () => {
  const all = queued(10_000);
  const { guest } = all;
  for (const mapping of all.unmap.slice(1)) mapping[Symbol.dispose]();
  const early = await looks(all, 1e9);
  expect(guest.grants.deferredEnds).toBe(1);
  expect(Math.max(...early)).toBe(AT_ONCE);
  expect(early.reduce((sum, n) => sum + n)).toBeLessThan(10_100);
  const late = await looks(all, 60e9);
  expect(new Set(late)).toEqual(new Set([1]));
  expect(late.length).toBeLessThan(40);
  expect(await looks(all, 60e9)).toEqual([]);
  all.unmap[0]![Symbol.dispose]();
  expect(guest.grants.retryDeferredEnds()).toBe(0);
});

it('10,000 that are never let go: each is tried, and the looks end', async () => {
  const all = queued(10_000);
  const tried = tries(all);
  await pass(all.machine, 600e9);
  expect(new Set(tried.stop().map(({ ref }) => ref)).size).toBe(10_000);
  expect(await looks(all, 600e9)).toEqual([]);
});

it('a call that finds something has the looks go on, although they had ended', async () => {
  const all = queued(2);
  const { guest, machine } = all;
  await pass(machine, 60e9);
  all.unmap[0]![Symbol.dispose]();
  expect(guest.grants.retryDeferredEnds()).toBe(1);
  all.unmap[1]![Symbol.dispose]();
  await pass(machine, 1e9);
  expect(guest.grants.deferredEnds).toBe(0);
});

it('ending a grant of a block again looks at that grant alone', () => {
  const all = queued(200);
  const { guest, peer } = all;
  const grant = guest.grants.grantAccess(peer.id, guest.memory.allocPage());
  const mapping = peer.mappings.map(guest.id, grant.ref);
  grant[Symbol.dispose]();
  expect(guest.grants.deferredEnds).toBe(201);
  const end = () => {
    const tried = tries(all);
    return [grant.end(), tried.stop().map(({ ref }) => ref)];
  };
  expect(end()).toEqual(['busy', [grant.ref]]);
  mapping.unmap();
  expect(end()).toEqual(['ended', [grant.ref]]);
  expect(end()).toEqual(['ended', []]);
  expect(guest.grants.deferredEnds).toBe(200);
});
