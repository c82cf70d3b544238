/** A page that is not as it should be, entry by entry. */
import { PAGE_SIZE } from '@ringside/gnttab-core';
import { grantEntryV1, grantEntryV2 } from '@ringside/gnttab-core/abi';
import type { Report } from '../difference.ts';
import { grantEntry, hexBytes, hexNumber, pteWords, statusWord } from './names.ts';
import { differentCells } from './page.ts';

/** What a page is for. */
export type PageKind =
  | { readonly name: 'gt'; readonly dom: number; readonly index: number; readonly version: number }
  | { readonly name: 'st'; readonly dom: number; readonly index: number }
  /** An L1 table that maps the addresses from `va` on. */
  | { readonly name: 'l1'; readonly dom: number; readonly index: number; readonly va: number }
  | { readonly name: 'ram'; readonly mfn: number };

const STATUS_BYTES = 2;
const PTE_BYTES = 8;
/** Bytes of RAM that are shown. */
const SHOWN_BYTES = 16;

const entryBytes = (version: number): number =>
  (version === 1 ? grantEntryV1 : grantEntryV2).x86_64.size;

/** Reports what differs. */
export function describePage(
  kind: PageKind,
  expected: Uint8Array,
  got: Uint8Array,
  report: Report,
): void {
  if (kind.name === 'ram') {
    describeRam(kind.mfn, expected, got, report);
    return;
  }
  const { cellBytes, what, words } = viewOf(kind);
  for (const at of differentCells(expected, got, cellBytes)) {
    const cell = (page: Uint8Array) => words(page.subarray(at, at + cellBytes));
    report(what(at / cellBytes), cell(expected), cell(got));
  }
}

interface View {
  readonly cellBytes: number;
  readonly what: (cell: number) => string;
  readonly words: (cell: Uint8Array) => string;
}

function viewOf(kind: Exclude<PageKind, { name: 'ram' }>): View {
  const { dom, index } = kind;
  if (kind.name === 'gt') {
    const cellBytes = entryBytes(kind.version);
    const first = index * (PAGE_SIZE / cellBytes);
    return {
      cellBytes,
      what: (cell) => `domain ${dom} grant entry ${first + cell}`,
      words: (cell) => grantEntry(kind.version, cell),
    };
  }
  if (kind.name === 'st') {
    const first = index * (PAGE_SIZE / STATUS_BYTES);
    return {
      cellBytes: STATUS_BYTES,
      what: (cell) => `domain ${dom} status word ${first + cell}`,
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

function describeRam(mfn: number, expected: Uint8Array, got: Uint8Array, report: Report): void {
  const offsets = differentCells(expected, got, 1);
  const first = offsets[0]!;
  const last = offsets.at(-1)!;
  const end = Math.min(last + 1, first + SHOWN_BYTES);
  const more = last + 1 > end ? '…' : '';
  report(
    `frame ${hexNumber(mfn)} bytes ${first} to ${last} (${offsets.length} differ)`,
    hexBytes(expected.subarray(first, end)) + more,
    hexBytes(got.subarray(first, end)) + more,
  );
}
