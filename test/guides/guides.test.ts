/**
 * Every guide runs, and what it shows is what comes out. `vitest run test/guides -u` writes the outputs, diagrams
 * included, into the guides.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { runGuide } from './guide.ts';

const guides = fileURLToPath(new URL('../../docs/guides/', import.meta.url));
const here = fileURLToPath(new URL('.', import.meta.url));

describe('the guides', () => {
  it.each(readdirSync(guides).filter((name) => name.endsWith('.md')))('%s', async (name) => {
    const path = guides + name;
    const rerun = await runGuide(readFileSync(path, 'utf8'), name, here);
    await expect(rerun).toMatchFileSnapshot(path);
  });
});

describe('the guide runner', () => {
  const fence = '```';
  const guide = (...parts: string[]) => parts.join('\n').replaceAll('~~~', fence);

  it('fills in what a block prints, and carries names from block to block', async () => {
    const text = guide(
      '# A',
      '~~~ts',
      'const a = 1;',
      '~~~',
      'then',
      '~~~ts',
      'console.log(a + 1);',
    );
    const before = guide('~~~', 'shows', '~~~text', 'old', 'lines', '~~~', 'end');
    const after = guide('~~~', 'shows', '~~~text', '2', '~~~', 'end');
    expect(await runGuide(`${text}\n${before}`, 'a.md', here)).toBe(`${text}\n${after}`);
  });

  it('fails with what a block throws', async () => {
    const text = guide('~~~ts', "throw new Error('as it must');", '~~~');
    await expect(runGuide(text, 'b.md', here)).rejects.toThrow('as it must');
  });

  it('fails if a block prints what nobody sees', async () => {
    const text = guide('~~~ts', 'console.log(1);', '~~~');
    await expect(runGuide(text, 'c.md', here)).rejects.toThrow('c.md:1: prints, but no text block');
  });

  it('fails on a block without end', async () => {
    await expect(runGuide('```ts', 'd.md', here)).rejects.toThrow('line 1: the block has no end');
  });
});
