/** Waiting for references: gnttab_request_free_callback(), gnttab_cancel_free_callback(), and reserves that are waited for. */
import { GrantError, type GrantRef } from '@ringside/gnttab-core';
import { describe, expect, it } from 'vitest';
import { exhaust, freeIn, pair, pass, shared, watch } from './guests.ts';

const small = () => pair({ maxGrantFrames: 1 });

describe('whenFree', () => {
  it('resolves when as many are free, and not before', async () => {
    const all = small();
    const { guest, machine } = all;
    const first = exhaust(all);
    const seen = watch(guest.grants.whenFree(3));
    for (const freed of [0, 1, 2]) {
      await pass(machine);
      expect([freed, seen.settled]).toEqual([freed, false]);
      guest.grants.freeGrantReferenceSeq((first + freed) as GrantRef, 1);
    }
    expect(seen.settled).toBe(false); // in a task of its own
    await pass(machine);
    expect(seen.settled).toBe(true);
    expect(guest.grants.freeCount).toBe(3);
  });

  it.each([
    ['that are free already', 1, freeIn(1)],
    ['that the table can grow by', 2, freeIn(2)],
  ])('resolves at once for references %s', async (_, maxGrantFrames, count) => {
    const { guest, machine } = pair({ maxGrantFrames });
    const seen = watch(guest.grants.whenFree(count));
    await pass(machine);
    expect(seen.settled).toBe(true);
    expect(guest.grants.freeCount).toBeGreaterThanOrEqual(count);
  });

  it('rejects what can never be', async () => {
    const { guest } = small();
    await expect(guest.grants.whenFree(freeIn(1) + 1)).rejects.toThrow(
      /will never have 505 free references/,
    );
  });

  it('serves a small wish although a big one came first: none is set aside', async () => {
    const all = small();
    const { guest, machine } = all;
    const first = exhaust(all);
    const big = watch(guest.grants.whenFree(10));
    const little = watch(guest.grants.whenFree(1));
    guest.grants.freeGrantReferenceSeq(first, 1);
    await pass(machine);
    expect([big.settled, little.settled]).toEqual([false, true]);
  });

  it('is cancelled by its signal, with the reason', async () => {
    const all = small();
    const { guest, machine } = all;
    const first = exhaust(all);
    const controller = new AbortController();
    const seen = watch(guest.grants.whenFree(1, controller.signal));
    const other = watch(guest.grants.whenFree(1));
    controller.abort(new Error('closed'));
    guest.grants.freeGrantReferenceSeq(first, 1);
    await pass(machine);
    expect(seen.error).toEqual(new Error('closed'));
    expect(other.settled).toBe(true);
    await expect(guest.grants.whenFree(1, controller.signal)).rejects.toThrow('closed');
  });

  it('notices what the peer lets go of', async () => {
    const all = small();
    const { guest, machine } = all;
    const { ref, mapping } = shared(all);
    exhaust(all);
    guest.grants.deferEnd(ref);
    const seen = watch(guest.grants.whenFree(1));
    await pass(machine, 1e6);
    expect(seen.settled).toBe(false);
    mapping.unmap();
    await pass(machine, 1e9);
    expect(seen.settled).toBe(true);
  });
});

describe('claimWhenFree', () => {
  it('claims at once what is there', async () => {
    const { guest, machine } = small();
    const reserve = guest.grants.allocGrantReferences(1);
    const seen = watch(reserve.claimWhenFree());
    await pass(machine);
    expect(seen.value).toBe(8);
    expect(reserve.available).toBe(0);
  });

  it('hands a released reference to who has waited longest, and to nobody else', async () => {
    const { guest, machine } = small();
    const reserve = guest.grants.allocGrantReferences(2);
    const [a, b] = [reserve.claim(), reserve.claim()];
    const seen = [1, 2, 3].map(() => watch(reserve.claimWhenFree()));
    await pass(machine);
    reserve.release(a);
    expect(reserve.available).toBe(0);
    expect(() => reserve.claim()).toThrow(GrantError);
    await pass(machine);
    expect(seen.map(({ value }) => value)).toEqual([a, undefined, undefined]);
    reserve.release(b);
    reserve.release(a);
    await pass(machine);
    expect(seen.map(({ value }) => value)).toEqual([a, b, a]);
  });

  it('gets nothing if it was aborted, and the reference stays in the reserve', async () => {
    const { guest, machine } = small();
    const reserve = guest.grants.allocGrantReferences(1);
    const ref = reserve.claim();
    const controller = new AbortController();
    const seen = watch(reserve.claimWhenFree(controller.signal));
    await pass(machine);
    controller.abort(new Error('closed'));
    reserve.release(ref);
    await pass(machine);
    expect(seen.error).toEqual(new Error('closed'));
    expect(reserve.available).toBe(1);
    await expect(reserve.claimWhenFree(controller.signal)).rejects.toThrow('closed');
    expect(reserve.available).toBe(1);
  });

  it('is told when the reserve is freed', async () => {
    const { guest, machine } = small();
    const reserve = guest.grants.allocGrantReferences(1);
    const ref = reserve.claim();
    const seen = watch(reserve.claimWhenFree());
    await pass(machine);
    reserve.free();
    await pass(machine);
    expect(String(seen.error)).toMatch(/freed while waiting/);
    reserve.release(ref);
    await expect(reserve.claimWhenFree()).rejects.toThrow(GrantError);
    expect(guest.grants.freeCount).toBe(freeIn(1));
  });

  it('takes the same order with the same seed', async () => {
    const run = async (seed: number) => {
      const { guest, machine } = pair({ seed });
      const reserve = guest.grants.allocGrantReferences(4);
      const refs = [1, 2, 3, 4].map(() => reserve.claim());
      const order: string[] = [];
      for (const name of 'abcd') void reserve.claimWhenFree().then((ref) => order.push(name + ref));
      await pass(machine);
      for (const ref of refs) reserve.release(ref);
      await pass(machine);
      return order.join(' ');
    };
    expect(await run(5)).toBe(await run(5));
    const runs = await Promise.all([1, 2, 3, 4, 5, 6].map(run));
    for (const order of runs)
      expect(order.split(' ').toSorted()).toEqual(['a11', 'b10', 'c9', 'd8']);
  });
});
