/** What a frontend can do to a backend besides requests: the ring, the store, its states, its end. */

import { connectBlkfront, memoryDisk, type Disk } from '@ringside/blkif';
import { BLKIF_OP_WRITE, BLKIF_RSP_OKAY } from '@ringside/blkif/abi';
import { destroyDomain } from '@ringside/gnttab-core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { backPath, frontPath, look, resources, same, settled, VBD, type Rig } from './rig.ts';
import {
  backend,
  connectedRogue,
  content,
  contentOf,
  honestAfterwards,
  RogueFrontend,
  SECTORS,
  segment,
} from './rogue-frontend.ts';

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
