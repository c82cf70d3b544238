/** docs/architecture.md names what is there, and everything that is there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const text = readFileSync(`${root}docs/architecture.md`, 'utf8');
const sources = readdirSync(`${root}packages`).map((name) => `packages/${name}/src/`);

/** The folders of the layout tree, with the package that each is indented under. */
function layoutTree(): string[] {
  const tree = /```text\n([^]*?)```/.exec(text)![1]!;
  let parent = '';
  return tree.split('\n').flatMap((line) => {
    const [, indent, folder] = /^( *)(\S+\/)(?: |$)/.exec(line) ?? [];
    if (folder === undefined) return [];
    if (indent === '') parent = folder;
    return indent === '' ? [folder] : [parent + folder];
  });
}

describe('the layout tree', () => {
  it('has every package, and every folder in it', () => {
    const folders = sources.flatMap((source) => [
      source,
      ...readdirSync(root + source, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => `${source}${name}/`),
    ]);
    const inPackages = layoutTree().filter((folder) => folder.startsWith('packages/'));
    expect(inPackages.toSorted()).toEqual(folders.toSorted());
  });

  it('has nothing else but what is there', () => {
    expect(layoutTree().filter((folder) => !existsSync(root + folder))).toEqual([]);
  });
});

it('every file and folder that the text names is there', () => {
  const named = [...text.matchAll(/`([\w-]+(?:\/[\w.-]+)*\/|[\w-]+(?:\/[\w.-]+)+\.ts)`/g)];
  const paths = named.map(([, path]) => path!);
  expect(paths.length).toBeGreaterThan(20);
  const missing = paths.filter(
    (path) => ![...sources, ''].some((at) => existsSync(root + at + path)),
  );
  expect(missing).toEqual([]);
});
