/** Security catalogue, event channels: every case is a test of this folder, or is none of ours for a reason. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const CASES = 35;
const ids = Array.from({ length: CASES }, (_, i) => `EV-${String(i + 1).padStart(2, '0')}`);

/** Cases that nothing here can have, and why. */
const notOurs: Readonly<Record<string, string>> = {
  'EV-02': 'physical interrupts: there is no hardware, and EVTCHNOP_bind_pirq gives nobody any',
  'EV-32': 'the drivers’ late EOI: a guest’s upcall does not mask the port that it serves',
  'EV-33': 'the drivers’ late EOI, at the other end',
};

/** Ids at the beginning of a test's name, with the file. */
function tested(): Map<string, string> {
  const folder = new URL('.', import.meta.url);
  const found = new Map<string, string>();
  for (const file of readdirSync(folder).filter((name) => /^event-.*\.test\.ts$/.test(name))) {
    const text = readFileSync(new URL(file, folder), 'utf8');
    for (const [, id] of text.matchAll(/\(\s*'(EV-\d\d): /g)) found.set(id!, file);
  }
  return found;
}

describe('the catalogue of event channel cases', () => {
  const found = tested();

  it.each(ids)('%s is tested, or does not apply', (id) => {
    expect(found.has(id), `a test named '${id}: …'`).toBe(!(id in notOurs));
  });

  it('has no case but these', () => {
    const named = [...found.keys(), ...Object.keys(notOurs)];
    expect(named.filter((id) => !ids.includes(id))).toEqual([]);
  });
});
