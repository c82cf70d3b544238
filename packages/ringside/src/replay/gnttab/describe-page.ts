/** A page that is not as it should be, entry by entry. */
import { PAGE_SIZE } from '@ringside/gnttab-core';
import type { Report } from '../difference.ts';
import { describeBytes, differentCells } from '../page.ts';
import { hexBytes, hexNumber } from '../words.ts';
import { differentFields, entryBytes } from './entry-layout.ts';
import { grantEntry, pteWords, statusWord } from './names.ts';

/** What a page is for. */
export type PageKind =
  | { readonly name: 'gt'; readonly dom: number; readonly index: number; readonly version: number }
  | { readonly name: 'st'; readonly dom: number; readonly index: number }
  /** An L1 table that maps the addresses from `va` on. */
  | { readonly name: 'l1'; readonly dom: number; readonly index: number; readonly va: number }
  | { readonly name: 'ram'; readonly mfn: number };

const STATUS_BYTES = 2;
const PTE_BYTES = 8;

/** Reports what differs. */
export function describePage(
  kind: PageKind,
  expected: Uint8Array,
  got: Uint8Array,
  report: Report,
): void {
  if (kind.name === 'ram') {
    describeBytes(`frame ${hexNumber(kind.mfn)}`, expected, got, report);
    return;
  }
  const { cellBytes, what, words } = viewOf(kind);
  for (const at of differentCells(expected, got, cellBytes)) {
    const [wanted, found] = [expected, got].map((page) => page.subarray(at, at + cellBytes));
    const [a, b] = [words(wanted!), words(found!)];
    const where = what(at / cellBytes, wanted!, found!);
    // What has no name differs.
    if (a === b) report(where, `${a} (${hexBytes(wanted!)})`, `${b} (${hexBytes(found!)})`);
    else report(where, a, b);
  }
}

interface View {
  readonly cellBytes: number;
  readonly what: (cell: number, expected: Uint8Array, got: Uint8Array) => string;
  readonly words: (cell: Uint8Array) => string;
}

function viewOf(kind: Exclude<PageKind, { name: 'ram' }>): View {
  const { dom, index } = kind;
  if (kind.name === 'gt') {
    const cellBytes = entryBytes(kind.version);
    const first = index * (PAGE_SIZE / cellBytes);
    return {
      cellBytes,
      what: (cell, expected, got) => {
        const start = (first + cell) * cellBytes;
        const fields = differentFields(kind.version, expected, got).map(
          ({ name, offsetBytes }) => `${name} at byte ${start + offsetBytes}`,
        );
        return `domain ${dom} grant entry ${first + cell}: ${fields.join(', ')}`;
      },
      words: (cell) => grantEntry(kind.version, cell),
    };
  }
  if (kind.name === 'st') {
    const first = index * (PAGE_SIZE / STATUS_BYTES);
    return {
      cellBytes: STATUS_BYTES,
      what: (cell) =>
        `domain ${dom} status word ${first + cell}, at byte ${(first + cell) * STATUS_BYTES}`,
      words: (cell) => statusWord(viewOn(cell).getUint16(0, true)),
    };
  }
  return {
    cellBytes: PTE_BYTES,
    what: (cell) => `domain ${dom} PTE of va ${hexNumber(kind.va + cell * PAGE_SIZE)}`,
    words: (cell) =>
      pteWords({ lo: viewOn(cell).getUint32(0, true), hi: viewOn(cell).getUint32(4, true) }),
  };
}

const viewOn = (cell: Uint8Array) => new DataView(cell.buffer, cell.byteOffset, cell.length);
