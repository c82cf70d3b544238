/** How fast something went. */
export interface Rates {
  /** Requests or frames. */
  readonly requests: number;
  readonly bytes: number;
}

/** Whole numbers a second; 0 if no time passed. */
export function perSecond(requests: number, bytes: number, elapsedNs: number): Rates {
  const rate = (count: number) => (elapsedNs > 0 ? Math.round((count * 1e9) / elapsedNs) : 0);
  return { requests: rate(requests), bytes: rate(bytes) };
}
