/** `--trace FILE.json`: the machine's trace as Chrome trace JSON, written while the run goes on. */
import { ChromeTrace, type DomainName, type Machine } from '@ringside/gnttab-core';
import { OutputFile } from './output-file.node.ts';

/** Follows a machine's trace from its creation until `finish`. */
export class TraceFile {
  readonly #file: OutputFile;
  readonly #machine: Machine;
  readonly #sink = new ChromeTrace();
  /** Why it could not be written; told at the end, for the domain that just ran has nothing to do with it. */
  #error: unknown;

  /** Switches the machine's trace on. Throws CliError if the file cannot be written. */
  constructor(path: string, machine: Machine) {
    this.#file = new OutputFile(path);
    this.#machine = machine;
    this.#append(this.#sink.start());
    machine.trace.onRecords = (records) => this.#append(this.#sink.add(records));
    machine.trace.enabled = true;
  }

  /** Completes the file with what has happened up to now. Throws CliError if it could not be written. */
  finish(nameOf: DomainName): void {
    const { trace } = this.#machine;
    trace.flush();
    trace.enabled = false;
    trace.onRecords = undefined;
    this.#append(this.#sink.end(nameOf));
    if (this.#error !== undefined) {
      this.#file.discard();
      throw this.#error;
    }
    this.#file.commit();
  }

  #append(text: string): void {
    if (this.#error !== undefined) return;
    try {
      this.#file.append(Buffer.from(text));
    } catch (error) {
      this.#error = error;
      this.#machine.trace.enabled = false;
    }
  }
}
