import { describe, expect, test } from 'vitest';
import { backendKeys, deviceKeys, frontendKeys, KeyError, parseKey } from './keys.ts';

describe('keys of the block protocol', () => {
  test('every default is a value that the key can carry', () => {
    for (const table of [deviceKeys, backendKeys, frontendKeys]) {
      for (const [name, key] of Object.entries(table) as [string, typeof backendKeys.info][]) {
        if (key.absent !== undefined) {
          expect(key.parse(key.format(key.absent)), name).toEqual(key.absent);
        }
      }
    }
  });

  const refused: [string, { parse(text: string): unknown; allowed: string }, string][] = [
    ['sectors', backendKeys.sectors, '-1'],
    ['sectors', backendKeys.sectors, '0'],
    ['sectors', backendKeys.sectors, '18446744073709551616'],
    ['sectors', backendKeys.sectors, '9007199254740991'],
    ['sectors', backendKeys.sectors, ''],
    ['sector-size', backendKeys['sector-size'], '0'],
    ['sector-size', backendKeys['sector-size'], '3'],
    ['sector-size', backendKeys['sector-size'], '1073741824'],
    ['sector-size', backendKeys['sector-size'], '0x200'],
    ['physical-sector-size', backendKeys['physical-sector-size'], '513'],
    ['feature-flush-cache', backendKeys['feature-flush-cache'], 'yes'],
    ['ring-ref', frontendKeys['ring-ref'], '-1'],
    ['ring-ref', frontendKeys['ring-ref'], '4294967296'],
    ['ring-ref', frontendKeys['ring-ref'], ''],
    ['event-channel', frontendKeys['event-channel'], '4294967296'],
    ['protocol', frontendKeys.protocol, 'bogus'],
    ['mode', deviceKeys.mode, 'rw'],
  ];
  test.each(refused)('%s refuses its wrong texts (%#)', (name, key, text) => {
    expect(key.parse(text), `${name}=${text}`).toBeUndefined();
  });

  test('a feature of 2 counts as offered', () => {
    expect(parseKey('feature-flush-cache', backendKeys['feature-flush-cache'], '2')).toBe(true);
  });

  test('a missing key has its default, or is an error that names it', () => {
    expect(parseKey('sector-size', backendKeys['sector-size'], undefined)).toBe(512);
    expect(() => parseKey('sectors', backendKeys.sectors, undefined)).toThrow(
      new KeyError('sectors is missing; allowed: a decimal number from 1 to 17592186044415'),
    );
  });
});
