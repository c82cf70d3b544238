/** Pages as they should be, and comparing them with pages as they are. */
import { type Machine, PAGE_SIZE } from '@ringside/gnttab-core';
import type { Report } from './difference.ts';
import { placeOf, writeFrame } from './frames.ts';
import { RecordingError } from './reader.ts';
import { hexBytes } from './words.ts';

const WORD_BYTES = 8;
const PAGE_WORDS = PAGE_SIZE / WORD_BYTES;
/** Bytes that a description shows. */
const SHOWN_BYTES = 16;

/** Views of memory by words of 64 bits, which compare in half the time of 32. */
const views = new WeakMap<ArrayBufferLike, BigInt64Array<ArrayBufferLike>>();

function wordsOf(buffer: ArrayBufferLike): BigInt64Array<ArrayBufferLike> {
  let words = views.get(buffer);
  if (words === undefined) {
    words = new BigInt64Array(buffer);
    views.set(buffer, words);
  }
  return words;
}

/** What a page should hold. */
export class Page {
  readonly bytes: Uint8Array;
  readonly #words: BigInt64Array;

  /** A page of zeros. */
  constructor() {
    const buffer = new ArrayBuffer(PAGE_SIZE);
    this.bytes = new Uint8Array(buffer);
    this.#words = new BigInt64Array(buffer);
  }

  /** It holds what the machine's frame holds. */
  equals(machine: Machine, frame: number): boolean {
    const { bank, offsetBytes } = placeOf(machine, frame);
    const memory = wordsOf(bank.u8.buffer);
    const words = this.#words;
    const start = offsetBytes / WORD_BYTES;
    for (let i = 0; i < PAGE_WORDS; i++) if (memory[start + i] !== words[i]) return false;
    return true;
  }
}

/** Pages that follow each other, with the machine's frames that should hold the same. */
export interface Region {
  readonly name: string;
  readonly pages: readonly Page[];
  /** The machine's frame of page `index`; INVALID_MFN if it has none. */
  frame(index: number): number;
}

/** What a guest writes, in its own memory or in what Xen shares with it, is known to both sides. */
export function writeRegion(
  machine: Machine,
  region: Region,
  offsetBytes: number,
  bytes: Uint8Array,
): void {
  forEachPage(offsetBytes, bytes.length, (index, inPage, inSpan, count) => {
    const part = bytes.subarray(inSpan, inSpan + count);
    const page = region.pages[index];
    if (page === undefined) {
      throw new RecordingError(`${region.name} has no byte ${offsetBytes + inSpan}`);
    }
    writeFrame(machine, region.frame(index), inPage, part);
    page.bytes.set(part, inPage);
  });
}

/** Calls `part` for what each page has of a span. */
export function forEachPage(
  offsetBytes: number,
  lengthBytes: number,
  part: (index: number, inPage: number, inSpan: number, lengthBytes: number) => void,
): void {
  for (let done = 0; done < lengthBytes;) {
    const at = offsetBytes + done;
    const inPage = at % PAGE_SIZE;
    const length = Math.min(lengthBytes - done, PAGE_SIZE - inPage);
    part((at - inPage) / PAGE_SIZE, inPage, done, length);
    done += length;
  }
}

/** Where cells of so many bytes differ: their offsets. */
export function differentCells(a: Uint8Array, b: Uint8Array, cellBytes: number): number[] {
  const offsets: number[] = [];
  for (let at = 0; at < a.length; at += cellBytes) {
    for (let i = at; i < at + cellBytes; i++) {
      if (a[i] === b[i]) continue;
      offsets.push(at);
      break;
    }
  }
  return offsets;
}

/** Reports from where to where bytes of `name` differ, and the first of them. */
export function describeBytes(
  name: string,
  expected: Uint8Array,
  got: Uint8Array,
  report: Report,
): void {
  const offsets = differentCells(expected, got, 1);
  const first = offsets[0]!;
  const last = offsets.at(-1)!;
  const end = Math.min(last + 1, first + SHOWN_BYTES);
  const more = last + 1 > end ? '…' : '';
  report(
    `${name} bytes ${first} to ${last} (${offsets.length} differ)`,
    hexBytes(expected.subarray(first, end)) + more,
    hexBytes(got.subarray(first, end)) + more,
  );
}
