/**
 * What the README shows is what comes out: a text block holds the output of the command named before it.
 * `vitest run test/docs -u` writes the outputs into the README.
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const path = `${root}README.md`;
const text = readFileSync(path, 'utf8');

/** The program behind a command of the README, started without the package manager. */
async function outputOf(command: string): Promise<string> {
  const { scripts } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
    scripts: Record<string, string>;
  };
  const [script = '', ...args] = command.replace(/^npx -y pnpm /, '').split(' ');
  const [, ...words] = (scripts[script] ?? script).split(' ');
  const argv = ['--import', 'tsx', ...words, ...args];
  const { stdout } = await promisify(execFile)(process.execPath, argv, { cwd: root });
  return stdout;
}

describe('the README', () => {
  it('shows what its commands print', async () => {
    let shown = text;
    const blocks =
      /(npx -y pnpm (?:demo --seed 7|tsx examples\/[\w-]+\.ts))([^]*?```text\n)([^]*?)```/g;
    const found = [...text.matchAll(blocks)];
    expect(found).toHaveLength(2);
    for (const [block, command, , old] of found) {
      const output = await outputOf(command!);
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
