/** Does the steps of a trace one after the other, and keeps what is not as recorded. */
import type { Machine } from '@ringside/gnttab-core';
import type { Difference, Report, TraceResult } from './difference.ts';
import { RecordingError } from './reader.ts';
import type { Trace } from './traces.ts';

/** What one kind of trace is replayed with. */
export interface Replay<Step> {
  /**
   * Makes the machine that the trace begins with, and returns what does a step. What the machine does not take (RangeError)
   * is a mistake of the recording.
   */
  begin(report: Report): (step: Step) => void;
  /** What a step does, in a few words. */
  action(step: Step): string;
  /** The arguments of a step, or of an element of its batch. */
  argument(step: Step, element: number | undefined): string | undefined;
}

/** Replays a trace. Throws RecordingError for one that makes no sense. */
export function replayTrace<Step extends { readonly t: string; readonly c?: string | undefined }>(
  { header, line: firstLine, steps }: Trace<{ readonly name: string }, Step>,
  replay: Replay<Step>,
): TraceResult {
  const differences: Difference[] = [];
  let at: Pick<Difference, 'line' | 'step' | 'action' | 'comment'>;
  at = { line: firstLine, step: 0, action: 'create the domains' };
  let current: Step | undefined;

  const report: Report = (what, expected, got, about = {}) => {
    const argument = current && replay.argument(current, about.element);
    differences.push({
      trace: header.name,
      ...at,
      ...(argument !== undefined && { argument }),
      what,
      expected,
      got,
      ...(about.hint !== undefined && { hint: about.hint }),
    });
  };

  // After an exception of the machine's nothing can be said any more: it is the last difference.
  try {
    const perform = begin(replay, report);
    for (const [index, { line, step }] of steps.entries()) {
      const where = { line, step: index + 1, action: replay.action(step) };
      at = step.c === undefined ? where : { ...where, comment: step.c };
      current = step;
      perform(step);
    }
  } catch (error) {
    if (error instanceof RecordingError) {
      throw new RecordingError(`line ${at.line}: ${error.message}`);
    }
    const isError = error instanceof Error;
    report('exception', 'none', isError ? `${error.name}: ${error.message}` : String(error));
    const last = differences.pop()!;
    differences.push(isError && error.stack ? { ...last, stack: error.stack } : last);
  }
  const hypercalls = steps.filter(({ step }) => step.t === 'hc').length;
  return { name: header.name, steps: steps.length, hypercalls, differences };
}

/** What the machine does not take is not its fault: nothing has been replayed yet. */
function begin<Step>(replay: Replay<Step>, report: Report): (step: Step) => void {
  try {
    return replay.begin(report);
  } catch (error) {
    throw error instanceof RangeError ? new RecordingError(error.message) : error;
  }
}

/** The machine's pre-emption check fires every n-th time; 0 is never. */
export function preemptEvery(machine: Machine, every: number): void {
  let checks = 0;
  machine.preemptCheck = every === 0 ? () => false : () => ++checks % every === 0;
}
