/** Three domains grant, map, copy, transfer and die in any order: no count is ever wrong, no frame or handle is lost. */
import { freePages } from '@ringside/gnttab-core';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { taken } from './invariants.ts';
import { anyRun, Model } from './life-cycle.ts';

it('the hypervisor’s counts are those of a simple model, after every step', () => {
  fc.assert(
    fc.property(anyRun, (commands) => {
      const model = new Model();
      const { machine } = model.world;
      fc.modelRun(() => ({ model, real: {} }), commands);
      for (const { actor } of model.domains) actor.destroy();
      expect(machine.heap.pages - freePages(machine)).toBe(taken(machine));
    }),
    { numRuns: 20 },
  );
});
