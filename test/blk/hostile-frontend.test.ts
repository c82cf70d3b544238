import { memoryDisk, startBlkback, connectBlkfront, type Disk } from '@ringside/blkif';
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
import { destroyDomain } from '@ringside/gnttab-core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  attach,
  backPath,
  frontPath,
  look,
  resources,
  rig,
  same,
  settled,
  VBD,
  type Rig,
} from './rig.ts';
import { RogueFrontend, segment, type RequestFields } from './rogue-frontend.ts';

const SECTORS = 256;
/** Sector n holds n in every byte. */
const content = () => Uint8Array.from({ length: SECTORS * 512 }, (_, i) => i >>> 9);

async function backend(disk: Disk, mode: 'r' | 'w' = 'w') {
  const parts = await rig({ seed: 1 });
  const { driver, driverStore } = parts;
  const blkback = startBlkback({ guest: driver, store: driverStore, openDisk: () => disk });
  await attach(parts, { mode });
  await settled(parts);
  return { parts, blkback };
}

async function connectedRogue(disk: Disk, mode: 'r' | 'w' = 'w') {
  const { parts, blkback } = await backend(disk, mode);
  const before = resources(parts);
  const rogue = new RogueFrontend(parts);
  await rogue.connect();
  expect(await look(parts, `${backPath(parts)}/state`)).toBe('4');
  return { parts, blkback, rogue, before };
}

const contentOf = (disk: Disk) => {
  const bytes = new Uint8Array(disk.sizeBytes);
  void disk.read(0, [bytes]);
  return bytes;
};

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

describe('a frontend that lies about the ring is not served any more (BB-19, RG-02, RG-04)', () => {
  test.each([
    ['size + 1', 33],
    ['2 * size', 64],
    ['2^31', 2 ** 31],
    ['2^32 - 1', 2 ** 32 - 1],
  ])('req_prod %s ahead', async (_, ahead) => {
    const disk = memoryDisk({ content: content() });
    const { rogue, parts } = await connectedRogue(disk);
    const page = rogue.buffer(0xff);
    const request = { operation: BLKIF_OP_WRITE, segments: [segment(page.gref)] };
    rogue.put(request);
    expect(await rogue.exchange()).toMatchObject([{ status: BLKIF_RSP_OKAY }]);
    const written = contentOf(disk);
    rogue.put({ ...request, sector: 8n });
    rogue.ring.shared.reqProd = (1 + ahead) % 2 ** 32;
    rogue.port.notify();
    await settled(parts);
    expect(rogue.ring.shared.rspProd).toBe(1);
    expect(same(contentOf(disk), written)).toBe(true);
    expect(parts.log).toHaveLength(1);
    expect(parts.log[0]).toMatch(/halted: .*req_prod overflow/);
    // The ring stays halted, and the device can still be closed and connected anew.
    rogue.ring.shared.reqProd = 2;
    rogue.port.notify();
    await settled(parts);
    expect(rogue.ring.shared.rspProd).toBe(1);
    await rogue.setState('6');
    const front = await connectBlkfront({ guest: parts.guest, store: parts.guestStore, id: VBD });
    expect((await front.read({ sector: 8, sectors: 1 }))[0]).toBe(8);
  });
});

describe('what a frontend publishes is checked before anything is mapped (RG-22)', () => {
  test.each([
    [{ 'ring-ref': '-1' }, /ring-ref/],
    [{ 'ring-ref': '4294967296' }, /ring-ref/],
    [{ 'ring-ref': '' }, /ring-ref/],
    [{ 'ring-ref': '400' }, /reference 400/],
    [{ 'event-channel': '0' }, /event-channel/],
    [{ 'event-channel': '4294967296' }, /event-channel/],
    [{ 'event-channel': '77' }, /port 77/],
    [{ protocol: 'bogus' }, /protocol/],
    [{ protocol: 'x'.repeat(1000) }, /protocol/],
    [{ protocol: 'x86_32-abi' }, /protocol/],
  ])('%o', async (keys, message) => {
    const { parts } = await backend(memoryDisk({ content: content() }));
    const before = resources(parts);
    const rogue = new RogueFrontend(parts);
    await rogue.connect(keys);
    expect(await look(parts, `${backPath(parts)}/state`)).toBe('5');
    const error = backPath(parts).replace('/backend/', '/error/backend/');
    expect(await look(parts, `${error}/error`)).toMatch(message);
    expect(parts.log).toHaveLength(1);
    const { driverPages, driverPorts, driverMappings } = resources(parts);
    expect({ driverPages, driverPorts, driverMappings }).toEqual({
      driverPages: before.driverPages,
      driverPorts: before.driverPorts,
      driverMappings: before.driverMappings,
    });
    await honestAfterwards(parts);
  });
});

/** Whatever happened, an honest frontend can use the device afterwards. */
async function honestAfterwards(parts: Rig): Promise<void> {
  const { guestStore, guest } = parts;
  await guestStore.write(`${frontPath(parts)}/state`, '6');
  await settled(parts);
  await guestStore.write(`${frontPath(parts)}/state`, '1');
  await settled(parts);
  const front = await connectBlkfront({ guest, store: guestStore, id: VBD });
  expect((await front.read({ sector: 8, sectors: 1 }))[0]).toBe(8);
  await front.close();
  await settled(parts);
  expect(parts.driver.mappings.live).toBe(0);
}

describe('a ring that was used before (RG-05)', () => {
  test('is served from its rsp_prod on', async () => {
    const { parts } = await backend(memoryDisk({ content: content() }));
    const rogue = new RogueFrontend(parts);
    rogue.ring.rspCons = rogue.ring.reqProdPvt = 0xffff_fff0;
    rogue.ring.shared.rspProd = 0xffff_fff0;
    const page = rogue.buffer(0);
    for (let i = 0; i < 32; i++) rogue.put({ id: BigInt(i), segments: [segment(page.gref)] });
    rogue.ring.pushRequests();
    await rogue.connect();
    expect((await rogue.exchange()).map(({ id }) => Number(id))).toEqual(
      Array.from({ length: 32 }, (_, i) => i),
    );
  });

  test.each([
    [500, 467],
    [490, 500],
    [2 ** 31, 0],
  ])('with req_prod %i and rsp_prod %i: refused', async (reqProd, rspProd) => {
    const { parts } = await backend(memoryDisk({ content: content() }));
    const rogue = new RogueFrontend(parts);
    rogue.ring.shared.reqProd = reqProd;
    rogue.ring.shared.rspProd = rspProd;
    await rogue.connect();
    expect(await look(parts, `${backPath(parts)}/state`)).toBe('5');
    expect(parts.log[0]).toMatch(`req_prod ${reqProd} and rsp_prod ${rspProd}`);
    expect(parts.driver.mappings.live).toBe(0);
    await honestAfterwards(parts);
  });
});

describe('the states of a frontend, in any order (BB-17, RG-15, RG-30)', () => {
  test('leave at most one connection, and nothing behind', async () => {
    const states = fc.array(
      fc.constantFrom('0', '1', '2', '3', '4', '5', '6', '7', '99', 'abc', ''),
      {
        maxLength: 12,
      },
    );
    await fc.assert(
      fc.asyncProperty(states, fc.boolean(), async (sequence, wait) => {
        const { parts } = await backend(memoryDisk({ content: content() }));
        const before = resources(parts);
        const rogue = new RogueFrontend(parts);
        await rogue.write({
          'ring-ref': String(rogue.ringRef),
          'event-channel': String(rogue.port.port),
        });
        for (const state of sequence) {
          await rogue.write({ state });
          if (wait) await settled(parts);
          expect(parts.driver.mappings.live).toBeLessThanOrEqual(1);
        }
        await settled(parts);
        await honestAfterwards(parts);
        expect(resources(parts).driverPages).toBe(before.driverPages);
        expect(resources(parts).driverPorts).toBe(before.driverPorts);
      }),
      { numRuns: 40 },
    );
  });
});

/** A disk that answers when the test says so. */
function heldDisk(): { disk: Disk; release(): void; held: number } {
  const waiting: (() => void)[] = [];
  const later = () => new Promise<void>((resolve) => waiting.push(resolve));
  const disk: Disk = {
    sizeBytes: SECTORS * 512,
    readOnly: false,
    read: later,
    write: later,
    flush: later,
    close: () => {},
  };
  return {
    disk,
    release: () => waiting.splice(0).forEach((resolve) => resolve()),
    get held() {
      return waiting.length;
    },
  };
}

describe('a frontend that goes while the disk is busy (RG-16)', () => {
  const leave: [string, (rogue: RogueFrontend, parts: Rig) => Promise<void>][] = [
    ['Closing', (rogue) => rogue.write({ state: '5' })],
    ['Closed', (rogue) => rogue.write({ state: '6' })],
    ['its state removed', (_, parts) => parts.toolstack.rm(`${frontPath(parts)}/state`)],
    ['its directory removed', (_, parts) => parts.toolstack.rm(frontPath(parts))],
    [
      'both directories removed',
      async (_, parts) => {
        await parts.toolstack.rm(backPath(parts));
        await parts.toolstack.rm(frontPath(parts));
      },
    ],
    [
      'its domain destroyed',
      async (_, parts) => {
        destroyDomain(parts.guest.domain);
        await parts.toolstack.rm(frontPath(parts));
      },
    ],
  ];
  test.each(leave)('%s: nothing is written any more, nothing leaks', async (_, go) => {
    const slow = heldDisk();
    const { rogue, parts, before } = await connectedRogue(slow.disk);
    const page = rogue.buffer(0xa5);
    for (let i = 0; i < 32; i++) rogue.put({ segments: [segment(page.gref)] });
    expect(await rogue.exchange()).toEqual([]);
    expect(slow.held).toBe(32);
    await go(rogue, parts);
    await settled(parts);
    expect(parts.driver.mappings.live).toBe(0);
    slow.release();
    await settled(parts);
    expect(resources(parts).driverPages).toBe(before.driverPages);
    expect(resources(parts).driverPorts).toBe(before.driverPorts);
    if (parts.guest.domain.alive) {
      expect(rogue.ring.shared.rspProd).toBe(0);
      expect(rogue.bytes(page).every((byte) => byte === 0xa5)).toBe(true);
    }
  });
});

test('a flood of bad requests is a few lines of log (RG-28, BB-13)', async () => {
  const { rogue, parts } = await connectedRogue(memoryDisk({ content: content() }));
  for (let round = 0; round < 64; round++) {
    for (let i = 0; i < 32; i++) rogue.put({ operation: 200 });
    expect(await rogue.exchange()).toHaveLength(32);
  }
  expect(parts.log).toHaveLength(12);
  expect(parts.log.at(-1)).toMatch(/failed so far: 2048/);
});
