/**
 * Three domains, PV and translated, with tables of both versions, grant, map, copy, transfer, take back and die in any
 * order: no count is ever wrong, no frame or handle is lost.
 */
import { freePages } from '@ringside/gnttab-core';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { taken } from './invariants.ts';
import { grantSteps } from './life-cycle-steps.ts';
import { tableSteps } from './life-cycle-tables.ts';
import { anyKind, DOMAINS, Model, runs } from './life-cycle.ts';

const domains = fc.array(anyKind, { minLength: DOMAINS, maxLength: DOMAINS });
const anyRun = fc.commands([...grantSteps, ...tableSteps], {
  maxCommands: 120,
  size: 'max',
});

it(
  'the hypervisor’s counts are those of a simple model, after every step',
  () => {
    fc.assert(
      fc.property(domains, anyRun, (kinds, commands) => {
        const model = new Model(kinds);
        const { machine } = model.world;
        fc.modelRun(() => ({ model, real: {} }), commands);
        for (const { actor } of model.domains) actor.destroy();
        expect(machine.heap.pages - freePages(machine)).toBe(taken(machine));
      }),
      { numRuns: runs(30) },
    );
  },
  runs(60_000),
);
