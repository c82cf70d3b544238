/**
 * Recordings of the genuine event channel code, replayed through the binary door: every return value, every field that
 * comes back and every change that a guest could see must be the recorded one, and there may be no other.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import {
  type Difference,
  readEvtchnRecording,
  replayEvtchnTrace,
  type Sha256,
} from '@ringside/ringside';
import { expect, test } from 'vitest';

const folder = new URL('../vectors/evtchn/', import.meta.url);
const files = readdirSync(folder).toSorted();
const SHOWN = 10;

const sha256: Sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

const recordingIn = (file: string) =>
  readEvtchnRecording(gunzipSync(readFileSync(new URL(file, folder))).toString('utf8'));

const inOneLine = ({ trace, line, action, comment, what, expected, got }: Difference): string =>
  `${trace}, line ${line}: ${action}${comment ? ` (${comment})` : ''}: ${what}: expected ${expected}, got ${got}`;

test.each(files)('%s', (file) => {
  const differences = recordingIn(file).flatMap(
    (trace) => replayEvtchnTrace(trace, { sha256 }).differences,
  );
  expect(differences.slice(0, SHOWN).map(inOneLine)).toEqual([]);
});

test('that is 196 traces with 25,443 hypercalls', () => {
  const traces = files.flatMap(recordingIn);
  const calls = traces.flatMap(({ steps }) => steps.filter(({ step }) => step.t === 'hc'));
  expect([traces.length, calls.length]).toEqual([196, 25_443]);
});
