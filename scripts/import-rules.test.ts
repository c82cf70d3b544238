import { expect, test } from 'vitest';
import { violations } from './import-rules.ts';

const exports = new Map([
  ['gnttab-core', ['.', './node']],
  ['xenstore-lite', ['.']],
  ['blkif', ['.']],
  ['netif', ['.']],
  ['rig', ['.']],
  ['ringside', ['.']],
]);

const judged = (path: string, text: string) => violations(new Map([[path, text]]), exports);

const core = 'packages/gnttab-core/src';

test.each([
  ['an earlier folder', `${core}/grant/copy.ts`, '../abi/grant-table.ts'],
  ['the same folder', `${core}/grant/copy.ts`, './map.ts'],
  ['an earlier package', 'packages/blkif/src/back/back.ts', '@ringside/gnttab-core'],
  ['an open subpath', 'packages/ringside/src/cli.node.ts', '@ringside/gnttab-core/node'],
  ['any package from a test of two ends', 'test/disk.test.ts', '@ringside/ringside'],
  ['a dependency', 'packages/blkif/src/front/front.stream.ts', 'rxjs'],
  ['everything of its own from the index', `${core}/index.ts`, './guest/guest.ts'],
])('allows %s', (_, path, specifier) => {
  expect(judged(path, `import { a } from '${specifier}';`)).toEqual([]);
});

test.each([
  [`${core}/abi/struct.ts`, '../machine/bank.ts', 'must not import machine'],
  [`${core}/machine/bank.ts`, '../guest/guest.ts', 'must not import guest'],
  [`${core}/grant/map.ts`, '../evtchn/port.ts', 'must not import evtchn'],
  [`${core}/ring/ring.stream.ts`, '../guest/port.ts', 'must not import guest'],
  [`${core}/guest/a.ts`, '@ringside/xenstore-lite', 'gnttab-core must not import xenstore-lite'],
  ['packages/blkif/src/a.ts', '@ringside/netif', 'blkif must not import netif'],
  ['packages/rig/src/a.ts', '@ringside/ringside', 'rig must not import ringside'],
  ['packages/blkif/src/a.ts', '../../netif/src/a.ts', 'reaches into packages/netif'],
  ['packages/blkif/src/a.ts', '../../../scripts/a.ts', 'reaches into scripts'],
  ['test/a.test.ts', '../packages/blkif/src/a.ts', 'reaches into packages/blkif'],
  ['test/a.test.ts', '@ringside/blkif/src/a.ts', 'reaches into blkif: its exports are .'],
  ['packages/blkif/src/a.ts', '@ringside/test', 'reaches into test: its exports are none'],
  ['packages/blkif/src/a.ts', '@ringside/blkif', 'imports its own package by name'],
])('%s must not import %s', (path, specifier, reason) => {
  const found = judged(path, `import { a } from '${specifier}';`);
  expect(found).toEqual([expect.stringContaining(reason)]);
});

test.each([
  ['import', `import a from '../../netif/src/a.ts';`],
  ['import for its effect', `import '../../netif/src/a.ts';`],
  ['import type', `import type { A } from '../../netif/src/a.ts';`],
  ['export from', `export { a } from '../../netif/src/a.ts';`],
  ['export all', `export * from '../../netif/src/a.ts';`],
  ['dynamic import', `const a = await import('../../netif/src/a.ts');`],
])('sees an %s', (_, text) => {
  expect(judged('packages/blkif/src/a.ts', text)).toHaveLength(1);
});

test('names the file, the line and the module', () => {
  expect(judged('packages/blkif/src/a.ts', `\n\nimport a from '@ringside/netif';`)).toEqual([
    `packages/blkif/src/a.ts:3: '@ringside/netif': blkif must not import netif: it does not come earlier in the order`,
  ]);
});

test('a text that does not parse is a violation, never a pass', () => {
  expect(judged('test/a.ts', 'import {')).toEqual([
    expect.stringMatching(/^test\/a\.ts: does not parse: /),
  ]);
});
