/**
 * One run of a command: its machine, log, trace, display, and its end. However a run ends, a trace that was asked for is
 * complete, and no other file is left half-written.
 */
import { createMachine, type Machine } from '@ringside/gnttab-core';
import pino from 'pino';
import type { RunningDomain } from '../toolstack/index.ts';
import { Display } from './display.node.ts';
import { EXIT, explain, failure } from './errors.node.ts';
import { discardUnfinished } from './output-file.node.ts';
import { TraceFile } from './trace-file.node.ts';

/** Options that all commands take. */
export interface CommonOptions {
  readonly seed?: number;
  readonly trace?: string;
  readonly json?: true;
  readonly verbose?: true;
}

/** What a command leaves to be said. */
export interface Outcome {
  readonly ok: boolean;
  /** For `--json`: what is printed, after the command's name and the seed. */
  readonly result: object;
  /** For people. */
  readonly lines: readonly string[];
  /** What was wrong. */
  readonly complaints: readonly string[];
}

/** What `Session.run` runs. */
export type Command = (session: Session) => Promise<Outcome>;

const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

/** See above. Made once for each run. */
export class Session {
  readonly options: CommonOptions;
  readonly display: Display;
  /** Every domain to be named in the trace. */
  readonly names = new Map<number, string>([[0, 'Domain-0']]);
  readonly #log: pino.Logger;
  #trace: TraceFile | undefined;
  #isOver = false;

  constructor(options: CommonOptions) {
    this.options = options;
    const destination = pino.destination({ dest: 2, sync: true });
    this.#log = pino({ level: options.verbose ? 'debug' : 'warn', base: null }, destination);
    this.display = new Display(process.stderr, process.env);
  }

  /** The machine of this run, which the trace follows. Once. Throws CliError if the trace cannot be written. */
  createMachine(memoryPages?: number): Machine {
    const { seed, trace } = this.options;
    const machine = createMachine({ seed, log: this.#log, ...(memoryPages && { memoryPages }) });
    if (trace !== undefined) this.#trace = new TraceFile(trace, machine);
    return machine;
  }

  /** Notes what domains are called. */
  name(...domains: readonly RunningDomain[]): void {
    for (const { guest, name } of domains) this.names.set(guest.id, name);
  }

  /** Runs a command and says how it went. Resolves with the exit code. */
  async run(name: string, command: Command): Promise<number> {
    for (const [signal, number] of Object.entries(SIGNALS)) {
      process.once(signal, () => this.#interrupted(128 + number));
    }
    // A bug of ours, in a task of the machine's scheduler: nobody else would catch it.
    process.once('uncaughtException', (error) => process.exit(this.#failed(error)));
    process.once('exit', () => this.#stuck());
    try {
      const outcome = await command(this);
      this.#end(outcome.ok);
      this.#print(name, outcome);
      return outcome.ok ? EXIT.ok : EXIT.failed;
    } catch (error) {
      return this.#failed(error);
    }
  }

  #print(command: string, { ok, result, lines, complaints }: Outcome): void {
    for (const line of complaints) complain(line);
    const { seed, json } = this.options;
    if (json) {
      const clock = seed === undefined ? 'real' : 'virtual';
      process.stdout.write(`${JSON.stringify({ command, ok, seed, clock, ...result })}\n`);
    } else {
      const note = seed === undefined ? [] : [`seed ${seed}: all times are of the virtual clock`];
      process.stdout.write([...lines, ...note].map((line) => `${line}\n`).join(''));
    }
  }

  #failed(error: unknown): number {
    const { line, exitCode } = explain(error);
    try {
      this.#end(false);
    } catch (traceError) {
      complain(explain(traceError).line);
    }
    complain(line);
    if (this.options.verbose && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    return exitCode;
  }

  /** Node found nothing left to do, and the run is not over. */
  #stuck(): void {
    if (this.#isOver) return;
    process.exitCode = this.#failed(
      failure('the run came to a standstill: nobody has anything to do'),
    );
  }

  #interrupted(exitCode: number): void {
    try {
      this.#end(false);
    } catch (error) {
      complain(explain(error).line);
    }
    complain('interrupted');
    process.exit(exitCode);
  }

  /** Whatever happens afterwards, nothing is left half-done. */
  #end(isOk: boolean): void {
    this.#isOver = true;
    const trace = this.#trace;
    this.#trace = undefined;
    this.display.end(isOk);
    try {
      trace?.finish((domid) => this.names.get(domid) ?? `domain ${domid}`);
    } finally {
      discardUnfinished();
    }
  }
}

/** One line on stderr. */
export function complain(line: string): void {
  process.stderr.write(`ringside: ${line}\n`);
}
