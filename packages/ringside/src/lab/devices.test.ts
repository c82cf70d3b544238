import { createMachine } from '@ringside/gnttab-core';
import { expect, test } from 'vitest';
import { runDiskLab, runNetLab } from './devices.ts';
import { type Lab, type Moment } from './moment.ts';

async function play(run: (lab: Lab) => Promise<readonly string[]>, again?: Lab['again']) {
  const names = new Map<number, string>();
  const moments: Moment[] = [];
  const machine = createMachine({ seed: 3 });
  const failures = await run({
    machine,
    names,
    onMoment: (moment) => moments.push(moment),
    again,
  });
  /** How many grants, and how many mappings, each domain has given at each moment. */
  const given = moments.map(({ tables }) =>
    Object.fromEntries(
      tables.map(({ domid, grants }) => [
        names.get(domid),
        [grants.length, grants.reduce((sum, { mappings }) => sum + mappings.length, 0)],
      ]),
    ),
  );
  return { failures, given, machine };
}

test('disk: the ring is mapped, and every request has a page granted while it is served', async () => {
  const { failures, given } = await play(runDiskLab);
  expect(failures).toEqual([]);
  const idle = { 'Domain-0': [0, 0], driver: [0, 0] };
  expect(given).toEqual([
    { ...idle, guest1: [1, 1] },
    { ...idle, guest1: [1 + 8, 1] },
    { ...idle, guest1: [1, 1] },
    { ...idle, guest1: [0, 0] },
  ]);
});

test('net: by flip both sides accept frames, by copy only the guest grants', async () => {
  const { failures, given } = await play(runNetLab);
  expect(failures).toEqual([]);
  expect(given).toHaveLength(4);
  expect(given[0]).toEqual({
    'Domain-0': [0, 0],
    driver: [256, 0],
    guest1: [256 + 3, 3],
    guest2: [expect.any(Number), 2],
  });
  expect(given[3]).toEqual({ 'Domain-0': [0, 0], driver: [0, 0], guest1: [0, 0], guest2: [0, 0] });
});

test('the work goes on as long as the lab wants', async () => {
  let left = 3;
  const { given, machine } = await play(runDiskLab, () => --left > 0);
  expect(given).toHaveLength(4);
  expect(machine.domainById(2)!.counters().grants).toBe(1 + 3 * 256);
});
