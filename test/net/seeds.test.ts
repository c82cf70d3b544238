/** A run is a function of the scenario and the seed: same seed, same trace; another seed, another order, the same bytes. */
import { expect, test } from 'vitest';
import { collect, frame, network, until } from './rig.ts';

async function run(seed: number): Promise<{ trace: string; received: Uint8Array[] }> {
  const net = await network({ rx: 'flip', tx: 'copy' }, { seed });
  const { trace } = net.machine;
  const [a, b] = net.fronts;
  const received = [collect(a), collect(b)];
  trace.enabled = true;
  const start = trace.written;
  const frames = Array.from({ length: 30 }, (_, i) => frame(60 + 300 * i, i));
  await Promise.all([a.sendAll(frames), b.sendAll(frames)]);
  await until(net, () => received.every(({ length }) => length === frames.length));
  trace.enabled = false;
  return { trace: JSON.stringify(trace.records(start)), received: received.flat() };
}

test('same seed, same trace; another seed, another order, the same bytes', async () => {
  const [first, again, other] = [await run(1), await run(1), await run(2)];
  expect(again.trace).toBe(first.trace);
  expect(other.trace).not.toBe(first.trace);
  expect(again.received).toEqual(first.received);
  expect(other.received).toEqual(first.received);
});
