/** The lab with real devices: the grants of a disk, and of two vifs, when connected, in the middle of work, and closed. */
import { type Disk, memoryDisk } from '@ringside/blkif';
import { bringUpHost, type Host, plugDisk, plugVif } from '../scenario/bring-up.ts';
import { runDiskJob } from '../workload/disk-job.ts';
import { runBulk } from '../workload/net-jobs.ts';
import { patternSource } from '../workload/pattern.ts';
import { Progress } from '../workload/progress.ts';
import { type Lab, takeMoment } from './moment.ts';

const DISK_BYTES = 1 << 20;
const IODEPTH = 8;
const FRAMES = 2000;

async function bringUp({ machine, names }: Lab): Promise<Host> {
  const host = await bringUpHost(machine);
  names.set(0, 'Domain-0').set(host.driver.guest.id, host.driver.name);
  return host;
}

/** A guest reads from a disk that a driver domain serves. Resolves with what was wrong with the bytes, empty if all is well. */
export async function runDiskLab(lab: Lab): Promise<readonly string[]> {
  const { machine, names, onMoment } = lab;
  const host = await bringUp(lab);
  const guest1 = await host.toolstack.createDomain({ name: 'guest1', pages: 1024 });
  names.set(guest1.guest.id, guest1.name);
  const seed = machine.random.fork('disk').u32();
  const content = new Uint8Array(DISK_BYTES);
  patternSource(seed).read(0, [content]);
  const served = tellingDisk(memoryDisk({ content }), DISK_BYTES / 2, () =>
    onMoment(takeMoment(machine, 'half of the disk is read: driver serves a request')),
  );
  const disk = await plugDisk(host, guest1, served);
  onMoment(takeMoment(machine, 'the disk is connected'));
  const job = { guest: guest1.guest, disk, iodepth: IODEPTH, seed, expected: patternSource(seed) };
  const failures = await repeated(lab, () => runDiskJob({ ...job, workload: 'randread' }));
  onMoment(takeMoment(machine, 'the disk is read, and idle'));
  await disk.close();
  onMoment(takeMoment(machine, 'the disk is closed'));
  return failures;
}

/** A disk that tells when so many bytes have been read, before it reads on: who waits for it has granted pages. */
function tellingDisk(disk: Disk, afterBytes: number, tell: () => void): Disk {
  let leftBytes = afterBytes;
  return {
    sizeBytes: disk.sizeBytes,
    readOnly: disk.readOnly,
    read(offsetBytes, views) {
      const isBefore = leftBytes > 0;
      for (const view of views) leftBytes -= view.length;
      if (isBefore && leftBytes <= 0) tell();
      return disk.read(offsetBytes, views);
    },
    write: (offsetBytes, views) => disk.write(offsetBytes, views),
    flush: () => disk.flush(),
    close: () => disk.close(),
  };
}

/** One guest sends to another, the first by flipping pages, the second by copies. Resolves as `runDiskLab` does. */
export async function runNetLab(lab: Lab): Promise<readonly string[]> {
  const { machine, names, onMoment } = lab;
  const host = await bringUp(lab);
  const plug = async (name: string, mode: 'flip' | 'copy') => {
    const domain = await host.toolstack.createDomain({ name, pages: 2048 });
    names.set(domain.guest.id, name);
    return { guest: domain.guest, vif: await plugVif(host, domain, { rx: mode, tx: mode }) };
  };
  const [from, to] = [await plug('guest1', 'flip'), await plug('guest2', 'copy')];
  onMoment(takeMoment(machine, 'both vifs are connected'));
  const seed = machine.random.fork('net').u32();
  const progress = new HalfWay(() =>
    onMoment(takeMoment(machine, 'half of the frames have arrived')),
  );
  const failures = await repeated(lab, () => runBulk({ from, to, count: FRAMES, seed, progress }));
  onMoment(takeMoment(machine, 'all frames have arrived'));
  await Promise.all([from.vif.close(), to.vif.close()]);
  onMoment(takeMoment(machine, 'both vifs are closed'));
  return failures;
}

/** Tells once, when a job is half done: whoever reports progress is in the midst of its work. */
class HalfWay extends Progress {
  readonly #tell: () => void;
  #isOver = false;

  constructor(tell: () => void) {
    super();
    this.#tell = tell;
  }

  override advance(by: number): void {
    super.advance(by);
    if (this.#isOver || this.done * 2 < this.total) return;
    this.#isOver = true;
    this.#tell();
  }
}

/** Runs a job once, or as often as the lab wants; what was wrong the last time. */
async function repeated(
  { again = () => false }: Lab,
  run: () => Promise<{ readonly failures: readonly string[] }>,
): Promise<readonly string[]> {
  for (;;) {
    const { failures } = await run();
    if (failures.length > 0 || !again()) return failures;
  }
}
