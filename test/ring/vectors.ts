/** Recordings of the genuine macros, one JSON object a line (test/vectors/abi, made from libxen-dev's headers). */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

export function readVectors<T>(name: string): T[] {
  const file = new URL(`../vectors/abi/${name}.jsonl.gz`, import.meta.url);
  const text = gunzipSync(readFileSync(file)).toString('utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as T);
}

export const fromHex = (hex: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(Buffer.from(hex, 'hex'));

export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
