/** What `pnpm bench` may be asked for. */
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

const main = fileURLToPath(new URL('../../bench/main.ts', import.meta.url));
const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

const bench = (...words: string[]) =>
  promisify(execFile)(process.execPath, ['--import', tsx, main, ...words]);

describe('pnpm bench', () => {
  test('a prefix asks for its group', async () => {
    const { stdout, stderr } = await bench('--only', 'cost/', '--json');
    const { results } = JSON.parse(stdout) as { results: { name: string }[] };
    expect(stderr).toBe('');
    expect(results.map(({ name }) => name)).toEqual([
      'cost/domain',
      'cost/guest-kernel',
      'cost/vbd',
      'cost/vif',
    ]);
  });

  test.each([
    [
      ['--only', 'grunt/'],
      'bench: --only grunt/: no measurement begins so; groups: grant/, grant-shared/, domains/, guest/, blk/, net/, cost/\n',
    ],
    [['--onl', 'x'], "bench: unknown option '--onl' (Did you mean --only?)\n"],
  ])('%j is a usage error, in one line', async (words, stderr) => {
    await expect(bench(...words)).rejects.toMatchObject({ code: 2, stdout: '', stderr });
  });
});
