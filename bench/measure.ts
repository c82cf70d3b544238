/** Paired timings: subject and baseline in turn, in the same run, so that a slow moment of the machine hits both. */

/** One line of the results; names are stable. */
export interface Result {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What it is compared with, in the same unit; absent where nothing obvious does the same. */
  readonly baseline?: string;
  readonly baselineValue?: number;
  /** How many times better than (rates) or as long as (times) the baseline. */
  readonly ratio?: number;
}

/** Does its work `times` times. */
export type Subject = (times: number) => void | Promise<void>;

/** How many rounds are counted; the first is warm-up, and not. */
const ROUNDS = 9;

/** Nanoseconds per time of a subject, by the clock. */
async function timeNs(subject: Subject, times: number): Promise<number> {
  const start = performance.now();
  await subject(times);
  return ((performance.now() - start) * 1e6) / times;
}

const median = (values: number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
};

/** Medians of the subjects' nanoseconds per time, measured in turn. */
export async function inTurn(
  subjects: readonly { readonly run: Subject; readonly times: number }[],
): Promise<number[]> {
  const samples: number[][] = subjects.map(() => []);
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [i, { run, times }] of subjects.entries()) {
      const sample = await timeNs(run, times);
      if (round > 0) samples[i]!.push(sample);
    }
  }
  return samples.map(median);
}

export const perSecond = (ns: number): number => 1e9 / ns;

/** A time against a baseline's time: a ratio of 2 is twice as long. */
export const slower = (
  name: string,
  valueNs: number,
  baseline: string,
  baselineNs: number,
): Result => ({
  name,
  value: valueNs,
  unit: 'ns',
  baseline,
  baselineValue: baselineNs,
  ratio: valueNs / baselineNs,
});

/** A rate against a baseline's rate, both given as times: a ratio of 2 is twice as many. */
export const faster = (
  name: string,
  unit: string,
  valueNs: number,
  baseline: string,
  baselineNs: number,
): Result => ({
  name,
  value: perSecond(valueNs),
  unit,
  baseline,
  baselineValue: perSecond(baselineNs),
  ratio: baselineNs / valueNs,
});
