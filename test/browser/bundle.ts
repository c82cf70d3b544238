/** Bundles for a browser, and what went into them. */
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../../', import.meta.url));

export interface Bundle {
  readonly code: string;
  /** Files that are part of the bundle, relative to the repository. */
  readonly inputs: readonly string[];
  /** Imports that a browser would have to resolve: there must be none. */
  readonly external: readonly string[];
}

/** Bundles `source`, a module of this folder, for browsers. Rejects if it imports anything of Node. */
export async function bundleForBrowser(source: string): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: source, resolveDir: import.meta.dirname, loader: 'ts' },
    absWorkingDir: root,
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    logLevel: 'silent',
  });
  const inputs = Object.values(metafile.inputs);
  return {
    code: outputFiles[0]!.text,
    inputs: Object.keys(metafile.inputs),
    external: inputs.flatMap(({ imports }) =>
      imports.filter(({ external }) => external).map(({ path }) => path),
    ),
  };
}
