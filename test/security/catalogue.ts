/** The security catalogue's list of cases against the tests that are there. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

/** Ids at the beginning of a test's name, in the files of this folder that are so called. */
function testedIn(files: RegExp): ReadonlySet<string> {
  const folder = new URL('.', import.meta.url);
  const names = readdirSync(folder).filter((name) => files.test(name));
  const texts = names.map((name) => readFileSync(new URL(name, folder), 'utf8'));
  return new Set(
    texts.flatMap((text) => [...text.matchAll(/\(\s*'([A-Z]{2}-\d\d): /g)].map(([, id]) => id!)),
  );
}

/**
 * Specs: each of the cases `PREFIX-01` to `PREFIX-count` is a test, or is in `notOurs` with the reason; and no other is
 * either.
 */
export function checkCatalogue(
  subject: string,
  prefix: string,
  count: number,
  files: RegExp,
  notOurs: Readonly<Record<string, string>>,
): void {
  const ids = Array.from(
    { length: count },
    (_, i) => `${prefix}-${String(i + 1).padStart(2, '0')}`,
  );

  describe(`the catalogue of ${subject}`, () => {
    const found = testedIn(files);

    it.each(ids)('%s is tested, or does not apply', (id) => {
      expect(found.has(id), `a test named '${id}: …'`).toBe(!(id in notOurs));
    });

    it('has no case but these', () => {
      const named = [...found, ...Object.keys(notOurs)];
      expect(named.filter((id) => !ids.includes(id))).toEqual([]);
    });
  });
}
