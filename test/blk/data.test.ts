/** Bytes through the split driver: every kind of disk, every shape of request. */

import { memoryDisk, type Disk } from '@ringside/blkif';
import { BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_RSP_OKAY } from '@ringside/blkif/abi';
import { openRawDisk } from '@ringside/blkif/node';
import type { Machine } from '@ringside/gnttab-core';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connected, type Connected, resources, same } from './rig.ts';

let directory: string;
beforeAll(() => (directory = fs.mkdtempSync(path.join(os.tmpdir(), 'blk-'))));
afterAll(() => fs.rmSync(directory, { recursive: true }));

const SECTORS = 400;

/** A disk that answers later, and in another order than it was asked. */
function shuffled(inner: Disk, machine: () => Machine): Disk {
  const later = async (act: () => void | Promise<void>) => {
    const { scheduler, random } = machine();
    await scheduler.sleep(1 + random.below(1000));
    await act();
  };
  return {
    sizeBytes: inner.sizeBytes,
    readOnly: inner.readOnly,
    read: (offsetBytes, views) => later(() => inner.read(offsetBytes, views)),
    write: (offsetBytes, views) => later(() => inner.write(offsetBytes, views)),
    flush: () => later(() => inner.flush()),
    close: () => inner.close(),
  };
}

let images = 0;
function image(): string {
  const name = path.join(directory, `disk-${images++}.img`);
  fs.writeFileSync(name, Buffer.alloc(SECTORS * 512));
  return name;
}

const disks: [string, (machine: () => Machine) => Disk][] = [
  ['a memory disk', () => memoryDisk({ sizeBytes: SECTORS * 512 })],
  ['a file', () => openRawDisk(image())],
  [
    'a file on other threads',
    (machine) =>
      openRawDisk(image(), {
        scheduler: { external: (start) => machine().scheduler.external(start) },
      }),
  ],
  [
    'a disk that answers out of order',
    (machine) => shuffled(memoryDisk({ sizeBytes: SECTORS * 512 }), machine),
  ],
];

describe.each(disks)('%s behind a ring', (_, makeDisk) => {
  test('keeps what was written, whatever is read and written at once', async () => {
    const range = fc
      .tuple(fc.nat(SECTORS - 1), fc.integer({ min: 1, max: 130 }))
      .map(([sector, sectors]) => ({ sector, sectors: Math.min(sectors, SECTORS - sector) }));
    const action = fc.record({ range, write: fc.boolean(), fill: fc.nat(255) });
    // The actions of a round do not wait for each other, so those that overlap an earlier write are left out.
    const rounds = fc.array(fc.array(action, { maxLength: 12 }), { maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(rounds, fc.option(fc.nat(1000), { nil: undefined }), async (plan, seed) => {
        const parts: Connected = await connected(
          () => makeDisk(() => parts.machine),
          seed === undefined ? {} : { seed },
        );
        const before = resources(parts);
        const { disk } = parts;
        const model = new Uint8Array(SECTORS * 512);
        for (const round of plan) {
          const busy = new Uint8Array(SECTORS);
          const running: Promise<void>[] = [];
          for (const { range, write, fill } of round) {
            const { sector, sectors } = range;
            if (busy.subarray(sector, sector + sectors).includes(1)) continue;
            const from = sector * 512;
            if (write) {
              busy.fill(1, sector, sector + sectors);
              const data = Uint8Array.from({ length: sectors * 512 }, (_, i) => fill + i * 3);
              running.push(disk.write({ sector, data }).then(() => model.set(data, from)));
            } else {
              busy.fill(1, sector, sector + sectors);
              const expected = model.slice(from, from + sectors * 512);
              running.push(
                disk.read(range).then((data) => expect(same(data, expected)).toBe(true)),
              );
            }
          }
          await Promise.all(running);
          await disk.flush();
        }
        expect(same(await disk.read({ sector: 0, sectors: SECTORS }), model)).toBe(true);
        await disk.close();
        await parts.blkback.stop();
        const { driverPages, driverMappings, driverPorts } = resources(parts);
        expect([driverPages, driverMappings, driverPorts]).toEqual([before.driverPages, 0, 0]);
      }),
      { numRuns: 12 },
    );
  });
});

describe('requests over guest pages', () => {
  test('of every sector range of a page, in several segments, reach just those sectors (BF-20)', async () => {
    const { disk, guest } = await connected(memoryDisk({ sizeBytes: SECTORS * 512 }));
    const model = new Uint8Array(SECTORS * 512);
    const submit = (
      operation: number,
      sector512: number,
      buffers: Parameters<typeof disk.submit>[0]['buffers'],
    ) => new Promise<number>((resolve) => disk.submit({ operation, sector512, buffers }, resolve));
    const [source, target] = [guest.memory.allocPage(), guest.memory.allocPage()];
    const bytes = guest.memory.bytes(source.va, 4096, 'write');
    bytes.set(Uint8Array.from({ length: 4096 }, (_, i) => (i * 13) ^ (i >>> 9)));
    let sector = 0;
    for (let first = 0; first < 8; first++) {
      for (let last = first; last < 8; last++) {
        const range = { offsetBytes: first * 512, lengthBytes: (last - first + 1) * 512 };
        const part = bytes.subarray(range.offsetBytes, range.offsetBytes + range.lengthBytes);
        model.set(part, sector * 512);
        model.set(part.subarray(0, 512), sector * 512 + range.lengthBytes);
        const one = { page: source, offsetBytes: range.offsetBytes, lengthBytes: 512 };
        expect(await submit(BLKIF_OP_WRITE, sector, [{ page: source, ...range }, one])).toBe(0);
        const into = guest.memory.bytes(target.va, 4096, 'write').fill(0xee);
        expect(await submit(BLKIF_OP_READ, sector, [{ page: target, ...range }])).toBe(0);
        const expected = new Uint8Array(4096).fill(0xee);
        expected.set(part, range.offsetBytes);
        expect(same(into, expected)).toBe(true);
        sector += last - first + 2;
      }
    }
    expect(same(await disk.read({ sector: 0, sectors: SECTORS }), model)).toBe(true);
  });

  test('of more than a ring are split into requests of 11 segments, and done is called once', async () => {
    const { disk, guest } = await connected(memoryDisk({ sizeBytes: 1 << 22 }));
    const pages = guest.memory.allocPages(400);
    const buffers = pages.map((page, i) => {
      guest.memory.bytes(page.va, 4096, 'write').fill(i);
      return { page, offsetBytes: 0, lengthBytes: 4096 };
    });
    const statuses: number[] = [];
    await new Promise<void>((resolve) =>
      disk.submit({ operation: BLKIF_OP_WRITE, sector512: 8, buffers }, (status) => {
        statuses.push(status);
        resolve();
      }),
    );
    expect(statuses).toEqual([BLKIF_RSP_OKAY]);
    expect(disk.stats.requests).toBe(Math.ceil(400 / 11));
    const last = await disk.read({ sector: 8 + 399 * 8, sectors: 8 });
    expect(last.every((byte) => byte === 399 % 256)).toBe(true);
  });

  test('that are submitted together cost one push, two copies calls at most, and one notification each way', async () => {
    const { disk, guest, driver } = await connected(memoryDisk({ sizeBytes: 1 << 20 }), {
      seed: 3,
    });
    const before = { guest: guest.domain.counters(), driver: driver.domain.counters() };
    const reads = Array.from({ length: 8 }, (_, i) => disk.read({ sector: i, sectors: 1 }));
    await Promise.all(reads);
    const [front, back] = [guest.domain.counters(), driver.domain.counters()];
    expect(disk.stats).toMatchObject({ requests: 8, responses: 8, pushes: 1, batches: 1 });
    expect(front.notificationsSent - before.guest.notificationsSent).toBe(1);
    expect(back.notificationsSent - before.driver.notificationsSent).toBe(1);
    expect(back.copies - before.driver.copies).toBe(8);
    // One copy, one notification.
    expect(back.hypercalls - before.driver.hypercalls).toBe(2);
  });

  const senseless: [string, Parameters<typeof submitOne>[1], RegExp][] = [
    ['an unknown operation', { operation: 9 }, /operation 9/],
    ['a flush with buffers', { operation: 3 }, /a flush has no buffers/],
    ['no buffers', { lengths: [] }, /0 bytes at sector/],
    ['half a sector', { lengths: [100] }, /multiples of 512/],
    ['a buffer beyond its page', { offsetBytes: 512, lengths: [4096] }, /inside the page/],
    ['sectors beyond the disk', { sector512: SECTORS - 1, lengths: [1024] }, /within 400 sectors/],
    ['a sector that is no number', { sector512: NaN }, /at sector NaN/],
  ];
  test.each(senseless)('%s: refused with a line', async (_, request, message) => {
    const { disk, guest } = await connected(memoryDisk({ sizeBytes: SECTORS * 512 }));
    expect(() => submitOne({ disk, guest }, request)).toThrow(message);
    expect(disk.stats.requests).toBe(0);
  });
});

function submitOne(
  { disk, guest }: Pick<Awaited<ReturnType<typeof connected>>, 'disk' | 'guest'>,
  request: { operation?: number; sector512?: number; offsetBytes?: number; lengths?: number[] },
): void {
  const { operation = 0, sector512 = 0, offsetBytes = 0, lengths = [512] } = request;
  const page = guest.memory.allocPage();
  const buffers = lengths.map((lengthBytes) => ({ page, offsetBytes, lengthBytes }));
  disk.submit({ operation, sector512, buffers }, () => {});
}

describe('an ext4 image', () => {
  const SHA256 = '0297e4f0d0f79d772f91f76340734f105610aba02c1ef899dd8f0ae3d5ad181b';
  const packed = new URL('../data/ext4.img.gz', import.meta.url);

  test('is read through the split driver byte for byte, from a file that is not touched', async () => {
    const name = path.join(directory, 'ext4.img');
    fs.writeFileSync(name, gunzipSync(fs.readFileSync(packed)));
    fs.chmodSync(name, 0o444);
    const { disk } = await connected((_, { readOnly }) => openRawDisk(name, { readOnly }), {
      mode: 'r',
    });
    const { sectors512, readOnly } = disk.properties;
    expect([sectors512, readOnly]).toEqual([32768, true]);
    const hash = createHash('sha256');
    // 999 sectors: pieces that start and end inside pages.
    for (let sector = 0; sector < sectors512; sector += 999) {
      hash.update(await disk.read({ sector, sectors: Math.min(999, sectors512 - sector) }));
    }
    expect(hash.digest('hex')).toBe(SHA256);
    await expect(disk.write({ sector: 0, data: new Uint8Array(512) })).rejects.toThrow(/read-only/);
    await disk.close();
  });

  test('that is written through it is in the file after a flush', async () => {
    const name = path.join(directory, 'copy.img');
    const whole = gunzipSync(fs.readFileSync(packed));
    fs.writeFileSync(name, Buffer.alloc(whole.length));
    const { disk } = await connected(openRawDisk(name));
    await disk.write({ sector: 0, data: whole });
    await disk.flush();
    expect(createHash('sha256').update(fs.readFileSync(name)).digest('hex')).toBe(SHA256);
    expect(disk.stats).toMatchObject({ flushes: 1, bytesWritten: whole.length, failed: 0 });
  });
});
