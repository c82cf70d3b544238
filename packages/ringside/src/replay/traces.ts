/** Traces: a header line, the lines of what happened, and a line that ends them. A recording is one or many. */
import { fieldsOf, jsonLines, type Reader, RecordingError } from './reader.ts';

/** A world of its own: domains, and what happened to them. */
export interface Trace<Header, Step> {
  readonly header: Header;
  /** Line of the header. */
  readonly line: number;
  readonly steps: readonly { readonly line: number; readonly step: Step }[];
}

/** What one kind of recording consists of. */
export interface TraceFormat<Header, Step extends { readonly t: string }> {
  /** What it is a recording of. */
  readonly subject: string;
  readonly header: Reader<Header>;
  readonly step: Reader<Step>;
  /** Throws RecordingError for the last line of a trace that does not fit the lines before. */
  readonly checkEnd: (
    end: Extract<Step, { t: 'end' }>,
    steps: readonly Step[],
    where: string,
  ) => void;
}

/** Reads all traces of a recording. Throws RecordingError. */
export function readTraces<Header, Step extends { readonly t: string }>(
  recording: string,
  format: TraceFormat<Header, Step>,
): Trace<Header, Step>[] {
  const traces: Trace<Header, Step>[] = [];
  let open: { line: number; step: Step }[] | undefined;
  let last = 0;
  for (const { number, value } of jsonLines(recording)) {
    const where = `line ${number}`;
    last = number;
    if (fieldsOf(value, where)['t'] === 'hdr') {
      if (open !== undefined) throw new RecordingError(`${where}: the trace before has no end`);
      open = [];
      traces.push({ header: format.header(value, where), line: number, steps: open });
      continue;
    }
    if (open === undefined) {
      throw new RecordingError(
        `${where}: not a recording of ${format.subject}, or outside a trace`,
      );
    }
    const step = format.step(value, where);
    open.push({ line: number, step });
    if (!isEnd(step)) continue;
    const steps = open.map((one) => one.step);
    format.checkEnd(step, steps, where);
    open = undefined;
  }
  if (traces.length === 0) throw new RecordingError('line 1: the recording is empty');
  if (open !== undefined) throw new RecordingError(`line ${last}: the trace has no end`);
  return traces;
}

const isEnd = <Step extends { readonly t: string }>(
  step: Step,
): step is Extract<Step, { t: 'end' }> => step.t === 'end';
