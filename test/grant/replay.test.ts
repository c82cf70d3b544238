/**
 * Recordings of the genuine grant table code, replayed through the binary door: every return value, every field that
 * comes back and every change that a guest could see must be the recorded one, and there may be no other.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { Abi } from '@ringside/gnttab-core/abi';
import {
  type Difference,
  readGnttabRecording,
  replayGnttabTrace,
  type Sha256,
} from '@ringside/ringside';
import { describe, expect, test } from 'vitest';

const folder = new URL('../vectors/gnttab/', import.meta.url);
const files = readdirSync(folder).toSorted();
const SHOWN = 10;

const sha256: Sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

const recordingIn = (file: string) =>
  readGnttabRecording(gunzipSync(readFileSync(new URL(file, folder))).toString('utf8'));

const inOneLine = ({ trace, line, action, comment, what, expected, got }: Difference): string =>
  `${trace}, line ${line}: ${action}${comment ? ` (${comment})` : ''}: ${what}: expected ${expected}, got ${got}`;

function replay(file: string, abi: Abi): string[] {
  const traces = recordingIn(file);
  const differences = traces.flatMap(
    (trace) => replayGnttabTrace(trace, { abi, sha256 }).differences,
  );
  return differences.slice(0, SHOWN).map(inOneLine);
}

describe('x86_64', () => {
  test.each(files)('%s', (file) => {
    expect(replay(file, 'x86_64')).toEqual([]);
  });
});

describe('i386', () => {
  test.each(files)('%s', (file) => {
    expect(replay(file, 'i386')).toEqual([]);
  });
});

test('that is 250 traces with 38,591 hypercalls', () => {
  const traces = files.flatMap(recordingIn);
  const calls = traces.flatMap(({ steps }) => steps.filter(({ step }) => step.t === 'hc'));
  expect([traces.length, calls.length]).toEqual([250, 38_591]);
});
