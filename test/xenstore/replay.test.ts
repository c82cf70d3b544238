/**
 * Recordings of the genuine C xenstored, replayed against the pure store. Every step is compared, strictly (all messages of
 * a connection in the server's order), and has to equal what 4.17 or what 4.23 answered. Not replayed yet: 08-control
 * (texts of the daemon) and 10-domu-quota (quotas).
 */
import { describe, expect, test } from 'vitest';
import { readRecording, Replay } from './recording.ts';

const folder = new URL('../vectors/xenstore/', import.meta.url);

/** Recording, and how many of its steps are compared. */
const recordings: [string, number][] = [
  ['01-basic', 90],
  ['02-shape-directory-part', 52],
  ['02-shape-directory', 37],
  ['02-shape-get-domain-path', 54],
  ['02-shape-get-perms', 37],
  ['02-shape-introduce', 47],
  ['02-shape-is-domain-introduced', 54],
  ['02-shape-mkdir', 37],
  ['02-shape-read', 37],
  ['02-shape-release', 54],
  ['02-shape-reset-watches', 37],
  ['02-shape-resume', 54],
  ['02-shape-rm', 69],
  ['02-shape-set-perms', 95],
  ['02-shape-set-target', 43],
  ['02-shape-transaction-end', 67],
  ['02-shape-transaction-start', 45],
  ['02-shape-unwatch', 62],
  ['02-shape-watch', 82],
  ['02-shape-write', 62],
  ['03-limits', 335],
  ['04-wire', 61],
  ['04-zero-length', 30],
  ['05-watches', 61],
  ['06-transactions', 282],
  ['07-domains', 39],
  ['09-domu', 82],
  ['11-new-ops', 69],
  ['20-random-00', 2100],
  ['20-random-01', 2100],
  ['20-random-02', 2100],
  ['20-random-03', 2100],
  ['20-random-04', 2100],
];

describe('the store answers as the genuine daemon', () => {
  test.each(recordings)('%s: all %i steps', (name, compared) => {
    const recording = readRecording(new URL(`${name}.jsonl.gz`, folder));
    const { same, newer, mismatches } = new Replay().run(recording, 'strict');
    expect(mismatches.join('\n')).toBe('');
    expect(same + newer).toBe(compared);
  });
});

describe('a replay notices', () => {
  const steps = readRecording(new URL('05-watches.jsonl.gz', folder));

  test('a reply that differs', () => {
    const forged = steps.map((step) =>
      step.op === 'WRITE' ? { ...step, recv: step.recv!.slice(1) } : step,
    );
    const { mismatches } = new Replay().run(forged, 'strict');
    expect(mismatches).toHaveLength(steps.filter(({ op }) => op === 'WRITE').length);
  });

  test('events in another order, but only when strict', () => {
    const swapped = steps.map((step) =>
      step.op === 'RM' ? { ...step, recv: step.recv!.toReversed() } : step,
    );
    expect(new Replay().run(swapped, 'strict').mismatches).not.toEqual([]);
  });
});
