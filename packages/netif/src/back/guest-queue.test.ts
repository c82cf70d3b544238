import { beforeEach, expect, test } from 'vitest';
import { LocalPacket } from '../memory/local-packet.ts';
import { GuestQueue } from './guest-queue.ts';

let nowNs: number;
let sleepers: { atNs: number; wake: () => void }[];
let rooms: number;
let queue: GuestQueue;

beforeEach(() => {
  nowNs = rooms = 0;
  sleepers = [];
  queue = new GuestQueue({
    limitSlots: 8,
    stallNs: 1000,
    nowNs: () => nowNs,
    sleep: (ns) => new Promise((wake) => sleepers.push({ atNs: nowNs + ns, wake })),
    onRoom: () => rooms++,
  });
});

/** Lets the time pass, and what waited for it run. */
async function pass(ns: number): Promise<void> {
  nowNs += ns;
  for (;;) {
    const due = sleepers.filter(({ atNs }) => atNs <= nowNs);
    if (due.length === 0) return;
    sleepers = sleepers.filter(({ atNs }) => atNs > nowNs);
    for (const { wake } of due) wake();
    await new Promise(setImmediate);
  }
}

const push = (count: number, slots = 1): boolean[] =>
  Array.from({ length: count }, () => queue.push(new LocalPacket(), slots));
const shift = (count: number): void => {
  for (let i = 0; i < count; i++) queue.shift();
};
const state = () => ({ holding: queue.holding, stalled: queue.stalled, length: queue.length });

test('packets come out as they went in, and the next one says how many slots it takes', () => {
  const packets = [new LocalPacket(), new LocalPacket()];
  queue.push(packets[0]!, 2);
  queue.push(packets[1]!, 5);
  expect([queue.nextSlots, queue.shift(), queue.nextSlots, queue.shift(), queue.nextSlots]).toEqual(
    [2, packets[0], 5, packets[1], 0],
  );
  expect(queue.shift()).toBeUndefined();
});

test('a full queue holds senders until half of it is gone', () => {
  expect(push(8)).toEqual(Array.from({ length: 8 }, () => true));
  expect(state()).toEqual({ holding: true, stalled: false, length: 8 });
  shift(3);
  expect([queue.holding, rooms]).toEqual([true, 0]);
  shift(1);
  expect([queue.holding, rooms]).toEqual([false, 1]);
});

test('one packet may go over the limit, none after it', () => {
  push(7);
  expect(push(2, 18)).toEqual([true, false]);
  expect(queue.length).toBe(8);
});

test('a guest that does not read within the stall time holds nobody any more, and what does not fit is not taken', async () => {
  push(8);
  await pass(999);
  expect([state(), rooms]).toEqual([{ holding: true, stalled: false, length: 8 }, 0]);
  await pass(1);
  expect([state(), rooms]).toEqual([{ holding: false, stalled: true, length: 8 }, 1]);
  expect(push(1)).toEqual([false]);
});

test('reading a little is not enough: half must be read within the stall time', async () => {
  push(8);
  for (let i = 0; i < 3; i++) {
    await pass(300);
    shift(1);
  }
  await pass(100);
  expect(state()).toEqual({ holding: false, stalled: true, length: 5 });
});

test('a stalled guest that reads half is not stalled any more', async () => {
  push(8);
  await pass(1000);
  shift(4);
  expect(state()).toEqual({ holding: false, stalled: false, length: 4 });
  push(4);
  expect(queue.holding).toBe(true);
});

test('what gives way because it is old is no sign of life', async () => {
  push(8);
  await pass(1000);
  for (let i = 0; i < 6; i++) queue.dropOldest();
  expect(state()).toEqual({ holding: false, stalled: true, length: 2 });
  shift(1);
  expect(state()).toEqual({ holding: false, stalled: false, length: 1 });
});

test('each time the queue is full the stall time begins anew, with one timer at most', async () => {
  for (let i = 0; i < 5; i++) {
    push(8 - queue.length);
    await pass(900);
    shift(4);
    expect(queue.stalled).toBe(false);
  }
  push(4);
  await pass(999);
  expect([queue.stalled, sleepers.length]).toEqual([false, 1]);
  await pass(1);
  expect(queue.stalled).toBe(true);
});
