/** Runs that end in another way than by themselves, and what is printed where. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { folderWith, ringside, ringsideFromSources, start } from './ringside.ts';

/** Waits until a file that is not complete has something in it. */
async function partialFile(folder: string): Promise<string> {
  for (;;) {
    const name = fs.readdirSync(folder).find((entry) => entry.endsWith('.partial'));
    if (name !== undefined && fs.statSync(path.join(folder, name)).size > 0) return name;
    await setTimeout(10);
  }
}

test('Ctrl-C in the middle of a copy: one line, exit code 130, no trace of the copy', async (context) => {
  const folder = folderWith(context, { 'disk.img': new Uint8Array(0) });
  fs.truncateSync(path.join(folder, 'disk.img'), 2 ** 31);
  const words = 'disk --image disk.img --workload copy --out copy.img'.split(' ');
  const [child, ended] = start(folder, ...words);
  expect(await partialFile(folder)).toMatch(/^\.copy\.img\.\d+\.partial$/);
  child.kill('SIGINT');
  expect(await ended).toEqual({ exitCode: 130, stdout: '', stderr: 'ringside: interrupted\n' });
  expect(fs.readdirSync(folder)).toEqual(['disk.img']);
});

test('a trace of an interrupted run is whole: all that happened until then', async (context) => {
  const folder = folderWith(context);
  const words = 'net --workload ping --count 99999999 --trace trace.json'.split(' ');
  const [child, ended] = start(folder, ...words);
  const partial = path.join(folder, await partialFile(folder));
  while (fs.statSync(partial).size < 10_000) await setTimeout(10);
  child.kill('SIGTERM');
  expect(await ended).toMatchObject({ exitCode: 143, stderr: 'ringside: interrupted\n' });
  expect(fs.readdirSync(folder)).toEqual(['trace.json']);
  const trace = JSON.parse(fs.readFileSync(path.join(folder, 'trace.json'), 'utf8')) as {
    traceEvents: { ph: string; name: string; args: { name?: string } }[];
  };
  const named = trace.traceEvents.filter(({ name }) => name === 'process_name');
  expect(named.map(({ args }) => args.name)).toEqual(
    expect.arrayContaining(['driver (domain 1)', 'guest1 (domain 2)', 'guest2 (domain 3)']),
  );
  expect(new Set(trace.traceEvents.map(({ ph }) => ph))).toEqual(new Set('beiCM'));
});

test('a reader who does not wait for the results does not matter', async (context) => {
  const folder = folderWith(context, { 'disk.img': new Uint8Array(65_536) });
  const [child, ended] = start(folder, 'disk', '--image', 'disk.img');
  child.stdout!.destroy();
  expect(await ended).toMatchObject({ exitCode: 0, stderr: '' });
});

test('--json: one object, alone on stdout', async (context) => {
  const folder = folderWith(context);
  const words = 'disk --scratch --size 1M --workload randwrite --bs 8k --iodepth 4 --json';
  const { exitCode, stdout, stderr } = await ringside(folder, ...words.split(' '));
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(stdout).toMatch(/^\{.*\}\n$/);
  expect(JSON.parse(stdout)).toMatchObject({
    command: 'disk',
    ok: true,
    clock: 'real',
    disk: {
      workload: 'randwrite',
      blockBytes: 8192,
      iodepth: 4,
      requests: 128,
      bytes: 2 ** 20,
      verifiedBytes: 2 ** 20,
    },
    domains: [{ name: 'driver' }, { name: 'guest', counters: { grants: 513 } }],
    failures: [],
  });
  expect(fs.readdirSync(folder)).toEqual([]);
});

test('the demo says what crossed, and that every byte is right', async (context) => {
  const { exitCode, stdout, stderr } = await ringsideFromSources(
    folderWith(context),
    'demo',
    '--seed',
    '1',
  );
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(stdout).toMatch(/^guest1 +randread 4k qd32 +8,192 +32\.0 MiB /m);
  expect(stdout).toMatch(/^guest2 → guest1 +bulk +copy → flip +20,000 /m);
  expect(stdout).toMatch(/^notifications suppressed +\d/m);
  expect(stdout).toMatch(/^127,864,864 bytes compared, every one is right$/m);
});
