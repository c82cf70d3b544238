/** `ringside grants` */
import { InvalidArgumentError } from 'commander';
import {
  GrantHistory,
  GrantTraceError,
  historyRows,
  type Lab,
  type Moment,
  momentLines,
  namesOf,
  readGrantTrace,
  refusedRows,
  revokedLines,
  runDiskLab,
  runNetLab,
  runSharingLab,
  tableLines,
  takeMoment,
} from '../lab/index.ts';
import { failure, usageError } from './errors.node.ts';
import { counted, fitted, table, timeFormat } from './format.ts';
import { readTextInput } from './input-file.node.ts';
import type { CommonOptions, Outcome, Session } from './session.node.ts';

/** What `--scenario` may be, and who plays it. */
const scenarios = {
  sharing: async (lab: Lab): Promise<readonly string[]> => {
    await runSharingLab(lab);
    return [];
  },
  disk: runDiskLab,
  net: runNetLab,
};
/** The names of the scenarios. */
export const labScenarios = Object.keys(scenarios) as LabScenario[];
/** One of `labScenarios`. */
export type LabScenario = keyof typeof scenarios;

/** Options of `ringside grants`. Its `trace` is read, not written. */
export interface GrantsOptions extends CommonOptions {
  readonly scenario?: LabScenario;
  /** Nanoseconds from the beginning of the trace. */
  readonly at?: number;
  /** Nanoseconds of real time. */
  readonly watch?: number | true;
}

/** Who granted what to whom, who still maps it, and why an end is refused. */
export function grants(session: Session, options: GrantsOptions): Promise<Outcome> {
  const { scenario, trace, at, watch, seed } = options;
  if (trace === undefined) {
    if (at !== undefined) throw usageError('--at is of --trace');
    return playScenario(session, scenario ?? 'sharing', watch);
  }
  if (scenario !== undefined) throw usageError('--scenario and --trace exclude each other');
  if (watch !== undefined) throw usageError('--watch is of --scenario');
  if (seed !== undefined) throw usageError('--seed is of --scenario: what a trace says is fixed');
  return Promise.resolve(readTrace(trace, at));
}

const WATCH_NS = 10e9;
const REDRAW_MS = 250;
const HOME_AND_CLEAR = '\x1b[H\x1b[2J';

async function playScenario(
  session: Session,
  scenario: LabScenario,
  watch: number | true | undefined,
): Promise<Outcome> {
  if (watch !== undefined) checkWatch(session, scenario);
  const machine = session.createMachine();
  const { names } = session;
  const nameOf = namesOf(names);
  const moments: Moment[] = [];
  const endMs = performance.now() + (watch === true ? WATCH_NS : (watch ?? 0)) / 1e6;
  const timer =
    watch === undefined
      ? undefined
      : setInterval(() => {
          const { tables } = takeMoment(machine, 'now');
          const lines = tableLines(tables, nameOf, { resources: true });
          // Terminals may not know their size; the last row is the cursor's.
          const [columns, rows] = [process.stdout.columns || 80, process.stdout.rows || 24];
          const shown = fitted(lines, { columns, rows: rows - 1 });
          process.stdout.write(`${HOME_AND_CLEAR}${shown.join('\n')}\n`);
        }, REDRAW_MS);
  try {
    const failures = await scenarios[scenario]({
      machine,
      names,
      onMoment: (moment) => moments.push(moment),
      again: () => performance.now() < endMs,
    });
    const resources = scenario !== 'sharing';
    return {
      ok: failures.length === 0,
      result: { scenario, domains: Object.fromEntries(names), moments, failures },
      lines: moments.flatMap((moment, i) => [
        ...(i === 0 ? [] : ['']),
        ...momentLines(moment, nameOf, { resources }),
      ]),
      complaints: failures,
    };
  } finally {
    clearInterval(timer);
  }
}

function checkWatch({ options }: Session, scenario: LabScenario): void {
  if (scenario === 'sharing') throw usageError('--watch is of --scenario disk and net');
  if (options.json) throw usageError('--watch and --json exclude each other');
  if (!process.stdout.isTTY) throw usageError('--watch needs a terminal');
}

function readTrace(file: string, at: number | undefined): Outcome {
  const { records, nameOf } = parsed(file);
  const history = new GrantHistory();
  const fromNs = records[0]!.timeNs;
  const toNs = records.at(-1)!.timeNs;
  const timeNs = at ?? toNs;
  for (const record of records) if (record.timeNs <= timeNs) history.add(record);
  const times = timeFormat(toNs);
  const format = { nameOf, times };
  const standing = historyRows(history, format);
  const refused = refusedRows(history.refused, format);
  const ends = history.refused.reduce((sum, { times: refusals }) => sum + refusals, 0);
  const domains = new Set(records.map(({ domid }) => domid));
  const stand = counted(history.grants.length, 'grant stands', 'grants stand');
  return {
    ok: true,
    result: {
      clock: undefined, // what the times of a trace are of, it does not tell
      trace: file,
      fromNs,
      toNs,
      timeNs,
      domains: Object.fromEntries([...domains].map((domid) => [domid, nameOf(domid)])),
      grants: history.grants.map((grant) => ({ ...grant, mappings: history.mappingsOf(grant) })),
      revoked: history.revoked,
      refused: history.refused,
    },
    lines: [
      ...(standing.length === 0 ? ['nothing is granted'] : table(standing, STANDING)),
      ...revokedLines(history, nameOf),
      '',
      ...table(refused, REFUSED),
      `the trace covers ${times.span(fromNs, toNs)}`,
      `at ${times.time(timeNs)} ${stand}; ${counted(ends, 'end was', 'ends were')} refused`,
    ],
    complaints: [],
  };
}

const STANDING = ['left', 'right', 'left', 'left', 'right', 'left'] as const;
const REFUSED = ['right', 'right', 'right', 'left', 'right', 'left'] as const;

/** It has a record at least. */
function parsed(file: string): ReturnType<typeof readGrantTrace> {
  try {
    return readGrantTrace(readTextInput(file));
  } catch (error) {
    throw error instanceof GrantTraceError ? failure(`${file}: ${error.message}`) : error;
  }
}

const UNITS_NS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, µs: 1e3, ms: 1e6, s: 1e9 };

/** A time in a trace, in nanoseconds: `1250us`, `1.25ms`, `0.5s`; microseconds unless said otherwise. */
export function parseTraceTime(text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?(ns|us|µs|ms|s)?$/.exec(text);
  if (match) return Math.round(Number(match[1]) * UNITS_NS[match[2] ?? 'us']!);
  throw new InvalidArgumentError('Allowed: a time, as 1250us, 1.25ms or 0.5s.');
}
