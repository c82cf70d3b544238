/** Events between threads: two domains send, each on a thread of its own, and a third one takes; none is lost. */
import { Worker } from 'node:worker_threads';
import { createDomain, createMachine, PAGE_SIZE } from '@ringside/gnttab-core';
import { allocXenHeapPage } from '@ringside/gnttab-core/hypervisor';
import { expect, it } from 'vitest';
import type { EventJob } from './event-worker.ts';
import { fifoGuest } from './fifo-guest.ts';
import { Vm } from './vm.ts';

const CHANNELS = 6;
const ROUNDS = 200_000;

/** Starts a thread on event-worker.ts, which is TypeScript; resolves to its answer. */
function thread(job: EventJob): Promise<number> {
  const boot = `import('tsx/esm/api').then(({ register }) => {
    register();
    return import(${JSON.stringify(new URL('./event-worker.ts', import.meta.url).href)});
  });`;
  const worker = new Worker(boot, { eval: true, workerData: job });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

it.each([
  ['two levels', false],
  ['FIFO', true],
])('%s', async (_, fifo) => {
  const machine = createMachine({ memoryPages: 1024, traceRecords: 0 });
  const born = () => new Vm(createDomain(machine, { pages: 8, vcpus: 2 }));
  const [taker, ...senders] = [born(), born(), born()];
  if (fifo) fifoGuest(taker!.domain);
  const channels = senders.map((sender) =>
    Array.from({ length: CHANNELS }, () => {
      const mine = taker!.alloc(sender.id);
      return { mine, theirs: sender.bind(taker!.id, mine) };
    }),
  );
  const at = allocXenHeapPage(machine) * PAGE_SIZE;
  machine.i32[at >>> 2] = 3;
  machine.i32[(at >>> 2) + 1] = 2;
  const common = { share: machine.share(), fifo, rounds: ROUNDS, at };
  const unseen = await Promise.all([
    thread({
      ...common,
      kind: 'take',
      domid: taker!.id,
      ports: channels.flat().map(({ mine }) => mine),
      firstBox: 0,
    }),
    ...senders.map((sender, n) =>
      thread({
        ...common,
        kind: 'send',
        domid: sender.id,
        ports: channels[n]!.map(({ theirs }) => theirs),
        firstBox: n * CHANNELS,
      }),
    ),
  ]);
  expect(unseen).toEqual([0, 0, 0]);
});
