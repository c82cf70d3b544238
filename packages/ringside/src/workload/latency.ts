/**
 * A latency histogram with log-linear buckets, as fio and HdrHistogram have them: each power of two is divided into 64,
 * so a percentile is at most 1.6 % too high, whatever the range, and recording costs a few instructions.
 */

const SUB_BITS = 6;
const SUB_BUCKETS = 1 << SUB_BITS;
/** Values up to 2^42 ns, more than an hour, have buckets of their own. */
const MAX_EXPONENT = 42;
const BUCKETS = (MAX_EXPONENT - SUB_BITS + 1) * SUB_BUCKETS;

/** All in nanoseconds; zeros when nothing was recorded. */
export interface LatencySummary {
  readonly min: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly 'p99.9': number;
  readonly max: number;
}

/** See above. It takes 10 KiB, whatever is recorded. */
export class LatencyHistogram {
  #count = 0;
  #sumNs = 0;
  #minNs = Infinity;
  #maxNs = 0;
  readonly #buckets = new Uint32Array(BUCKETS);

  get count(): number {
    return this.#count;
  }

  record(ns: number): void {
    const value = Math.max(0, Math.round(ns));
    this.#count++;
    this.#sumNs += value;
    if (value < this.#minNs) this.#minNs = value;
    if (value > this.#maxNs) this.#maxNs = value;
    this.#buckets[bucketOf(value)]! += 1;
  }

  /** The least value that `percent` of all values (0 to 100) do not exceed, up to the width of a bucket. */
  percentile(percent: number): number {
    const rank = Math.max(1, Math.ceil((this.#count * percent) / 100));
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.#buckets[bucket]!;
      if (seen >= rank) return Math.min(highestOf(bucket), this.#maxNs);
    }
    return this.#maxNs;
  }

  summary(): LatencySummary {
    const any = this.#count > 0;
    return {
      min: any ? this.#minNs : 0,
      mean: any ? Math.round(this.#sumNs / this.#count) : 0,
      p50: this.percentile(50),
      p90: this.percentile(90),
      p99: this.percentile(99),
      'p99.9': this.percentile(99.9),
      max: this.#maxNs,
    };
  }
}

function bucketOf(value: number): number {
  if (value < SUB_BUCKETS) return value;
  const exponent = Math.floor(Math.log2(value));
  if (exponent >= MAX_EXPONENT) return BUCKETS - 1;
  const sub = Math.floor(value / 2 ** (exponent - SUB_BITS)) - SUB_BUCKETS;
  return (exponent - SUB_BITS + 1) * SUB_BUCKETS + sub;
}

/** The highest value that falls into a bucket; the last one takes all that is left. */
function highestOf(bucket: number): number {
  if (bucket === BUCKETS - 1) return Infinity;
  const power = Math.floor(bucket / SUB_BUCKETS);
  if (power === 0) return bucket;
  return ((bucket % SUB_BUCKETS) + SUB_BUCKETS + 1) * 2 ** (power - 1) - 1;
}
