/**
 * Reading captures piece by piece: bytes in, frames out, in whatever chunks the bytes come.
 */
import { CaptureError } from './capture.ts';
import type { CapturedFrame, CaptureFormat } from './capture.ts';
import { FieldReader } from './fields.ts';
import { pcapFormat } from './pcap.ts';
import { pcapngFormat } from './pcapng.ts';

const magicBytes = 4;

/**
 * Parses pcap (both byte orders, micro- and nanoseconds) and pcapng (both byte orders, any resolution).
 * `push` every chunk of the file, then `end`; both throw {@link CaptureError} on malformed input.
 */
export class CaptureReader {
  #format: CaptureFormat | undefined;
  #chunks: Uint8Array[] = [];
  #bufferedBytes = 0;
  /** Where in the file the buffered bytes begin. */
  #offsetBytes = 0;
  #neededBytes = magicBytes;

  /** Takes the next piece of the file and returns the frames that it completes. */
  push(chunk: Uint8Array): CapturedFrame[] {
    this.#chunks.push(chunk);
    this.#bufferedBytes += chunk.length;
    const frames: CapturedFrame[] = [];
    if (this.#bufferedBytes < this.#neededBytes) return frames;

    const buffered = this.#chunks.length === 1 ? chunk : concat(this.#chunks, this.#bufferedBytes);
    let at = 0;
    for (;;) {
      const available = buffered.subarray(at);
      const lengthBytes = this.#recordBytes(available);
      if (lengthBytes === undefined) break;
      const frame = this.#format!.decode(available.subarray(0, lengthBytes), this.#offsetBytes);
      if (frame) frames.push(frame);
      at += lengthBytes;
      this.#offsetBytes += lengthBytes;
    }
    this.#chunks = [buffered.slice(at)];
    this.#bufferedBytes -= at;
    return frames;
  }

  /** Says that the file ends here. */
  end(): void {
    if (this.#offsetBytes + this.#bufferedBytes === 0) throw new CaptureError('empty', 0);
    if (this.#bufferedBytes === 0) return;
    const reason = this.#format?.inHeader === false ? 'truncated record' : 'truncated header';
    throw new CaptureError(
      reason,
      this.#offsetBytes,
      `${this.#bufferedBytes} bytes are there, ${this.#neededBytes} are needed`,
    );
  }

  /** The length of the record at the start of `available` once all of it is there. */
  #recordBytes(available: Uint8Array): number | undefined {
    this.#neededBytes = this.#format?.prefixBytes ?? magicBytes;
    if (available.length < this.#neededBytes) return undefined;
    if (!this.#format) {
      this.#format = formatOf(available);
      return this.#recordBytes(available);
    }
    this.#neededBytes = this.#format.lengthBytes(available, this.#offsetBytes);
    return available.length < this.#neededBytes ? undefined : this.#neededBytes;
  }
}

/** The frames of a capture that comes in chunks (a file's read stream, for example). */
export async function* readCapture(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<CapturedFrame> {
  const reader = new CaptureReader();
  for await (const chunk of chunks) yield* reader.push(chunk);
  reader.end();
}

/** The frames of a capture that is in memory. */
export function parseCapture(bytes: Uint8Array): CapturedFrame[] {
  const reader = new CaptureReader();
  const frames = reader.push(bytes);
  reader.end();
  return frames;
}

function formatOf(start: Uint8Array): CaptureFormat {
  const magic = new FieldReader(start, true).u32();
  const format = pcapFormat(magic) ?? pcapngFormat(magic);
  if (!format) {
    throw new CaptureError('unknown magic', 0, `0x${magic.toString(16).padStart(8, '0')}`);
  }
  return format;
}

function concat(chunks: readonly Uint8Array[], lengthBytes: number): Uint8Array {
  const all = new Uint8Array(lengthBytes);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}
