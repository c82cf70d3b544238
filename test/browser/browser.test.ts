/**
 * The libraries run in a browser: in a page that is cross-origin isolated, on shared memory; in one that is not, on a
 * plain buffer; and the same seed gives the same run as in Node.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { requireClient } from '../support/clients.ts';
import { bundleForBrowser } from './bundle.ts';
import { visit } from './chromium.ts';
import { seededDemo, wholeDemo } from './scenario.ts';

const seed = 7;
const packages = new URL('../../packages/', import.meta.url);

/** Every way into a package but those of Node: `@ringside/blkif`, `@ringside/blkif/abi`, … */
const entries = readdirSync(packages).flatMap((name) => {
  const manifest = readFileSync(new URL(`${name}/package.json`, packages), 'utf8');
  const { exports } = JSON.parse(manifest) as { exports: Record<string, string> };
  return Object.entries(exports)
    .filter(([, file]) => !file.endsWith('.node.ts'))
    .map(([path]) => `@ringside/${name}${path.slice(1)}`);
});

describe('a bundle for browsers', () => {
  it.each(entries)('of %s has nothing of Node', async (entry) => {
    const { inputs, external } = await bundleForBrowser(`export * from '${entry}';`);
    expect(external).toEqual([]);
    expect(inputs.filter((path) => path.endsWith('.node.ts'))).toEqual([]);
    expect(inputs.filter((path) => path.startsWith('packages/'))).not.toEqual([]);
  });

  it('cannot be made of what needs Node', async () => {
    await expect(bundleForBrowser(`export * from '@ringside/blkif/node';`)).rejects.toThrow(
      'node:',
    );
  });
});

/** What JSON leaves of a value. */
const posted = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

describe("the demo's scenario in Chromium", () => {
  it.for([
    { page: 'a cross-origin isolated page', isolated: true, memory: 'SharedArrayBuffer' },
    { page: 'a page that is not isolated', isolated: false, memory: 'ArrayBuffer' },
  ])('in $page: every byte is right, as in Node', async ({ isolated, memory }, context) => {
    const chromium = requireClient(context, 'chromium');
    const { code: script } = await bundleForBrowser(`import './page.ts';`);
    const { signal } = context;
    const outcome = await visit({ chromium, script, isolated, query: `seed=${seed}`, signal });
    const [seeded, whole] = [await seededDemo(seed), await wholeDemo()];
    expect(seeded.demo).toMatchObject({ ok: true, failures: [] });
    expect(seeded.traceRecords).toBeGreaterThan(0);
    expect(whole).toMatchObject({ ok: true, failures: [] });
    expect(outcome).toEqual({
      crossOriginIsolated: isolated,
      sharedArrayBuffer: isolated ? 'function' : 'undefined',
      seeded: posted({ ...seeded, memory }),
      whole,
    });
  });
});
