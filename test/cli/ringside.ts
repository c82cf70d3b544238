/** The real command, in a process and a folder of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import * as os from 'node:os';
import * as path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { afterAll, beforeAll } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const sources = path.join(root, 'packages/ringside/src/cli.node.ts');
const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

/** The command in one file, which starts in a fraction of the time that loading its sources one by one takes. */
const bundled = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'ringside-bundle-')), 'cli.mjs');

beforeAll(async () => {
  await build({
    entryPoints: [sources],
    outfile: bundled,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    banner: {
      // For what is CommonJS in it.
      js: `import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);`,
    },
    logLevel: 'error',
  });
});

afterAll(() => fs.rmSync(path.dirname(bundled), { recursive: true }));

export interface Ended {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts `ringside` with some words; the second is how it ends. */
export const start = (folder: string, ...words: string[]): [ChildProcess, Promise<Ended>] =>
  startNode(folder, [bundled, ...words]);

/** Runs `ringside` from its sources, as the scripts of the root package do. */
export const ringsideFromSources = (folder: string, ...words: string[]): Promise<Ended> =>
  startNode(folder, ['--import', tsx, sources, ...words])[1];

function startNode(folder: string, words: string[]): [ChildProcess, Promise<Ended>] {
  const child = spawn(process.execPath, words, {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const text = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (piece: string) => (text.stdout += piece));
  child.stderr.setEncoding('utf8').on('data', (piece: string) => (text.stderr += piece));
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject).on('close', (exitCode) => resolve({ exitCode, ...text }));
  });
  return [child, ended];
}

/** Runs `ringside` to its end. */
export const ringside = (folder: string, ...words: string[]): Promise<Ended> =>
  start(folder, ...words)[1];

/** A new folder with these files in it; gone when the test is over. */
export function folderWith(
  context: { onTestFinished(clean: () => void): void },
  files: Readonly<Record<string, Uint8Array>> = {},
): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ringside-test-'));
  context.onTestFinished(() => fs.rmSync(folder, { recursive: true, force: true }));
  for (const [name, bytes] of Object.entries(files)) {
    fs.writeFileSync(path.join(folder, name), bytes);
  }
  return folder;
}

/** A file of test/data, unpacked. */
export const testData = (name: string): Uint8Array =>
  gunzipSync(fs.readFileSync(path.join(root, 'test/data', `${name}.gz`)));

/** A classic pcap file of these frames, a second apart. */
export function pcapOf(frames: readonly Uint8Array[]): Uint8Array {
  const header = new Uint32Array([0xa1b2c3d4, 0x0004_0002, 0, 0, 262_144, 1]);
  const records = frames.map((frame, n) =>
    Buffer.concat([
      new Uint8Array(new Uint32Array([n, 0, frame.length, frame.length]).buffer),
      frame,
    ]),
  );
  return Buffer.concat([new Uint8Array(header.buffer), ...records]);
}

/** A frame of `lengthBytes` between two stations. */
export const frameOf = (lengthBytes: number): Uint8Array =>
  Uint8Array.from({ length: lengthBytes }, (_, i) => (i === 0 || i === 6 ? 2 : i & 0xff));
