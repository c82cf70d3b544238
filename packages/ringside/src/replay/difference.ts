/** What a replay finds. */

/** What else helps to understand a difference. */
export interface About {
  /** Index of the batch's element that it is about. */
  readonly element?: number;
  /** Why it may be so. */
  readonly hint?: string | undefined;
}

/** Says that something is not as recorded. */
export type Report = (what: string, expected: string, got: string, about?: About) => void;

/** Something that is not as recorded. */
export interface Difference {
  /** Name of the trace. */
  readonly trace: string;
  /** Line of the recording. */
  readonly line: number;
  /** Step of the trace, from 1. */
  readonly step: number;
  /** What was done. */
  readonly action: string;
  /** The recording's own remark on the step. */
  readonly comment?: string;
  readonly what: string;
  readonly expected: string;
  readonly got: string;
  /** The element of a batch that it is about, with its arguments. */
  readonly argument?: string;
  /** Why it may be so. */
  readonly hint?: string;
  /** Where an exception came from. */
  readonly stack?: string;
}

/** How the replay of a trace went. */
export interface TraceResult {
  readonly name: string;
  readonly steps: number;
  readonly hypercalls: number;
  readonly differences: readonly Difference[];
}

/** The SHA-256 of some bytes, in hexadecimal digits: the host has one. */
export type Sha256 = (bytes: Uint8Array) => string;
