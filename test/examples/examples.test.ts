/**
 * Every example is short, and tells the same story each time. `vitest run test/examples -u` writes the stories anew.
 */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const stories = fileURLToPath(new URL('.', import.meta.url));
const examples = readdirSync(`${root}examples`).filter((name) => name.endsWith('.ts'));

describe.each(examples)('examples/%s', (name) => {
  it('prints its whole story', async () => {
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      ['--import', 'tsx', `examples/${name}`],
      { cwd: root },
    );
    expect(stderr).toBe('');
    await expect(stdout).toMatchFileSnapshot(`${stories}${name.replace(/ts$/, 'txt')}`);
  });

  it('is under 80 lines, and says how to run it', () => {
    const lines = readFileSync(`${root}examples/${name}`, 'utf8').split('\n');
    expect(lines.length - 1).toBeLessThan(80);
    expect(lines[1]).toContain(`\`npx -y pnpm tsx examples/${name}\``);
  });
});
