import { createMachine } from '@ringside/gnttab-core';
import { expect, test } from 'vitest';
import { type DemoOptions, demoSteps, runDemo } from './demo.ts';

const small: DemoOptions = { diskBytes: 1 << 20, frames: 300, pings: 50 };

/** A run with a seed, and a fingerprint of the order in which everything happened. */
async function seeded(seed: number) {
  const machine = createMachine({ seed });
  let order = 0;
  machine.trace.enabled = true;
  machine.trace.onRecords = (records) => {
    for (const { kind, domid, timeNs } of records) {
      order = Math.imul(order ^ (kind * 31 + domid * 7 + timeNs), 0x0100_0193);
    }
  };
  const result = await runDemo({ ...small, machine });
  machine.trace.flush();
  return { result, order };
}

test('every byte that crosses is right, and all of them are compared', async () => {
  const steps: string[] = [];
  const result = await runDemo({ ...small, onStep: (step) => steps.push(step) });
  expect(result).toMatchObject({ ok: true, failures: [] });
  expect(steps).toEqual(demoSteps);
  const disks = 2 * 256;
  expect(result.disk.reduce((sum, { requests }) => sum + requests, 0)).toBe(disks);
  expect(result.net.map(({ frames }) => frames)).toEqual([300, 300, 100]);
  expect(result.verifiedBytes).toBe(disks * 4096 + 600 * 1514 + 100 * 98);
});

test('what the domains asked of the hypervisor is counted: flips by one guest, copies for the other', async () => {
  const { result } = await seeded(1);
  const [driver, flipping, copying] = result.domains.map(({ counters }) => counters);
  expect(flipping!.transfers).toBeGreaterThanOrEqual(300);
  expect(driver!.transfers).toBeGreaterThanOrEqual(300);
  expect(driver!.copies).toBeGreaterThan(2 * 256);
  expect(copying!.transfers).toBe(0);
  expect(driver!.maps).toBeGreaterThanOrEqual(2 * 3);
  expect(driver!.notificationsSuppressed).toBeGreaterThan(0);
});

test('one seed is one run; another seed is another order with the same outcome', async () => {
  const [a, again, b] = [await seeded(7), await seeded(7), await seeded(8)];
  expect(again).toEqual(a);
  expect(b.order).not.toBe(a.order);
  expect(b.result.ok).toBe(true);
  expect(b.result.verifiedBytes).toBe(a.result.verifiedBytes);
});
