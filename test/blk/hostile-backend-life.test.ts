/** What a backend can do to a frontend besides responses: silence, the store, its states. */

import { BlkfrontError } from '@ringside/blkif';
import { BLKIF_OP_WRITE, BLKIF_RSP_OKAY } from '@ringside/blkif/abi';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { backPath, frontPath, look, resources, settled } from './rig.ts';
import { connectedBackend, connecting, outcome } from './rogue-backend.ts';

describe('a silent backend', () => {
  test('has no more than a ring of requests, and the rest waits in order (BF-19)', async () => {
    const { parts, disk, backend } = await connectedBackend();
    const pages = parts.guest.memory.allocPages(1);
    const buffers = [{ page: pages[0]!, offsetBytes: 0, lengthBytes: 512 }];
    const order: number[] = [];
    for (let i = 0; i < 200; i++) {
      disk.submit({ operation: BLKIF_OP_WRITE, sector512: i, buffers }, () => order.push(i));
    }
    let seen = await backend.requests();
    expect(seen.map(({ sector }) => sector)).toEqual(Array.from({ length: 32 }, (_, i) => i));
    for (let turn = 0; order.length < 200; turn++) {
      expect(turn).toBeLessThan(10);
      await backend.answer(...seen.map((request) => ({ ...request, status: BLKIF_RSP_OKAY })));
      seen = await backend.requests();
      expect(seen.length).toBeLessThanOrEqual(32);
    }
    expect(order).toEqual(Array.from({ length: 200 }, (_, i) => i));
  });

  test('loses what waits for it when the device is removed (BF-17)', async () => {
    const { parts, disk, backend } = await connectedBackend();
    const reads = Array.from({ length: 3 }, (_, i) =>
      outcome(disk.read({ sector: i, sectors: 1 })),
    );
    const seen = await backend.requests();
    await backend.answer({ ...seen[2]!, status: BLKIF_RSP_OKAY });
    await backend.answer({ ...seen[0]!, status: BLKIF_RSP_OKAY });
    expect(reads.map(({ value }) => value?.length)).toEqual([512, undefined, 512]);
    await backend.setState('6');
    expect(reads[1]!.error).toBeInstanceOf(BlkfrontError);
    await disk.close();
    expect(disk.state).toBe('closed');
    expect(parts.guest.events.open).toBe(0);
  });

  test('can be left without waiting for it', async () => {
    const { disk, backend } = await connectedBackend();
    const read = outcome(disk.read({ sector: 0, sectors: 1 }));
    await backend.requests();
    await disk.abandon();
    expect(disk.state).toBe('closed');
    expect(String(read.error)).toMatch(/abandoned/);
  });

  test('may close while requests wait: they finish first', async () => {
    const { disk, backend } = await connectedBackend();
    const read = outcome(disk.read({ sector: 0, sectors: 1 }));
    const [seen] = await backend.requests();
    await backend.setState('5');
    expect(disk.state).toBe('closing');
    await backend.answer({ ...seen!, status: BLKIF_RSP_OKAY });
    expect(read.value).toHaveLength(512);
    backend.mapping.unmap();
    await backend.setState('6');
    expect(disk.state).toBe('closed');
    expect(disk.pagesStillShared).toBe(0);
  });
});

describe('what a backend publishes is checked (BF-14, BF-23)', () => {
  test.each([
    [{ sectors: '-1' }, /sectors is "-1"/],
    [{ sectors: '0' }, /sectors is "0"/],
    [{ sectors: '18446744073709551616' }, /sectors is/],
    [{ sectors: undefined }, /sectors is missing/],
    [{ 'sector-size': '0' }, /sector-size/],
    [{ 'sector-size': '600' }, /sector-size is 600/],
    [{ 'sector-size': '1073741824' }, /sector-size/],
    [{ 'physical-sector-size': '513' }, /physical-sector-size is 513/],
    [{ info: 'x' }, /info/],
    [{ 'feature-flush-cache': 'yes' }, /feature-flush-cache/],
  ])('%o', async (keys, message) => {
    const { parts, disk, set } = await connecting(keys);
    await set('state', '4');
    await expect(disk).rejects.toThrow(message);
    expect(await look(parts, `${frontPath(parts)}/state`)).toBe('6');
    expect(resources(parts)).toMatchObject({ guestPages: 512, guestPorts: 0 });
  });

  test('sector-size 4096: requests must be multiples of it, sectors stay units of 512', async () => {
    const { parts, disk, set } = await connecting({
      'sector-size': '4096',
      'physical-sector-size': undefined,
    });
    await set('state', '4');
    const front = await disk;
    expect(front.properties).toMatchObject({
      sectors512: 1000,
      sectorSize: 4096,
      physicalSectorSize: 4096,
    });
    await expect(front.read({ sector: 1, sectors: 8 })).rejects.toThrow(/multiples of 4096/);
    await expect(front.read({ sector: 8, sectors: 1 })).rejects.toThrow(/multiples of 4096/);
    void outcome(front.read({ sector: 8, sectors: 8 }));
    await settled(parts);
    expect(front.stats.requests).toBe(1);
  });
});

test('the states of a backend, in any order, connect at most once and close at most once (BF-15)', async () => {
  const states = fc.array(fc.constantFrom('0', '1', '2', '3', '4', '5', '6', '7', '8', '99'), {
    maxLength: 6,
  });
  await fc.assert(
    fc.asyncProperty(states, async (sequence) => {
      const { parts, disk, set } = await connecting();
      const result = outcome(disk);
      for (const state of sequence) {
        await set('state', state);
        await settled(parts);
      }
      await parts.toolstack.rm(backPath(parts));
      await settled(parts);
      await result.value?.close();
      expect([result.value?.state, result.error === undefined]).toEqual(
        result.value ? ['closed', true] : [undefined, false],
      );
      expect(resources(parts)).toMatchObject({ guestPages: 512, guestPorts: 0 });
    }),
    { numRuns: 40 },
  );
});
