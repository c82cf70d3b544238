import { afterEach, expect, test, vi } from 'vitest';
import { findClient, requireClient } from './clients.ts';

const skipped: string[] = [];
const recorder = {
  skip(note: string): never {
    skipped.push(note);
    throw new Error('skipped');
  },
};

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  skipped.length = 0;
});

test('a command is found in PATH, a file by its absolute path', () => {
  expect(findClient('sh')).toMatch(/^\/.*\/sh$/);
  expect(findClient('/etc/passwd')).toBe('/etc/passwd');
  expect(findClient('/etc/no-such-file')).toBeUndefined();
});

test('a client that is there is neither skipped nor failed', (context) => {
  expect(requireClient(context, 'sh')).toBe(findClient('sh'));
});

test("on a user's machine a missing client skips the test and says why", () => {
  vi.stubEnv('CI', '');
  const warn = vi.spyOn(console, 'warn').mockReturnValue();
  expect(() => requireClient(recorder, 'no-such-client')).toThrow('skipped');
  const note = expect.stringContaining('no-such-client is not installed');
  expect(skipped).toEqual([note]);
  expect(warn).toHaveBeenCalledWith(note);
});

test('in CI a missing client fails the test', () => {
  vi.stubEnv('CI', 'true');
  expect(() => requireClient(recorder, 'no-such-client')).toThrow(
    'no-such-client is not installed',
  );
  expect(skipped).toEqual([]);
});
