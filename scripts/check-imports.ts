/**
 * Lint for what oxlint cannot say: imports point one way (docs/architecture.md), and a package is
 * entered only through its `exports`. Prints one line per violation; exit code 1 if there is any.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { violations } from './import-rules.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

const sources = new Map<string, string>();
for (const folder of ['packages', 'examples', 'test', 'bench', 'scripts']) {
  for (const entry of readdirSync(root + folder, { recursive: true, encoding: 'utf8' })) {
    const path = `${folder}/${entry.replaceAll('\\', '/')}`;
    if (/(^|\/)(node_modules|\.types|fixtures)\//.test(path)) continue;
    if (/\.[cm]?[jt]s$/.test(path)) sources.set(path, readFileSync(root + path, 'utf8'));
  }
}

const exports = new Map<string, string[]>();
for (const name of readdirSync(`${root}packages`)) {
  const manifest = JSON.parse(readFileSync(`${root}packages/${name}/package.json`, 'utf8')) as {
    exports: Record<string, string>;
  };
  exports.set(name, Object.keys(manifest.exports));
}

const found = violations(sources, exports);
for (const line of found) console.error(line);
if (found.length > 0) process.exitCode = 1;
else console.log(`imports: ${sources.size} files, all point the right way`);
