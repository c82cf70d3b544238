/** The life of a device: connect, use, close, begin again, unplug. */

import { connectBlkfront, memoryDisk, startBlkback, type Disk } from '@ringside/blkif';
import { openRawDisk } from '@ringside/blkif/node';
import * as os from 'node:os';
import * as path from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  attach,
  backPath,
  connected,
  frontPath,
  look,
  resources,
  rig,
  same,
  settled,
  VBD,
} from './rig.ts';

const SECTORS = 400;

describe('the life of a device', () => {
  test('leaves nothing behind in either domain', async () => {
    const parts = await connected(memoryDisk({ sizeBytes: SECTORS * 512 }), { seed: 5 });
    const { disk, blkback } = parts;
    await Promise.all(Array.from({ length: 5 }, (_, i) => disk.read({ sector: i, sectors: 100 })));
    expect(resources(parts)).toMatchObject({ driverMappings: 1, driverPorts: 1, guestPorts: 1 });
    await disk.close();
    await settled(parts);
    expect(await look(parts, `${frontPath(parts)}/state`)).toBe('6');
    expect(await look(parts, `${backPath(parts)}/state`)).toBe('6');
    await blkback.stop();
    expect(resources(parts)).toEqual({
      driverPages: 1024,
      driverPorts: 0,
      driverMappings: 0,
      guestPages: 512,
      guestPorts: 0,
      guestRefs: 504,
    });
  });

  test('finishes what was submitted before it closes', async () => {
    const { disk } = await connected(memoryDisk({ sizeBytes: SECTORS * 512 }));
    const write = disk.write({ sector: 0, data: new Uint8Array(SECTORS * 512).fill(1) });
    const closed = disk.close();
    await write;
    await closed;
    await expect(disk.read({ sector: 0, sectors: 1 })).rejects.toThrow(/the device is closed/);
  });

  test('can begin again: close and connect, ten times', async () => {
    const parts = await connected(memoryDisk({ sizeBytes: SECTORS * 512 }), { seed: 6 });
    let { disk } = parts;
    const before = resources(parts);
    for (let turn = 0; turn < 10; turn++) {
      await disk.write({ sector: turn, data: new Uint8Array(512).fill(turn) });
      await disk.close();
      disk = await connectBlkfront({ guest: parts.guest, store: parts.guestStore, id: VBD });
      expect((await disk.read({ sector: turn, sectors: 1 }))[0]).toBe(turn);
      await settled(parts);
    }
    await disk.close();
    const { driverPages: _, guestPages: __, ...after } = resources(parts);
    expect(after).toEqual({ driverPorts: 0, driverMappings: 0, guestPorts: 0, guestRefs: 504 });
    expect(before.driverMappings).toBe(1);
  });

  test('ends when the toolstack unplugs it, and the disk is closed', async () => {
    let open = 0;
    const parts = await connected(
      () => {
        open++;
        const inner = memoryDisk({ sizeBytes: 4096 });
        return { ...bind(inner), close: () => void open-- };
      },
      { seed: 7 },
    );
    expect(open).toBe(1);
    await parts.toolstack.write(`${backPath(parts)}/online`, '0');
    await parts.toolstack.write(`${backPath(parts)}/state`, '5');
    await settled(parts);
    expect(parts.disk.state).toBe('closed');
    expect(await look(parts, `${backPath(parts)}/state`)).toBe('6');
    expect(open).toBe(0);
    expect(resources(parts)).toMatchObject({ driverMappings: 0, driverPorts: 0, guestPages: 512 });
  });

  test('does not begin with a disk that cannot be opened: both ends say why', async () => {
    const openDisk = () => openRawDisk(path.join(os.tmpdir(), 'no-such-directory', 'nowhere.img'));
    await expect(connected(openDisk)).rejects.toThrow(/the backend .* gave up/);
  });

  test('reports a disk that fails, and goes on', async () => {
    const inner = memoryDisk({ sizeBytes: 4096 });
    let broken = true;
    const fail = () => {
      if (broken) throw new Error('medium error');
    };
    const parts = await connected({
      ...bind(inner),
      read: (offset, views) => (fail(), inner.read(offset, views)),
      flush: async () => fail(),
    });
    await expect(parts.disk.read({ sector: 0, sectors: 1 })).rejects.toThrow(/BLKIF_RSP_ERROR/);
    await expect(parts.disk.flush()).rejects.toThrow(/BLKIF_RSP_ERROR/);
    expect(parts.log.join()).toMatch(/medium error/);
    broken = false;
    expect(await parts.disk.read({ sector: 0, sectors: 1 })).toHaveLength(512);
  });

  test('stats$ tells after each batch, and ends with the device', async () => {
    const { disk } = await connected(memoryDisk({ sizeBytes: 4096 }));
    const seen: number[] = [];
    let over = false;
    disk.stats$.subscribe({
      next: ({ responses }) => seen.push(responses),
      complete: () => (over = true),
    });
    await disk.read({ sector: 0, sectors: 1 });
    await disk.read({ sector: 0, sectors: 1 });
    await disk.close();
    expect([seen, over]).toEqual([[1, 2], true]);
  });
});

test('one seed makes one trace, another seed another, and the bytes are the same', async () => {
  const run = async (seed: number) => {
    const parts = await rig({ seed });
    const { machine, driver, driverStore, guest, guestStore } = parts;
    machine.trace.enabled = true;
    const backing = memoryDisk({ sizeBytes: SECTORS * 512 });
    const serve = () => backing;
    startBlkback({ guest: driver, store: driverStore, openDisk: serve });
    await attach(parts);
    const disk = await connectBlkfront({ guest, store: guestStore, id: VBD });
    const data = Uint8Array.from({ length: 100 * 512 }, (_, i) => i % 253);
    await Promise.all([
      disk.write({ sector: 7, data }),
      disk.read({ sector: 200, sectors: 9 }),
      disk.flush(),
    ]);
    const read = await disk.read({ sector: 7, sectors: 100 });
    expect(same(read, data)).toBe(true);
    await disk.close();
    await settled(parts);
    return machine.trace.records();
  };
  const [first, again, other] = [await run(11), await run(11), await run(12)];
  const names = first.map(({ name }) => name);
  for (const edge of ['blk_request', 'blkback_serve', 'blkback_answer', 'blk_response']) {
    // 100 sectors are 13 pages, two requests; twice; a small read; a flush.
    expect(names.filter((name) => name === edge)).toHaveLength(6);
  }
  expect(again).toEqual(first);
  expect(other).not.toEqual(first);
});

/** A disk's operations as plain properties, to be replaced one by one. */
const bind = (disk: Disk): Disk => ({
  sizeBytes: disk.sizeBytes,
  readOnly: disk.readOnly,
  read: (offset, views) => disk.read(offset, views),
  write: (offset, views) => disk.write(offset, views),
  flush: () => disk.flush(),
  close: () => disk.close(),
});
