/** The rules of check-imports.ts, pure: file texts in, one line per violation out. */
import { posix } from 'node:path';
import { parseSync, type EcmaScriptModule } from 'oxc-parser';

/** Repository path to file text. */
export type Sources = ReadonlyMap<string, string>;

/** Package name without the scope, to the keys of its `exports` (`.`, `./node`). */
export type Exports = ReadonlyMap<string, readonly string[]>;

/** A unit imports itself and earlier ranks, never its own rank's other units or later ranks. */
const PACKAGE_RANKS = [
  ['gnttab-core'],
  ['xenstore-lite'],
  ['blkif', 'netif'],
  ['rig'],
  ['ringside'],
] as const;

/** The same within gnttab-core/src, by folder. */
const CORE_RANKS = [
  ['abi'],
  ['machine'],
  ['grant', 'evtchn'],
  ['hypercall'],
  ['ring'],
  ['guest'],
] as const;

const SCOPE = '@ringside/';

interface Import {
  readonly specifier: string;
  readonly line: number;
}

/** Every module that `text` names: import, export from, and import() of a literal. */
function importsOf(text: string, module: EcmaScriptModule): Import[] {
  const at = (specifier: string, offset: number) => ({
    specifier,
    line: text.slice(0, offset).split('\n').length,
  });
  const imports = module.staticImports.map(({ moduleRequest }) =>
    at(moduleRequest.value, moduleRequest.start),
  );
  for (const { moduleRequest } of module.staticExports.flatMap(({ entries }) => entries)) {
    if (moduleRequest) imports.push(at(moduleRequest.value, moduleRequest.start));
  }
  for (const { moduleRequest } of module.dynamicImports) {
    const literal = text.slice(moduleRequest.start, moduleRequest.end);
    if (/^(['"]).*\1$/.test(literal)) imports.push(at(literal.slice(1, -1), moduleRequest.start));
  }
  return imports;
}

type Ranks = readonly (readonly string[])[];

const rankOf = (ranks: Ranks, unit: string) => ranks.findIndex((units) => units.includes(unit));

function againstOrder(ranks: Ranks, from: string, to: string): boolean {
  const [fromRank, toRank] = [rankOf(ranks, from), rankOf(ranks, to)];
  return from !== to && fromRank >= 0 && toRank >= 0 && toRank >= fromRank;
}

/** `packages/NAME/…`, `test/…`: the folder that one package.json governs. */
function packageOf(path: string): string {
  const parts = path.split('/');
  return parts[0] === 'packages' ? `packages/${parts[1]}` : parts[0]!;
}

const coreFolder = (path: string) => /^packages\/gnttab-core\/src\/([^/]+)\//.exec(path)?.[1];

/** What is wrong with one import, or undefined. */
function judge(exports: Exports, path: string, specifier: string): string | undefined {
  const from = packageOf(path);
  if (specifier.startsWith('.')) {
    const target = posix.join(posix.dirname(path), specifier);
    const to = packageOf(target);
    if (from !== to) return `reaches into ${to}: import the package by its name`;
    const [folder, targetFolder] = [coreFolder(path), coreFolder(target)];
    if (folder && targetFolder && againstOrder(CORE_RANKS, folder, targetFolder)) {
      return `gnttab-core/src/${folder} must not import ${targetFolder}: it comes later in the order`;
    }
    return undefined;
  }
  if (!specifier.startsWith(SCOPE)) return undefined;
  const to = specifier.slice(SCOPE.length).split('/')[0]!;
  const name = from.replace(/^packages\//, '');
  if (name === to) return `imports its own package by name: use a relative path`;
  const subpath = `.${specifier.slice(SCOPE.length + to.length)}`;
  const open = exports.get(to) ?? [];
  if (!open.includes(subpath)) {
    return `reaches into ${to}: its exports are ${open.join(', ') || 'none'}`;
  }
  if (againstOrder(PACKAGE_RANKS, name, to)) {
    return `${name} must not import ${to}: it does not come earlier in the order`;
  }
  return undefined;
}

/** All violations as `path:line: 'specifier': reason`, in path order. */
export function violations(sources: Sources, exports: Exports): string[] {
  return [...sources]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([path, text]) => {
      const { module, errors } = parseSync(path, text);
      if (errors[0]) return [`${path}: does not parse: ${errors[0].message}`];
      return importsOf(text, module).flatMap(({ specifier, line }) => {
        const reason = judge(exports, path, specifier);
        return reason === undefined ? [] : [`${path}:${line}: '${specifier}': ${reason}`];
      });
    });
}
