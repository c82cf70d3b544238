/** Ends that no command should come to, and which leave nothing half-written all the same. */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import * as os from 'node:os';
import * as path from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';

const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
const here = (name: string) => JSON.stringify(new URL(name, import.meta.url).href);

test.each([
  [
    'never ends',
    'new Promise(() => {})',
    'the run came to a standstill: nobody has anything to do',
  ],
  [
    'throws in a task of the scheduler',
    `new Promise(() => session.createMachine().scheduler.post(() => { throw new TypeError('a bug'); }))`,
    'TypeError: a bug',
  ],
])('a command that %s', (_, body, sentence) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ringside-test-'));
  const script = `
    import { OutputFile } from ${here('output-file.node.ts')};
    import { Session } from ${here('session.node.ts')};
    const command = (session) => { new OutputFile('out'); return ${body}; };
    process.exitCode = await new Session({}).run('test', command);`;
  const words = ['--import', tsx, '--input-type=module', '-e', script];
  try {
    const ended = spawnSync(process.execPath, words, { cwd: folder, encoding: 'utf8' });
    expect(ended).toMatchObject({ status: 1, stdout: '' });
    expect(ended.stderr.split('\n')[0]).toBe(`ringside: ${sentence}`);
    expect(fs.readdirSync(folder)).toEqual([]);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
