import { describe, expect, test } from 'vitest';
import {
  BLKIF_OP_DISCARD,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_INDIRECT,
  BLKIF_OP_READ,
  BLKIF_OP_RESERVED_1,
  BLKIF_OP_WRITE,
  BLKIF_OP_WRITE_BARRIER,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
} from '../abi.ts';
import { blkifLayout } from '../blkif-layout.ts';
import { memoryDisk } from '../disk/memory-disk.ts';
import { checkRequest } from './check-request.ts';

const SECTORS = 1000;
const writable = memoryDisk({ sizeBytes: SECTORS * 512 });
const readOnly = memoryDisk({ sizeBytes: SECTORS * 512, readOnly: true });

interface Shape {
  operation?: number;
  sector?: bigint;
  segments?: number;
  first?: number;
  last?: number;
  disk?: typeof writable;
}

function answer({
  operation = BLKIF_OP_READ,
  sector = 0n,
  segments = 1,
  first = 0,
  last = 7,
  disk = writable,
}: Shape): number {
  const request = blkifLayout('x86_64').newRequest();
  request.operation = operation;
  request.nr_segments = segments;
  request.sector_number_lo = Number(sector & 0xffff_ffffn);
  request.sector_number_hi = Number(sector >> 32n);
  for (const segment of request.seg) Object.assign(segment, { first_sect: first, last_sect: last });
  return checkRequest(request, disk)?.status ?? BLKIF_RSP_OKAY;
}

describe('a backend carries out', () => {
  const allowed: [string, Shape][] = [
    ['a read of a page', {}],
    ['a write of a page', { operation: BLKIF_OP_WRITE }],
    ['one sector at the end of a page', { first: 7, last: 7 }],
    ['eleven segments', { segments: 11 }],
    ['the last sector', { sector: 999n, first: 3, last: 3 }],
    ['eleven segments up to the end', { sector: 912n, segments: 11 }],
    ['an empty flush', { operation: BLKIF_OP_FLUSH_DISKCACHE, segments: 0 }],
    [
      'an empty flush whatever its sector',
      {
        operation: BLKIF_OP_FLUSH_DISKCACHE,
        segments: 0,
        sector: 2n ** 64n - 1n,
      },
    ],
    ['a flush with data', { operation: BLKIF_OP_FLUSH_DISKCACHE }],
    [
      'an empty flush of a read-only disk',
      {
        operation: BLKIF_OP_FLUSH_DISKCACHE,
        segments: 0,
        disk: readOnly,
      },
    ],
    ['a read of a read-only disk', { disk: readOnly }],
  ];
  test.each(allowed)('%s', (_, shape) => expect(answer(shape)).toBe(BLKIF_RSP_OKAY));
});

describe('a backend answers BLKIF_RSP_ERROR to', () => {
  const wrong: [string, Shape][] = [
    // BB-03
    ...[
      [0, 8],
      [0, 255],
      [7, 8],
      [255, 255],
    ].map(([first, last]): [string, Shape] => [
      `sectors ${first} to ${last}`,
      { first, last } as Shape,
    ]),
    // BB-04
    ...[12, 13, 31, 32, 33, 127, 255].map((segments): [string, Shape] => [
      `${segments} segments`,
      { segments },
    ]),
    // BB-05
    ['sectors 5 to 4', { first: 5, last: 4 }],
    ['sectors 7 to 0', { first: 7, last: 0 }],
    // BB-06
    ['a read of no segments', { segments: 0 }],
    ['a write of no segments', { segments: 0, operation: BLKIF_OP_WRITE }],
    // BB-07
    ['8 sectors at the last', { sector: 999n }],
    ['a sector right after the disk', { sector: 1000n, last: 0 }],
    ['segments of which only the last is outside', { sector: 913n, segments: 11 }],
    ['sector 2^63', { sector: 2n ** 63n }],
    ['sector 2^64 - 8', { sector: 2n ** 64n - 8n }],
    ['sector 2^64 - 1', { sector: 2n ** 64n - 1n, last: 0 }],
    ['sector 2^32', { sector: 2n ** 32n }],
    [
      'a flush with data outside the disk',
      {
        operation: BLKIF_OP_FLUSH_DISKCACHE,
        sector: 2n ** 63n,
      },
    ],
    // BB-08
    ['a write to a read-only disk', { operation: BLKIF_OP_WRITE, disk: readOnly }],
    [
      'a flush with data to a read-only disk',
      {
        operation: BLKIF_OP_FLUSH_DISKCACHE,
        disk: readOnly,
      },
    ],
  ];
  test.each(wrong)('%s', (_, shape) => expect(answer(shape)).toBe(BLKIF_RSP_ERROR));
});

describe('a backend answers BLKIF_RSP_EOPNOTSUPP to', () => {
  // BB-10
  test.each([
    BLKIF_OP_WRITE_BARRIER,
    BLKIF_OP_RESERVED_1,
    BLKIF_OP_DISCARD,
    BLKIF_OP_INDIRECT,
    7,
    128,
    255,
  ])('operation %i', (operation) => {
    expect(answer({ operation })).toBe(BLKIF_RSP_EOPNOTSUPP);
    expect(answer({ operation, segments: 255, disk: readOnly })).toBe(BLKIF_RSP_EOPNOTSUPP);
  });
});
