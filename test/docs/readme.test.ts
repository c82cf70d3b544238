/**
 * What the README shows is what comes out: a text block holds the output of the last command before it.
 * `vitest run test/docs -u` writes the outputs into the README.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const path = `${root}README.md`;
const text = readFileSync(path, 'utf8');

const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

/** Runs the program behind a command of the README, started without the package manager, in `folder`. */
async function outputOf(command: string, folder: string): Promise<string> {
  const { scripts } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
    scripts: Record<string, string>;
  };
  const [script = '', ...args] = command.replace(/^npx -y pnpm /, '').split(' ');
  const [, ...words] = (scripts[script] ?? script).split(' ');
  // Programs and their data are the repository's; what they write is the folder's.
  const argv = [...words, ...args].map((word) =>
    word.includes('/') && existsSync(root + word) ? root + word : word,
  );
  const options = { cwd: folder };
  const node = argv[0] === '--import' ? argv.slice(2) : argv;
  const run = promisify(execFile)(process.execPath, ['--import', tsx, ...node], options);
  return (await run).stdout;
}

/** What is shown: the commands of a block or one between words, and the text block after them. */
const RUNS = [
  /```sh\n((?:npx -y pnpm [^\n]+\n)+)```\n\n```text\n([^]*?)```/g,
  /`(npx -y pnpm tsx examples\/[\w-]+\.ts)`[^`]*?```text\n([^]*?)```/g,
];

describe('the README', () => {
  it('shows what its commands print', async () => {
    let shown = text;
    const found = RUNS.flatMap((run) => [...text.matchAll(run)]);
    expect(found).toHaveLength(3);
    for (const [block, commands, old] of found) {
      const folder = mkdtempSync(join(tmpdir(), 'ringside-readme-'));
      let output = '';
      try {
        for (const command of commands!.trim().split('\n'))
          output = await outputOf(command, folder);
      } finally {
        rmSync(folder, { recursive: true });
      }
      expect(output).not.toBe('');
      const rerun = block.slice(0, block.length - old!.length - 3) + output + '```';
      shown = shown.replace(block, () => rerun);
    }
    await expect(shown).toMatchFileSnapshot(path);
  }, 60_000);

  it('names and links only what is there', () => {
    const sources = ['', 'packages/gnttab-core/src/'];
    const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(([, link]) => link!);
    const named = [...text.matchAll(/`([\w-]+(?:\/[\w.-]+)+(?:\.ts|\/))`/g)].map(
      ([, name]) => name!,
    );
    expect(links.length).toBeGreaterThan(5);
    expect(named.length).toBeGreaterThan(10);
    const missing = [...links, ...named].filter(
      (name) => !sources.some((source) => existsSync(root + source + name)),
    );
    expect(missing).toEqual([]);
  });
});
