import { describe, expect, test } from 'vitest';
import {
  accessFor,
  formatPermission,
  inheritedPermissions,
  parsePermission,
  PERM_OWNER,
  PERM_READ,
  PERM_WRITE,
} from './permissions.ts';
import type { Permissions, Subject } from './permissions.ts';

const exists = (domid: number) => domid < 10;
const permissions = (...texts: string[]) =>
  texts.map((text) => parsePermission(text, exists)!) as unknown as Permissions;
const guest = (domid: number, target?: number): Subject => ({ domid, privileged: false, target });
const all = PERM_READ | PERM_WRITE | PERM_OWNER;

describe('access', () => {
  test.each<[string, Subject, string[], number]>([
    ['the owner may do everything', guest(5), ['n5'], all],
    ['so may the tools', { domid: 0, privileged: true, target: undefined }, ['n5'], all],
    ['the first letter is the default', guest(6), ['r5'], PERM_READ],
    ['an entry overrides the default', guest(6), ['b5', 'n6'], 0],
    ['the first matching entry wins', guest(6), ['n5', 'n6', 'b6'], 0],
    ['w does not imply r', guest(6), ['n5', 'w6'], PERM_WRITE],
    ['a target lends its rights', guest(6, 5), ['n5'], all],
    ['an entry for a domain that was missing never counts', guest(11), ['n5', 'b11'], 0],
    ['DOMID_ANY stands for all', guest(7), ['n0', 'r32757'], PERM_READ],
  ])('%s', (_, subject, texts, access) => {
    expect(accessFor(subject, permissions(...texts))).toBe(access);
  });

  test('a guest owns what it creates, and keeps the letter; domain 0 leaves the owner', () => {
    const parent = permissions('r5', 'w6');
    const created = inheritedPermissions(parent, guest(6));
    expect(created.map(formatPermission)).toEqual(['r6', 'w6']);
    const dom0 = { domid: 0, privileged: true, target: undefined };
    expect(inheritedPermissions(parent, dom0)).toBe(parent);
  });
});

describe('a permission on the wire', () => {
  test.each([
    ['n0', 'n0'],
    ['r5', 'r5'],
    ['b010', 'b8'],
    ['w0x7', 'w7'],
    ['n +3', 'n3'],
    ['n+ 3', undefined],
    ['n+3', 'n3'],
    ['n 3', 'n3'],
    ['r-1', 'r4294967295'],
    [`r${'9'.repeat(400)}`, 'r4294967295'],
    ['n', undefined],
    ['', undefined],
    ['x5', undefined],
    ['N5', undefined],
    ['n5x', undefined],
    ['n09', undefined],
  ])('%j is %j', (text, formatted) => {
    const parsed = parsePermission(text, exists);
    expect(parsed && formatPermission(parsed)).toBe(formatted);
  });
});
