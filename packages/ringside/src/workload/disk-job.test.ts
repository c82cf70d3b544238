import { type Disk, memoryDisk } from '@ringside/blkif';
import { createMachine } from '@ringside/gnttab-core';
import { expect, test } from 'vitest';
import { bringUpHost, plugDisk } from '../scenario/bring-up.ts';
import { type DiskJob, diskWorkloads, runDiskJob } from './disk-job.ts';
import { firstDifference, patternSource } from './pattern.ts';

const SIZE = 256 * 1024;
const content = new Uint8Array(SIZE);
patternSource(9).read(0, [content]);

async function run(disk: Disk, job: Partial<DiskJob>) {
  const host = await bringUpHost(createMachine({ seed: 1 }), { driverPages: 1024 });
  const domain = await host.toolstack.createDomain({ name: 'guest', pages: 1024 });
  const { guest } = domain;
  const front = await plugDisk(host, domain, disk);
  const pages = guest.memory.freeCount;
  const result = await runDiskJob({
    guest,
    disk: front,
    workload: 'read',
    seed: 4,
    expected: patternSource(9),
    ...job,
  });
  expect(guest.memory.freeCount).toBeGreaterThanOrEqual(pages);
  return result;
}

/** A memory disk, some of whose reads are tampered with. */
function tampered(tamper: (offsetBytes: number, views: readonly Uint8Array[]) => void): Disk {
  const disk = memoryDisk({ content });
  return {
    sizeBytes: disk.sizeBytes,
    readOnly: false,
    read(offsetBytes, views) {
      disk.read(offsetBytes, views);
      tamper(offsetBytes, views);
    },
    write: (offsetBytes, views) => disk.write(offsetBytes, views),
    flush: () => {},
    close: () => {},
  };
}

test.each(diskWorkloads)(
  '%s goes over the whole disk once, and compares all of it',
  async (workload) => {
    const copied = new Uint8Array(SIZE);
    const into = {
      write(offsetBytes: number, views: readonly Uint8Array[]) {
        for (const view of views) {
          copied.set(view, offsetBytes);
          offsetBytes += view.length;
        }
      },
    };
    const result = await run(memoryDisk({ content }), { workload, into });
    expect(result).toMatchObject({
      requests: SIZE / 4096,
      bytes: SIZE,
      verifiedBytes: SIZE,
      failures: [],
    });
    if (!workload.endsWith('write')) expect(firstDifference(copied, content)).toBe(-1);
  },
);

test('the last block is as long as what is left', async () => {
  const result = await run(memoryDisk({ content }), {
    blockBytes: 10 * 1024,
    workload: 'randread',
  });
  expect(result).toMatchObject({ requests: 26, bytes: SIZE, verifiedBytes: SIZE, failures: [] });
});

test('a byte that is wrong is named', async () => {
  const disk = tampered((offsetBytes, views) => {
    if (offsetBytes === 8192) views[0]![5]! ^= 0xff;
  });
  const { failures, verifiedBytes } = await run(disk, { blockBytes: 4096, iodepth: 1 });
  const [is, must] = [content[8197]! ^ 0xff, content[8197]!].map((byte) => byte.toString(16));
  expect(failures).toEqual([
    `byte 8197 of the disk is 0x${is!.padStart(2, '0')}, expected 0x${must!.padStart(2, '0')}`,
  ]);
  expect(verifiedBytes).toBe(SIZE - 4096);
});

test('what was written and comes back different is found', async () => {
  const disk = tampered((offsetBytes, views) => {
    if (offsetBytes === 0) views[0]!.fill(0);
  });
  const { failures } = await run(disk, { workload: 'randwrite' });
  expect(failures).toEqual([expect.stringMatching(/^byte 0 of the disk is 0x00, expected 0x/)]);
});

test('a disk that fails ends the job', async () => {
  const disk = tampered((offsetBytes) => {
    if (offsetBytes === 16_384) throw new Error('worn out');
  });
  const { failures, requests } = await run(disk, { iodepth: 1 });
  expect(failures).toEqual(['read of block at byte 16384: status -1']);
  expect(requests).toBe(5);
});

test('no request begins after the runtime', async () => {
  const { requests } = await run(memoryDisk({ content }), { runtimeNs: 3000, iodepth: 1 });
  expect(requests).toBeGreaterThan(0);
  expect(requests).toBeLessThan(SIZE / 4096);
});

test.each([
  [{ blockBytes: 1000 }, 'bs 1000; allowed: multiples of 512 from 512 to 1048576'],
  [{ iodepth: 0 }, 'iodepth 0; allowed: whole numbers from 1 to 4096'],
  [{ sizeBytes: SIZE + 512 }, `size ${SIZE + 512}; allowed: multiples of 512 from 512 to ${SIZE}`],
])('%o is refused', async (job, sentence) => {
  await expect(run(memoryDisk({ content }), job)).rejects.toThrow(sentence);
});
