/** `ringside grants` */
import { InvalidArgumentError } from 'commander';
import * as fs from 'node:fs';
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
  traceTime,
} from '../lab/index.ts';
import { failure, fileError, usageError } from './errors.node.ts';
import { count, table } from './format.ts';
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
          const fitting = lines.slice(0, process.stdout.rows - 1);
          process.stdout.write(`${HOME_AND_CLEAR}${fitting.join('\n')}\n`);
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
  const timeNs = at ?? records.at(-1)?.timeNs ?? 0;
  for (const record of records) if (record.timeNs <= timeNs) history.add(record);
  const standing = historyRows(history, nameOf);
  const refused = refusedRows(history.refused, nameOf);
  const ends = history.refused.reduce((sum, { times }) => sum + times, 0);
  const domains = new Set(records.map(({ domid }) => domid));
  return {
    ok: true,
    result: {
      trace: file,
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
      `${numberOf(history.grants.length, 'grant stands', 'grants stand')} at ${traceTime(timeNs)}; ${numberOf(ends, 'end was', 'ends were')} refused`,
    ],
    complaints: [],
  };
}

const numberOf = (amount: number, one: string, many: string): string =>
  `${count(amount)} ${amount === 1 ? one : many}`;

const STANDING = ['left', 'right', 'left', 'left', 'right', 'left'] as const;
const REFUSED = ['right', 'right', 'right', 'left', 'right', 'left'] as const;

function parsed(file: string): ReturnType<typeof readGrantTrace> {
  try {
    return readGrantTrace(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    if (error instanceof GrantTraceError) throw failure(`${file}: ${error.message}`);
    throw fileError(file, error);
  }
}

const UNITS_NS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, µs: 1e3, ms: 1e6, s: 1e9 };

/** A time in a trace, in nanoseconds: `1250us`, `1.25ms`, `0.5s`; microseconds unless said otherwise. */
export function parseTraceTime(text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?(ns|us|µs|ms|s)?$/.exec(text);
  if (match) return Math.round(Number(match[1]) * UNITS_NS[match[2] ?? 'us']!);
  throw new InvalidArgumentError('Allowed: a time, as 1250us, 1.25ms or 0.5s.');
}
