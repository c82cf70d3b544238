/** `ringside net` */
import {
  type CapturedFrame,
  CaptureError,
  CaptureReader,
  encodePcapngFrame,
  encodePcapngHeader,
  type Mode,
} from '@ringside/netif';
import * as fs from 'node:fs';
import { bringUpHost, plugVif, reportOf } from '../scenario/bring-up.ts';
import { type NetEnd, runBulk, runPing } from '../workload/net-jobs.ts';
import { runReplay } from '../workload/net-replay.ts';
import type { NetResult } from '../workload/net-result.ts';
import { Progress } from '../workload/progress.ts';
import { failure, fileError, usageError } from './errors.node.ts';
import { counted } from './format.ts';
import { isGzip, readInput } from './input-file.node.ts';
import { assertDistinct, OutputFile, readChunks } from './output-file.node.ts';
import { counterTable, netTable, refusedLines } from './report.ts';
import type { CommonOptions, Outcome, Session } from './session.node.ts';

/** Options of `ringside net`. */
export interface NetOptions extends CommonOptions {
  readonly pcap?: string;
  readonly out?: string;
  readonly workload?: 'bulk' | 'ping';
  readonly size?: number;
  readonly count?: number;
  readonly rx?: Mode;
  readonly tx?: Mode;
}

const GUEST_PAGES = 2048;

/** Frames from one guest to another, across both vifs and the bridge of the driver domain. */
export async function net(session: Session, options: NetOptions): Promise<Outcome> {
  checkOptions(options);
  const { pcap, out, rx, tx } = options;
  const capture = pcap === undefined ? undefined : openCapture(pcap);
  const output = out === undefined ? undefined : new OutputFile(out);
  const machine = session.createMachine();

  const progress = new Progress();
  session.display.step('connect', [progress]);
  // In a capture both sides of each conversation speak: one guest plays them all, so the bridge must not learn.
  const host = await bringUpHost(machine, capture === undefined ? {} : { ageingNs: 0 });
  const plug = async (name: string) => {
    const domain = await host.toolstack.createDomain({ name, pages: GUEST_PAGES });
    session.name(host.driver, domain);
    return { domain, vif: await plugVif(host, domain, { rx, tx }) };
  };
  const [sender, receiver] = [await plug('guest1'), await plug('guest2')];
  const end = ({ domain, vif }: typeof sender): NetEnd => ({ guest: domain.guest, vif });
  const [from, to] = [end(sender), end(receiver)];

  session.display.step(capture === undefined ? (options.workload ?? 'bulk') : 'replay', [progress]);
  let result: NetResult;
  if (capture !== undefined && output !== undefined) {
    const receivedOn = { name: 'guest2 vif 0', snapBytes: 0 };
    for (const piece of encodePcapngHeader([receivedOn])) output.append(piece);
    const onFrame = (frame: CapturedFrame) =>
      output.append(encodePcapngFrame({ ...frame, interfaceId: 0 }));
    result = await runReplay({ from, to, frames: capture, onFrame, progress });
  } else {
    const run = options.workload === 'ping' ? runPing : runBulk;
    const seed = machine.random.fork('net').u32();
    result = await run({
      from,
      to,
      count: options.count,
      frameBytes: options.size,
      seed,
      progress,
    });
  }
  session.display.step('disconnect', []);
  await Promise.all([sender.vif.close(), receiver.vif.close()]);

  const { failures, ...rest } = result;
  // For people and tshark the first frame is number 1.
  const refused = result.refused.map((frame) => ({
    ...frame,
    frameNumber: frame.frameNumber + 1,
  }));
  if (failures.length === 0) output?.commit();
  const modes = { tx: sender.vif.modes.tx, rx: receiver.vif.modes.rx };
  const where = { from: sender.domain.name, to: receiver.domain.name, modes };
  const domains = [host.driver, sender.domain, receiver.domain].map(reportOf);
  return {
    ok: failures.length === 0 && refused.length === 0,
    result: { net: { ...where, ...rest }, domains, refused, out, failures },
    lines: [
      ...netTable([{ ...where, ...result }]),
      '',
      ...counterTable(domains),
      '',
      `${counted(result.frames, 'frame')}, ${counted(result.verifiedBytes, 'byte')} compared`,
    ],
    complaints: [...failures, ...refusedLines(refused)],
  };
}

function checkOptions({ pcap, out, workload, size, count: frames, trace }: NetOptions): void {
  if ((pcap === undefined) === (workload === undefined)) {
    throw usageError('net needs either --pcap IN --out OUT or --workload bulk|ping');
  }
  if ((pcap === undefined) !== (out === undefined))
    throw usageError('--pcap and --out go together');
  if (pcap !== undefined && (size !== undefined || frames !== undefined)) {
    throw usageError('--size and --count are of --workload; --pcap sends what is in the capture');
  }
  assertDistinct({ '--pcap': pcap, '--out': out, '--trace': trace });
}

/**
 * The frames of a capture file, read as they are asked for; a gzipped one is unpacked in memory. Throws CliError; the file
 * is looked at before it returns.
 */
function openCapture(file: string): Iterable<CapturedFrame> {
  let fd: number;
  try {
    const kind = fs.statSync(file);
    if (kind.isDirectory()) throw failure(`${file}: is a directory, not a capture`);
    if (!kind.isFile()) throw failure(`${file}: is not a regular file`);
    fd = fs.openSync(file, 'r');
    const start = new Uint8Array(2);
    fs.readSync(fd, start, 0, start.length, 0);
    if (!isGzip(start)) return framesOf(openChunks(fd, file), file);
    fs.closeSync(fd);
  } catch (error) {
    throw fileError(file, error);
  }
  return framesOf([readInput(file)], file);
}

function* openChunks(fd: number, file: string): Generator<Uint8Array> {
  try {
    yield* readChunks(fd, file);
  } finally {
    fs.closeSync(fd);
  }
}

function* framesOf(chunks: Iterable<Uint8Array>, file: string): Generator<CapturedFrame> {
  const reader = new CaptureReader();
  let frames = 0;
  try {
    for (const chunk of chunks) {
      for (const frame of reader.push(chunk.slice())) {
        frames++;
        yield frame;
      }
    }
    reader.end();
  } catch (error) {
    throw error instanceof CaptureError ? failure(`${file}: ${error.message}`) : error;
  }
  if (frames === 0) throw failure(`${file}: the capture has no frames`);
}
