/** `ringside replay` */
import type { Abi } from '@ringside/gnttab-core/abi';
import * as crypto from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import {
  type Difference,
  readEvtchnRecording,
  readGnttabRecording,
  RecordingError,
  replayEvtchnTrace,
  replayGnttabTrace,
  type Sha256,
  type TraceResult,
} from '../replay/index.ts';
import { Progress } from '../workload/progress.ts';
import { failure } from './errors.node.ts';
import { count, counted, duration, table } from './format.ts';
import { readTextInput } from './input-file.node.ts';
import type { CommonOptions, Outcome, Session } from './session.node.ts';

/** Options of `ringside replay`. */
export interface ReplayOptions extends CommonOptions {
  /** How many differences are shown. */
  readonly differences: number;
}

/** Options of `ringside replay gnttab`. */
export interface GnttabReplayOptions extends ReplayOptions {
  readonly abi: Abi;
}

/** What one kind of recording is read and replayed with. */
interface Kind<Trace> {
  readonly read: (recording: string) => readonly Trace[];
  readonly replay: (trace: Trace) => TraceResult;
  readonly stepsOf: (trace: Trace) => number;
  /** What of the options is part of the result. */
  readonly said: object;
}

/** Replays recordings of grant table operations. */
export function replayGnttab(
  session: Session,
  files: readonly string[],
  options: GnttabReplayOptions,
): Promise<Outcome> {
  const { abi } = options;
  return replayFiles(session, files, options, {
    read: readGnttabRecording,
    replay: (trace) => replayGnttabTrace(trace, { abi, sha256 }),
    stepsOf: ({ steps }) => steps.length,
    said: { abi },
  });
}

/** Replays recordings of event channel operations; each domain has the layout that its recording says. */
export function replayEvtchn(
  session: Session,
  files: readonly string[],
  options: ReplayOptions,
): Promise<Outcome> {
  return replayFiles(session, files, options, {
    read: readEvtchnRecording,
    replay: (trace) => replayEvtchnTrace(trace, { sha256 }),
    stepsOf: ({ steps }) => steps.length,
    said: {},
  });
}

/** How the replay of a file went. */
interface FileResult {
  readonly file: string;
  readonly traces: number;
  readonly steps: number;
  readonly hypercalls: number;
  readonly mismatches: number;
  readonly timeNs: number;
}

type FileDifference = Difference & { readonly file: string };

/** Every file is read before the first is replayed, so that a damaged one shows at once. */
async function replayFiles<Trace>(
  session: Session,
  files: readonly string[],
  { differences: shown, verbose }: ReplayOptions,
  { read, replay, stepsOf, said }: Kind<Trace>,
): Promise<Outcome> {
  const recordings = files.map((file) => ({
    file,
    traces: inFile(file, () => read(readTextInput(file))),
  }));
  const progress = new Progress();
  const total = recordings.flatMap(({ traces }) => traces.map(stepsOf)).reduce((a, b) => a + b, 0);
  progress.begin('', total, 'steps');
  session.display.step('replay', [progress]);

  const results: FileResult[] = [];
  const differences: FileDifference[] = [];
  for (const { file, traces } of recordings) {
    progress.phase = file;
    const start = performance.now();
    const done: TraceResult[] = [];
    for (const trace of traces) {
      done.push(inFile(file, () => replay(trace)));
      progress.advance(stepsOf(trace));
      // Signals and the display get their turn.
      await setImmediate();
    }
    const timeNs = Math.round((performance.now() - start) * 1e6);
    results.push({ file, ...sum(done), timeNs });
    differences.push(...done.flatMap((one) => one.differences).map((one) => ({ file, ...one })));
  }

  const ok = differences.length === 0;
  const wrong = results.filter(({ mismatches }) => mismatches > 0).length;
  const first = differences.slice(0, shown);
  return {
    ok,
    result: { ...said, files: results, total: totalOf(results), differences: first },
    lines: [...resultTable(results), ...first.flatMap((one) => ['', ...describe(one, verbose)])],
    complaints: ok
      ? []
      : [
          `${counted(differences.length, 'mismatch', 'mismatches')} in ${count(wrong)} of ${counted(results.length, 'file')}`,
        ],
  };
}

const sha256: Sha256 = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');

/** Says which file an error is about. Throws CliError. */
function inFile<T>(file: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof RecordingError) throw failure(`${file}: ${error.message}`);
    throw error;
  }
}

const sum = (done: readonly TraceResult[]) => ({
  traces: done.length,
  steps: done.reduce((total, { steps }) => total + steps, 0),
  hypercalls: done.reduce((total, { hypercalls }) => total + hypercalls, 0),
  mismatches: done.reduce((total, { differences }) => total + differences.length, 0),
});

function totalOf(results: readonly FileResult[]): Omit<FileResult, 'file'> {
  const total = { traces: 0, steps: 0, hypercalls: 0, mismatches: 0, timeNs: 0 };
  for (const result of results) {
    for (const name of Object.keys(total) as (keyof typeof total)[]) total[name] += result[name];
  }
  return total;
}

function resultTable(results: readonly FileResult[]): string[] {
  const rows = [...results, { file: 'total', ...totalOf(results) }].map((row) => [
    row.file,
    ...[row.traces, row.steps, row.hypercalls, row.mismatches].map(count),
    duration(row.timeNs),
  ]);
  return table([['file', 'traces', 'steps', 'hypercalls', 'mismatches', 'time'], ...rows]);
}

function describe(difference: FileDifference, verbose = false): string[] {
  const { file, trace, line, step, action, comment, argument, what, expected, got, hint, stack } =
    difference;
  return [
    `${file}:${line}: ${trace}, step ${step}: ${action}${comment === undefined ? '' : ` (${comment})`}`,
    ...(argument === undefined ? [] : [`  ${argument}`]),
    `  ${what}`,
    `    expected  ${expected}`,
    `    got       ${got}`,
    ...(hint === undefined ? [] : [`    hint      ${hint}`]),
    ...(verbose && stack !== undefined ? stack.split('\n').map((one) => `    ${one}`) : []),
  ];
}
