/**
 * Random work at both ends of a ring against a model that counts with whole numbers that never wrap. A failing run is
 * printed by fast-check as the list of its commands.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { distance, ringIndex } from './ring-index.ts';
import { ids, ringPair } from './testing.ts';

fc.configureGlobal({ seed: 7 });

type Real = ReturnType<typeof ringPair>;

/** The indices of the ring as counts since the beginning, and who sleeps. */
interface Model {
  readonly size: number;
  reqProdPvt: number;
  reqProd: number;
  reqEvent: number;
  reqCons: number;
  rspProdPvt: number;
  rspProd: number;
  rspEvent: number;
  rspCons: number;
  /** The final check said that nothing is left: only a notification wakes this end. */
  frontSleeps: boolean;
  backSleeps: boolean;
}

type Command = fc.Command<Model, Real>;

/** Every request and its response carry the request's place in the sequence. */
const idsOf = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, i) => ringIndex(from + i));

function expectSameIndices(model: Model, { front, back, shared }: Real): void {
  expect({
    reqProdPvt: front.reqProdPvt,
    reqProd: shared.reqProd,
    reqEvent: shared.reqEvent,
    reqCons: back.reqCons,
    rspProdPvt: back.rspProdPvt,
    rspProd: shared.rspProd,
    rspEvent: shared.rspEvent,
    rspCons: front.rspCons,
    free: front.freeRequests,
    requests: back.unconsumedRequests,
    responses: front.unconsumedResponses,
  }).toEqual({
    reqProdPvt: ringIndex(model.reqProdPvt),
    reqProd: ringIndex(model.reqProd),
    reqEvent: ringIndex(model.reqEvent),
    reqCons: ringIndex(model.reqCons),
    rspProdPvt: ringIndex(model.rspProdPvt),
    rspProd: ringIndex(model.rspProd),
    rspEvent: ringIndex(model.rspEvent),
    rspCons: ringIndex(model.rspCons),
    free: model.size - (model.reqProdPvt - model.rspCons),
    requests: model.reqProd - model.reqCons,
    responses: model.rspProd - model.rspCons,
  });
  // No wake-up is lost: who sleeps has nothing waiting for it.
  if (model.backSleeps) expect(model.reqProd).toBe(model.reqCons);
  if (model.frontSleeps) expect(model.rspProd).toBe(model.rspCons);
}

function expectSame(actual: unknown, expected: unknown): void {
  expect(actual).toEqual(expected);
}

function expectThrow(act: () => void, message: string): void {
  expect(act).toThrow(message);
}

/** A command that is always possible; `run` changes model and ring and compares what they say. */
const command = (name: string, run: (model: Model, real: Real) => void): Command => ({
  check: () => true,
  run(model, real) {
    run(model, real);
    expectSameIndices(model, real);
  },
  toString: () => name,
});

const frontPuts = (count: number): Command =>
  command(`front puts ${count}`, (model, { front }) => {
    const room = model.size - (model.reqProdPvt - model.rspCons);
    for (let i = 0; i < Math.min(count, room); i++) {
      front.put({ id: ringIndex(model.reqProdPvt) });
      model.reqProdPvt++;
    }
    if (count > room) expectThrow(() => front.put({ id: 0 }), 'is full');
  });

const frontPushes = command('front pushes', (model, { front }) => {
  const reached = model.reqEvent > model.reqProd && model.reqEvent <= model.reqProdPvt;
  const notify = front.pushRequestsAndCheckNotify();
  expectSame(notify, reached);
  if (notify) model.backSleeps = false;
  model.reqProd = model.reqProdPvt;
});

const backDrains = (limit: number): Command =>
  command(`back drains ${limit}`, (model, { back }) => {
    const end = Math.min(model.reqProd, model.reqCons + limit);
    const { items, count, fault } = back.drainRequests(limit);
    expectSame(fault, undefined);
    expectSame(count, items.length);
    expectSame(ids(items), idsOf(model.reqCons, end));
    model.reqCons = end;
  });

const backPuts = (count: number): Command =>
  command(`back puts ${count}`, (model, { back }) => {
    const unanswered = model.reqCons - model.rspProdPvt;
    for (let i = 0; i < Math.min(count, unanswered); i++) {
      back.put({ id: ringIndex(model.rspProdPvt) });
      model.rspProdPvt++;
    }
    if (count > unanswered) expectThrow(() => back.put({ id: 0 }), 'has its response');
  });

const backPushes = command('back pushes', (model, { back }) => {
  const reached = model.rspEvent > model.rspProd && model.rspEvent <= model.rspProdPvt;
  const notify = back.pushResponsesAndCheckNotify();
  expectSame(notify, reached);
  if (notify) model.frontSleeps = false;
  model.rspProd = model.rspProdPvt;
});

const frontDrains = command('front drains', (model, { front }) => {
  const { items, fault } = front.drainResponses();
  expectSame(fault, undefined);
  expectSame(ids(items), idsOf(model.rspCons, model.rspProd));
  model.rspCons = model.rspProd;
});

const backChecks = command('back makes its final check', (model, { back }) => {
  const left = model.reqProd > model.reqCons;
  expectSame(back.finalCheckForRequests(), left);
  if (!left) model.reqEvent = model.reqCons + 1;
  model.backSleeps = !left;
});

const frontChecks = command('front makes its final check', (model, { front }) => {
  const left = model.rspProd > model.rspCons;
  expectSame(front.finalCheckForResponses(), left);
  if (!left) model.rspEvent = model.rspCons + 1;
  model.frontSleeps = !left;
});

/** Where the run starts; the run itself is some hundred messages long, so many of them cross the wrap. */
const start = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 2 ** 32 - 200, max: 2 ** 32 - 1 }),
  fc.integer({ min: 2 ** 31 - 100, max: 2 ** 31 }),
);
const size = fc.constantFrom(1, 2, 8, 32);
const few = fc.integer({ min: 1, max: 10 });

const commands = fc.commands(
  [
    few.map(frontPuts),
    fc.constant(frontPushes),
    few.map(backDrains),
    few.map(backPuts),
    fc.constant(backPushes),
    fc.constant(frontDrains),
    fc.constant(backChecks),
    fc.constant(frontChecks),
  ],
  { maxCommands: 300, size: 'max' },
);

it('any work at both ends gives every message once, in order, and loses no wake-up', () => {
  fc.assert(
    fc.property(start, size, commands, (at, slots, cmds) => {
      const setup = () => ({
        model: {
          size: slots,
          reqProdPvt: at,
          reqProd: at,
          reqEvent: at + 1,
          reqCons: at,
          rspProdPvt: at,
          rspProd: at,
          rspEvent: at + 1,
          rspCons: at,
          frontSleeps: true,
          backSleeps: true,
        },
        real: ringPair(slots, at),
      });
      fc.modelRun(setup, cmds);
    }),
    { numRuns: 200 },
  );
});

it('a ring with garbage in every shared word neither throws nor hands out more than it holds', () => {
  const word = fc.integer({ min: 0, max: 0xffff_ffff });
  fc.assert(
    fc.property(word, size, fc.tuple(word, word, word, word), few, (at, slots, words, put) => {
      const { front, back, shared } = ringPair(slots, at);
      for (let id = 0; id < Math.min(put, slots); id++) front.put({ id });
      front.pushRequests();
      back.drainRequests(2);
      [shared.reqProd, shared.reqEvent, shared.rspProd, shared.rspEvent] = words;
      const unanswered = distance(back.rspProdPvt, back.reqCons);
      const requests = back.drainRequests();
      expect(requests.count).toBeLessThanOrEqual(requests.fault ? 0 : slots - unanswered);
      const responses = front.drainResponses();
      expect(responses.count).toBeLessThanOrEqual(responses.fault ? 0 : Math.min(put, slots));
      back.finalCheckForRequests();
      front.finalCheckForResponses();
    }),
  );
});
