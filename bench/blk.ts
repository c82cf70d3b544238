/** 4 KiB random reads at depth 32 through blkfront and blkback, against reading the same file without them. */
import { closeSync, mkdtempSync, openSync, read, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Blkfront, type Disk, memoryDisk } from '@ringside/blkif';
import { BLKIF_OP_READ } from '@ringside/blkif/abi';
import { openRawDisk } from '@ringside/blkif/node';
import { type Guest, type Machine, seededRandom } from '@ringside/gnttab-core';
import { type Host, plugDisk } from '@ringside/ringside';
import { faster, inTurn, type Result, type Subject } from './measure.ts';

const BLOCK = 4096;
const DEPTH = 32;
const DISK_BYTES = 64 * 2 ** 20;
const READS = 20_000;

/** Where each read goes: the same blocks for everybody. */
function offsets(): number[] {
  const random = seededRandom(1);
  return Array.from({ length: READS }, () => random.below(DISK_BYTES / BLOCK) * BLOCK);
}

/** A guest of its own with a disk. */
async function plugged(host: Host, name: string, disk: Disk) {
  const front = await host.toolstack.createDomain({ name, pages: 1024 });
  return { guest: front.guest, blkfront: await plugDisk(host, front, disk) };
}

/** Random reads into the guest's own pages. */
function throughRing({ guest, blkfront }: { guest: Guest; blkfront: Blkfront }): Subject {
  const at = offsets();
  const slots = guest.memory.allocPages(DEPTH).map((page) => ({
    operation: BLKIF_OP_READ,
    sector512: 0,
    buffers: [{ page, offsetBytes: 0, lengthBytes: BLOCK }],
  }));
  return (times) =>
    new Promise((resolve, reject) => {
      let [next, done] = [0, 0];
      for (const slot of slots) {
        const issue = () => {
          slot.sector512 = at[next++ % READS]! / 512;
          blkfront.submit(slot, finish);
        };
        const finish = (status: number) => {
          if (status !== 0) reject(new Error(`a read failed with status ${status}`));
          done++;
          if (next < times) issue();
          else if (done === times) resolve();
        };
        issue();
      }
    });
}

/** `fs.read` with 32 reads in the thread pool's queue. */
function fsRead(fd: number): Subject {
  const at = offsets();
  const buffers = Array.from({ length: DEPTH }, () => Buffer.alloc(BLOCK));
  return (times) =>
    new Promise((resolve, reject) => {
      let [next, done] = [0, 0];
      const issue = (buffer: Buffer) => {
        read(fd, buffer, 0, BLOCK, at[next++ % READS]!, (error) => {
          if (error) reject(error);
          done++;
          if (next < times) issue(buffer);
          else if (done === times) resolve();
        });
      };
      for (const buffer of buffers) issue(buffer);
    });
}

/** A bare loop of `readSync`. */
function bareReadSync(fd: number): Subject {
  const at = offsets();
  const buffer = Buffer.alloc(BLOCK);
  return (times) => {
    for (let i = 0; i < times; i++) readSync(fd, buffer, 0, BLOCK, at[i % READS]!);
  };
}

export async function randomReads(_machine: Machine, host: Host): Promise<Result[]> {
  const folder = mkdtempSync(join(tmpdir(), 'ringside-bench-'));
  const path = join(folder, 'disk.img');
  const fd = openSync(path, 'w+');
  try {
    const random = seededRandom(2);
    const chunk = Buffer.alloc(2 ** 20);
    for (let i = 0; i < chunk.length; i += 4) chunk.writeUInt32LE(random.u32(), i);
    for (let at = 0; at < DISK_BYTES; at += chunk.length) writeSync(fd, chunk, 0, chunk.length, at);
    const ramDisk = memoryDisk({ sizeBytes: DISK_BYTES, memory: host.driver.guest.memory });
    for (let at = 0; at < DISK_BYTES; at += chunk.length) ramDisk.write(at, [chunk]);
    const image = openRawDisk(path, { readOnly: true });
    const memory = await plugged(host, 'memory', ramDisk);
    const file = await plugged(host, 'file', image);
    const [memoryNs, fileNs, poolNs, syncNs] = await inTurn([
      { run: throughRing(memory), times: READS },
      { run: throughRing(file), times: READS },
      { run: fsRead(fd), times: READS },
      { run: bareReadSync(fd), times: READS },
    ]);
    await memory.blkfront.close();
    await file.blkfront.close();
    await image.close();
    ramDisk.close();
    const pool = 'fs.read at depth 32 of the file';
    return [
      faster('blk/randread-4k-qd32-memory', 'IOPS', memoryNs!, pool, poolNs!),
      faster('blk/randread-4k-qd32-file', 'IOPS', fileNs!, pool, poolNs!),
      faster('blk/randread-4k-qd32-file-vs-readSync', 'IOPS', fileNs!, 'a readSync loop', syncNs!),
    ];
  } finally {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  }
}
