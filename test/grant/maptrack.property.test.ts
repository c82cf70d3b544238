/** Handles of many CPUs: unique, taken from others when short, limited, and all there at the end. */
import { freePages } from '@ringside/gnttab-core';
import { nrMaptrackEntries } from '@ringside/gnttab-core/hypervisor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { runs } from './life-cycle.ts';
import { check, map, MaptrackModel, unmap, unmapAll } from './maptrack.ts';

/** Bursts: that is how drivers map, and how a limit is reached. */
const burst = (vcpus: number) =>
  fc.record({
    vcpu: fc.nat(vcpus - 1),
    what: fc.constantFrom('map', 'map', 'unmap', 'refused' as const),
    times: fc.oneof(fc.nat(4), fc.nat(300)),
    nth: fc.nat(1000),
  });

const run = fc
  .record({ vcpus: fc.integer({ min: 1, max: 5 }), frames: fc.integer({ min: 1, max: 3 }) })
  .chain(({ vcpus, frames }) =>
    fc.record({
      vcpus: fc.constant(vcpus),
      frames: fc.constant(frames),
      bursts: fc.array(burst(vcpus), { maxLength: 14, size: 'max' }),
    }),
  );

it(
  'whoever maps and unmaps, the handles are those of a simple model',
  () => {
    fc.assert(
      fc.property(run, ({ vcpus, frames, bursts }) => {
        const model = new MaptrackModel(vcpus, frames);
        for (const { vcpu, what, times, nth } of bursts) {
          for (let n = 0; n < times; n++) {
            if (what === 'unmap') unmap(model, nth + n);
            else map(model, vcpu, what === 'map');
          }
          check(model);
        }
        unmapAll(model);
        check(model);
      }),
      { numRuns: runs(25) },
    );
  },
  runs(60_000),
);

describe('at the limit', () => {
  it.each([
    [1, 1],
    [2, 1],
    [5, 1],
    [1, 2],
    [3, 2],
  ])('%i CPUs in turn, %i frames: a mapping less than handles for each CPU', (vcpus, frames) => {
    const model = new MaptrackModel(vcpus, frames);
    const room = 256 * frames - vcpus;
    for (let n = 0; n < room + 5; n++) map(model, n % vcpus); // the model says which have no space
    expect(model.live.size).toBe(room);
    check(model);
  });

  it('a CPU that never had a handle takes two from the others: one to keep, one to use', () => {
    const model = new MaptrackModel(2, 1);
    for (let n = 0; n < 253; n++) map(model, 0);
    map(model, 1);
    expect(model.live.size).toBe(254);
    map(model, 0);
    map(model, 1);
    expect(model.live.size).toBe(254);
    check(model);
  });

  it('where one is left it keeps that, and nobody can map any more', () => {
    const model = new MaptrackModel(2, 1);
    for (let n = 0; n < 254; n++) map(model, 0);
    map(model, 1);
    map(model, 0);
    expect(model.live.size).toBe(254);
    unmap(model, 0);
    map(model, 1);
    expect(model.live.size).toBe(254);
    check(model);
  });

  it('a handle taken from another CPU is one’s own afterwards', () => {
    const model = new MaptrackModel(2, 1);
    for (let n = 0; n < 200; n++) map(model, 0);
    for (let n = 0; n < 54; n++) map(model, 1);
    unmapAll(model);
    check(model);
    for (let n = 0; n < 254; n++) map(model, 1);
    expect(model.live.size).toBe(254);
    check(model);
  });
});

describe('growth', () => {
  it('is by one frame for a CPU that has none to give, and is kept', () => {
    const model = new MaptrackModel(3, 4);
    const { machine } = model.world;
    const before = freePages(machine);
    const frames = () => nrMaptrackEntries(model.mapper.domain) / 256;
    expect(frames()).toBe(0);
    for (const [vcpu, expected] of [
      [0, 1],
      [0, 1],
      [1, 2],
      [2, 3],
    ] as const) {
      map(model, vcpu);
      expect(frames()).toBe(expected);
      expect(freePages(machine)).toBe(before - expected);
    }
    for (let n = 0; n < 254; n++) map(model, 0);
    expect(frames()).toBe(4);
    unmapAll(model);
    expect(frames()).toBe(4);
    check(model);
  });

  it('ends with the domain', () => {
    const model = new MaptrackModel(2, 2);
    const { machine } = model.world;
    model.mapper.destroy();
    const before = freePages(machine);
    const { mapper, granter } = new MaptrackModel(2, 2);
    expect([mapper.id, granter.id]).toEqual([model.mapper.id, model.granter.id]);
    expect(freePages(machine)).toBe(before);
  });
});
