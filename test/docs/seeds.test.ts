/** docs/seeds.md names tests that are there, and sources that are there: nothing is claimed that no test shows. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const text = readFileSync(`${root}docs/seeds.md`, 'utf8');

/** The rows of its tables: what a document says, where it is, what shows it. */
const rows = text.split('\n').flatMap((line) => {
  const cells = line.split(/(?<!\\)\|/).map((cell) => cell.trim());
  const isRow = cells.length === 5 && !/^-+$/.test(cells[1]!) && cells[3] !== 'shown by';
  return isRow ? [{ statement: cells[1]!, sources: cells[2]!, tests: cells[3]! }] : [];
});

/** Each test file of a cell, with the words that should stand in it. */
const shownBy = (cell: string) =>
  cell.split(/; (?=`)/).map((part) => ({
    file: /^`([^`]+)`/.exec(part)?.[1],
    words: [...part.matchAll(/"((?:[^"\\]|\\.)+)"/g)].map(([, word]) =>
      word!.replaceAll('\\|', '|'),
    ),
  }));

it('has the statements of four documents', () => {
  expect(text.match(/^## /gm)).toHaveLength(4);
  expect(rows.length).toBeGreaterThan(80);
});

it('says of each where it is implemented', () => {
  const missing = rows.flatMap(({ statement, sources }) => {
    const named = [...sources.matchAll(/`([\w-]+\/(?:[\w.-]+\.ts)?)`/g)].map(([, path]) => path!);
    return named
      .filter((path) => !existsSync(`${root}packages/gnttab-core/src/${path}`))
      .map((path) => `${path} (${statement})`);
  });
  expect(missing).toEqual([]);
});

it('names tests that are there', () => {
  const missing = rows.flatMap(({ statement, tests }) =>
    shownBy(tests).flatMap(({ file, words }) => {
      if (file === undefined || !existsSync(root + file)) return [`${file} (${statement})`];
      const source = readFileSync(root + file, 'utf8').replaceAll("\\'", "'");
      return words
        .filter((word) => !source.includes(word))
        .map((word) => `${file}: ${word} (${statement})`);
    }),
  );
  expect(missing).toEqual([]);
});
