/** Security catalogue, grant tables: every case is a test of this folder, or is none of ours for a reason. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const CASES = 59;
const ids = Array.from({ length: CASES }, (_, i) => `GT-${String(i + 1).padStart(2, '0')}`);

/** Cases that nothing here can have, and why. */
const notOurs: Readonly<Record<string, string>> = {
  'GT-53':
    'speculative execution: the hypervisor is a library, and its guests do not share a processor with secrets',
  'GT-55': 'IOMMU: a device mapping is counted, but no I/O page table is filled for it',
  'GT-56': 'Arm’s stage 2 tables: the translated domains here follow x86',
};

/** Ids at the beginning of a test's name, with the file. */
function tested(): Map<string, string> {
  const folder = new URL('.', import.meta.url);
  const found = new Map<string, string>();
  for (const file of readdirSync(folder).filter((name) => /^grant-.*\.test\.ts$/.test(name))) {
    const text = readFileSync(new URL(file, folder), 'utf8');
    for (const [, id] of text.matchAll(/\(\s*'(GT-\d\d): /g)) found.set(id!, file);
  }
  return found;
}

describe('the catalogue of grant table cases', () => {
  const found = tested();

  it.each(ids)('%s is tested, or does not apply', (id) => {
    expect(found.has(id), `a test named '${id}: …'`).toBe(!(id in notOurs));
  });

  it('has no case but these', () => {
    const named = [...found.keys(), ...Object.keys(notOurs)];
    expect(named.filter((id) => !ids.includes(id))).toEqual([]);
  });
});
