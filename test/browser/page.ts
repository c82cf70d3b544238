/** The script of the test's page: runs the scenario with the seed of the page's address and posts what came out. */
import { seededDemo, wholeDemo } from './scenario.ts';

async function post(body: object): Promise<void> {
  await fetch('/result', { method: 'POST', body: JSON.stringify(body) });
}
function fail(error: unknown): void {
  void post({ error: error instanceof Error ? `${error.message}\n${error.stack}` : String(error) });
}
addEventListener('error', ({ error }) => fail(error));
addEventListener('unhandledrejection', ({ reason }) => fail(reason));

const seed = Number(new URLSearchParams(location.search).get('seed'));
const { crossOriginIsolated } = self;
const sharedArrayBuffer = typeof SharedArrayBuffer;
const seeded = await seededDemo(seed);
const whole = await wholeDemo();
await post({ value: { crossOriginIsolated, sharedArrayBuffer, seeded, whole } });
