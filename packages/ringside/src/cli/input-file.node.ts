/** Files that are read whole: plain or gzipped, and one clear sentence where that cannot be. */
import * as fs from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { failure, fileError } from './errors.node.ts';

/** What a gzipped file may unpack to: no more than Node makes a text of, and a little file must not fill the memory. */
const MAX_UNPACKED_BYTES = 500 * 2 ** 20;

/** A file begins so. */
export const isGzip = (bytes: Uint8Array): boolean => bytes[0] === 0x1f && bytes[1] === 0x8b;

/** Unpacks what is gzipped, and leaves alone what is not. Throws CliError, which names the file. */
export function unpacked(file: string, bytes: Uint8Array): Uint8Array {
  if (!isGzip(bytes)) return bytes;
  try {
    return gunzipSync(bytes, { maxOutputLength: MAX_UNPACKED_BYTES });
  } catch (error) {
    const isTooLarge = error instanceof RangeError;
    throw failure(
      isTooLarge
        ? `${file}: unpacks to more than ${MAX_UNPACKED_BYTES} bytes`
        : `${file}: the gzip file is damaged`,
    );
  }
}

/** The bytes of a file, unpacked. Throws CliError. */
export function readInput(file: string): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = fs.readFileSync(file);
  } catch (error) {
    throw fileError(file, error);
  }
  return unpacked(file, bytes);
}

/** The text of a file, unpacked. Throws CliError. */
export function readTextInput(file: string): string {
  const bytes = readInput(file);
  try {
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
  } catch (error) {
    throw fileError(file, error);
  }
}
