/** `ringside disk` */
import { type Disk, DiskError } from '@ringside/blkif';
import { openRawDisk } from '@ringside/blkif/node';
import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { bringUpHost, plugDisk, reportOf } from '../scenario/bring-up.ts';
import { type DiskWorkload, isWriting, runDiskJob } from '../workload/disk-job.ts';
import { type BlockSource, patternSource } from '../workload/pattern.ts';
import { Progress } from '../workload/progress.ts';
import { fileError, usageError } from './errors.node.ts';
import { counted } from './format.ts';
import { assertDistinct, OutputFile } from './output-file.node.ts';
import { counterTable, diskTable } from './report.ts';
import type { CommonOptions, Outcome, Session } from './session.node.ts';

/** Options of `ringside disk`, sizes in bytes. */
export interface DiskOptions extends CommonOptions {
  readonly image?: string;
  readonly readOnly?: true;
  readonly writable?: true;
  readonly scratch?: true;
  readonly workload: DiskWorkload;
  readonly bs: number;
  readonly iodepth: number;
  readonly size?: number;
  /** Nanoseconds. */
  readonly runtime?: number;
  readonly out?: string;
}

const SCRATCH_BYTES = 64 * 2 ** 20;
/** Of the pattern that a new scratch disk is full of. */
const SCRATCH_SEED = 0x5c4a;
const PAGE_BYTES = 4096;
/** What the drivers of the guest need besides the workload's own pages. */
const SPARE_PAGES = 1024;
const DRIVER_PAGES = 4096;
/** A machine's own memory ends there; a tenth of it is for the hypervisor's tables. */
const MACHINE_PAGES = 65_536;
const MAX_WORKLOAD_PAGES = 48_000;

/** A guest's requests to one disk, which a driver domain serves from a file. */
export async function disk(session: Session, options: DiskOptions): Promise<Outcome> {
  checkOptions(options);
  const { workload, bs, iodepth, runtime, out } = options;
  const workloadPages = iodepth * Math.ceil(bs / PAGE_BYTES);
  if (workloadPages > MAX_WORKLOAD_PAGES) {
    throw usageError(
      `--bs ${bs} times --iodepth ${iodepth}; allowed: ${MAX_WORKLOAD_PAGES} pages of 4096 bytes in all`,
    );
  }
  const { served, reference } = await openServed(options);
  const copy = out === undefined ? undefined : new OutputFile(out);
  const guestPages = workloadPages + SPARE_PAGES;
  const memoryPages = Math.ceil((guestPages + DRIVER_PAGES) * 1.2) + 2048;
  const machine = session.createMachine(Math.min(MACHINE_PAGES, Math.max(16_384, memoryPages)));

  const progress = new Progress();
  session.display.step('connect', [progress]);
  const host = await bringUpHost(machine, { driverPages: DRIVER_PAGES });
  const domain = await host.toolstack.createDomain({ name: 'guest', pages: guestPages });
  session.name(host.driver, domain);
  const front = await plugDisk(host, domain, served);
  session.display.step(workload, [progress]);
  const compared = workload === 'verify' || workload === 'copy';
  const result = await runDiskJob({
    guest: domain.guest,
    disk: front,
    workload,
    blockBytes: bs,
    iodepth,
    sizeBytes: options.scratch && options.image === undefined ? undefined : options.size,
    runtimeNs: runtime,
    seed: machine.random.fork('disk').u32(),
    expected: compared ? reference : undefined,
    into: copy,
    progress,
  });
  session.display.step('disconnect', []);
  await front.close();

  const ok = result.failures.length === 0;
  const sha256 = copy && ok ? finished(copy) : undefined;
  const domains = [host.driver, domain].map(reportOf);
  const { failures, ...rest } = result;
  return {
    ok,
    result: {
      disk: { domain: domain.name, ...rest },
      domains,
      out: sha256 && out,
      sha256,
      failures,
    },
    lines: [
      ...diskTable([{ domain: domain.name, ...result }]),
      '',
      ...counterTable(domains),
      '',
      ...(result.verifiedBytes > 0 ? [`${counted(result.verifiedBytes, 'byte')} compared`] : []),
      ...(sha256 === undefined ? [] : [`sha256 ${sha256}  ${out}`]),
    ],
    complaints: failures,
  };
}

function checkOptions(options: DiskOptions): void {
  const { image, scratch, writable, readOnly, workload, size, runtime, out, trace } = options;
  if (image === undefined && !scratch) throw usageError('disk needs --image FILE or --scratch');
  if (readOnly && writable) throw usageError('--read-only and --writable exclude each other');
  if (scratch && (writable || readOnly)) {
    throw usageError('--scratch is a disk of its own: leave out --writable and --read-only');
  }
  if (isWriting(workload) && !scratch && !writable) {
    throw usageError(`--workload ${workload} changes the disk: add --scratch, or --writable`);
  }
  if ((workload === 'copy') !== (out !== undefined)) {
    throw usageError('--workload copy and --out FILE go together');
  }
  if (workload === 'copy' && (size !== undefined || runtime !== undefined)) {
    throw usageError('--workload copy takes the whole disk: leave out --size and --runtime');
  }
  assertDistinct({ '--image': image, '--out': out, '--trace': trace });
}

interface Served {
  /** What the driver domain serves. */
  readonly served: Disk;
  /** The same bytes, read without the split driver. */
  readonly reference: BlockSource;
}

async function openServed({ image, scratch, writable, size }: DiskOptions): Promise<Served> {
  if (!scratch) {
    const served = openImage(image!, !writable);
    return { served, reference: sourceOf(openImage(image!, true)) };
  }
  const disk = openScratch(image, size ?? SCRATCH_BYTES);
  if (image === undefined) await fill(disk.served, patternSource(SCRATCH_SEED));
  return disk;
}

/** What is missing is said in the words of every other command. */
function openImage(image: string, readOnly: boolean): Disk {
  try {
    fs.accessSync(image);
  } catch (error) {
    throw fileError(image, error);
  }
  return openRawDisk(image, { readOnly });
}

/** A disk that is gone when the run is, however it ends: a copy of the image, or zeros. Its name is gone at once. */
function openScratch(image: string | undefined, sizeBytes: number): Served {
  if (image !== undefined) void openImage(image, true).close(); // its errors name the image
  if (sizeBytes % 512 !== 0) throw usageError(`--size ${sizeBytes}; allowed: multiples of 512`);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ringside-'));
  const file = path.join(folder, 'scratch.img');
  try {
    if (image === undefined) {
      fs.writeFileSync(file, '');
      fs.truncateSync(file, sizeBytes);
    } else {
      fs.copyFileSync(image, file, fs.constants.COPYFILE_FICLONE);
      fs.chmodSync(file, 0o600);
    }
    return {
      served: openRawDisk(file),
      reference: sourceOf(openRawDisk(file, { readOnly: true })),
    };
  } catch (error) {
    throw error instanceof DiskError ? error : fileError('scratch disk', error);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** Fills a disk, and lets signals through meanwhile. */
async function fill(disk: Disk, source: BlockSource): Promise<void> {
  const chunk = new Uint8Array(1 << 20);
  for (let at = 0; at < disk.sizeBytes; at += chunk.length) {
    const part = chunk.subarray(0, Math.min(chunk.length, disk.sizeBytes - at));
    source.read(at, [part]);
    await disk.write(at, [part]);
    await setImmediate();
  }
}

/** A disk whose reads are done when they return. */
const sourceOf = (disk: Disk): BlockSource => ({
  read: (offsetBytes, views) => void disk.read(offsetBytes, views),
});

/** Puts the copy in its place; its digest is of what is there, read back. */
function finished(copy: OutputFile): string {
  const hash = crypto.createHash('sha256');
  for (const chunk of copy.chunks()) hash.update(chunk);
  copy.commit();
  return hash.digest('hex');
}
