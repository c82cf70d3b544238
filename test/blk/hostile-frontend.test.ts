/** Requests that no frontend should send, and some that it may. */

import { memoryDisk, type Disk } from '@ringside/blkif';
import {
  BLKIF_OP_DISCARD,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_INDIRECT,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_OP_WRITE_BARRIER,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
} from '@ringside/blkif/abi';
import { describe, expect, test } from 'vitest';
import { backPath, look, resources, same } from './rig.ts';
import {
  connectedRogue,
  content,
  contentOf,
  SECTORS,
  segment,
  type RequestFields,
} from './rogue-frontend.ts';

describe('one bad request is answered, does nothing, and costs nobody else anything', () => {
  type Case = [string, 'r' | 'w', (gref: number) => RequestFields, number];
  const write = BLKIF_OP_WRITE;
  const cases: Case[] = [
    // BB-03, BB-05
    ...(
      [
        [0, 8],
        [0, 255],
        [7, 8],
        [255, 255],
        [5, 4],
        [7, 0],
      ] as const
    ).flatMap(([first, last]): Case[] =>
      [BLKIF_OP_READ, write].map((operation): Case => [
        `operation ${operation} of sectors ${first} to ${last} of a page`,
        'w',
        (gref) => ({ operation, segments: [segment(gref), segment(gref, first, last)] }),
        BLKIF_RSP_ERROR,
      ]),
    ),
    // BB-04
    ...[12, 13, 31, 32, 33, 127, 255].map((nr_segments): Case => [
      `${nr_segments} segments`,
      'w',
      (gref) => ({
        operation: write,
        nr_segments,
        segments: Array.from({ length: 11 }, () => segment(gref)),
      }),
      BLKIF_RSP_ERROR,
    ]),
    // BB-06
    ['a read of nothing', 'w', () => ({ operation: BLKIF_OP_READ }), BLKIF_RSP_ERROR],
    ['a write of nothing', 'w', () => ({ operation: write }), BLKIF_RSP_ERROR],
    // BB-07
    ...[BigInt(SECTORS) - 1n, BigInt(SECTORS), 2n ** 63n, 2n ** 64n - 8n, 2n ** 64n - 1n].map(
      (sector): Case => [
        `a write at sector ${sector}`,
        'w',
        (gref) => ({ operation: write, sector, segments: [segment(gref)] }),
        BLKIF_RSP_ERROR,
      ],
    ),
    [
      'a write of which only the last segment is outside',
      'w',
      (gref) => ({
        operation: write,
        sector: BigInt(SECTORS) - 15n,
        segments: [segment(gref), segment(gref)],
      }),
      BLKIF_RSP_ERROR,
    ],
    // BB-08
    [
      'a write to a read-only disk',
      'r',
      (gref) => ({ operation: write, segments: [segment(gref)] }),
      BLKIF_RSP_ERROR,
    ],
    // BB-10
    ...[BLKIF_OP_WRITE_BARRIER, 4, BLKIF_OP_DISCARD, BLKIF_OP_INDIRECT, 7, 255].map(
      (operation): Case => [
        `operation ${operation}, which was not offered`,
        'w',
        (gref) => ({ operation, segments: [segment(gref)] }),
        BLKIF_RSP_EOPNOTSUPP,
      ],
    ),
    // BB-14: the second reference of a write is not granted
    [
      'a write from a page that was not granted',
      'w',
      (gref) => ({ operation: write, segments: [segment(gref), segment(300), segment(gref)] }),
      BLKIF_RSP_ERROR,
    ],
    [
      'a write from a reference beyond the grant table',
      'w',
      () => ({ operation: write, segments: [segment(0xffff_ffff)] }),
      BLKIF_RSP_ERROR,
    ],
    [
      'a read into a page that was not granted',
      'w',
      () => ({ operation: BLKIF_OP_READ, segments: [segment(300)] }),
      BLKIF_RSP_ERROR,
    ],
  ];

  test.each(cases)('%s', async (_, mode, make, status) => {
    // Mode r counts, whatever the disk would do.
    const disk = memoryDisk({ content: content() });
    const { rogue, before, parts } = await connectedRogue(disk, mode);
    const victim = rogue.buffer(0xa5);
    const honest = rogue.buffer(0);
    const id = 0xdead_beef_0bad_cafen;
    rogue.put({ id, ...make(victim.gref) });
    rogue.put({
      id: 1n,
      operation: BLKIF_OP_READ,
      sector: 9n,
      segments: [segment(honest.gref, 2, 3)],
    });
    expect(await rogue.exchange()).toEqual([
      { id, operation: make(victim.gref).operation, status },
      { id: 1n, operation: BLKIF_OP_READ, status: BLKIF_RSP_OKAY },
    ]);
    expect(same(contentOf(disk), content())).toBe(true);
    expect(rogue.bytes(victim).every((byte) => byte === 0xa5)).toBe(true);
    const expected = new Uint8Array(4096);
    expected.fill(9, 1024, 1536).fill(10, 1536, 2048);
    expect(same(rogue.bytes(honest), expected)).toBe(true);
    await rogue.setState('5');
    await rogue.setState('6');
    const after = resources(parts);
    expect(after.driverPages).toBe(before.driverPages);
    expect(after.driverMappings).toBe(0);
    expect(after.driverPorts).toBe(before.driverPorts);
  });

  test('a read into a page granted read-only fails, and the page stays as it was', async () => {
    const { rogue } = await connectedRogue(memoryDisk({ content: content() }));
    const page = rogue.buffer(0xa5, { readonly: true });
    rogue.put({ id: 5n, segments: [segment(page.gref)] });
    expect(await rogue.exchange()).toMatchObject([{ id: 5n, status: BLKIF_RSP_ERROR }]);
    expect(rogue.bytes(page).every((byte) => byte === 0xa5)).toBe(true);
  });

  test('a revoked grant fails its request only (BB-25)', async () => {
    const { rogue, parts } = await connectedRogue(memoryDisk({ content: content() }));
    const [gone, kept] = [rogue.buffer(1), rogue.buffer(2)];
    expect(parts.guest.grants.endForeignAccess(gone.gref)).toBe('ended');
    rogue.put({ id: 1n, operation: BLKIF_OP_WRITE, segments: [segment(gone.gref)] });
    rogue.put({ id: 2n, operation: BLKIF_OP_WRITE, segments: [segment(kept.gref)], sector: 8n });
    expect((await rogue.exchange()).map(({ status }) => status)).toEqual([
      BLKIF_RSP_ERROR,
      BLKIF_RSP_OKAY,
    ]);
  });
});

describe('strange but allowed', () => {
  test('32 requests with one id are each answered with it (BB-24)', async () => {
    const { rogue } = await connectedRogue(memoryDisk({ content: content() }));
    const page = rogue.buffer(0);
    const id = 2n ** 64n - 1n;
    for (let i = 0; i < 32; i++) rogue.put({ id, segments: [segment(page.gref)] });
    const answers = await rogue.exchange();
    expect(answers).toEqual(
      Array.from({ length: 32 }, () => ({ id, operation: BLKIF_OP_READ, status: BLKIF_RSP_OKAY })),
    );
  });

  test('one page in all segments of a read holds what was read last', async () => {
    const { rogue } = await connectedRogue(memoryDisk({ content: content() }));
    const page = rogue.buffer(0);
    const segments = Array.from({ length: 11 }, () => segment(page.gref, 0, 0));
    rogue.put({ segments, sector: 20n });
    expect(await rogue.exchange()).toMatchObject([{ status: BLKIF_RSP_OKAY }]);
    expect(rogue.bytes(page)[0]).toBe(30);
  });

  test('the ring page as a buffer harms the frontend that does it, and nobody else', async () => {
    const { rogue, parts } = await connectedRogue(memoryDisk({ content: content() }));
    rogue.put({ segments: [segment(rogue.ringRef)] });
    await rogue.exchange();
    expect(await look(parts, `${backPath(parts)}/state`)).toBe('4');
    await rogue.setState('6');
    expect(parts.driver.mappings.live).toBe(0);
  });

  test('a flush with data writes it and flushes', async () => {
    const inner = memoryDisk({ sizeBytes: 4096 });
    const calls: string[] = [];
    const disk: Disk = {
      sizeBytes: 4096,
      readOnly: false,
      read: (offset, views) => inner.read(offset, views),
      write: (offset, views) => (calls.push('write'), inner.write(offset, views)),
      flush: () => void calls.push('flush'),
      close: () => {},
    };
    const { rogue } = await connectedRogue(disk);
    const page = rogue.buffer(7);
    rogue.put({ operation: BLKIF_OP_FLUSH_DISKCACHE, segments: [segment(page.gref)] });
    rogue.put({ operation: BLKIF_OP_FLUSH_DISKCACHE });
    expect((await rogue.exchange()).map(({ status }) => status)).toEqual([0, 0]);
    expect(calls).toEqual(['write', 'flush', 'flush']);
    expect(contentOf(inner).every((byte) => byte === 7)).toBe(true);
  });

  test('the padding of a response is zero, whatever was in the slot (BB-12)', async () => {
    const { rogue, parts } = await connectedRogue(memoryDisk({ content: content() }));
    const bytes = parts.guest.memory.bytes(rogue.page.va, 4096, 'write');
    bytes.fill(0xa5, 64);
    const page = rogue.buffer(0);
    rogue.put({ id: 2n ** 64n - 1n, segments: [segment(page.gref)] });
    await rogue.exchange();
    const slot = rogue.bytes(rogue).subarray(64, 80);
    expect([...slot]).toEqual([...Array(8).fill(0xff), 0, 0, 0, 0, 0, 0, 0, 0]);
  });
});
