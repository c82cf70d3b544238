/**
 * Grants that their peer still used when they were ended. Xen does not say when it lets go, so the guest looks again from
 * time to time (Linux: gnttab_add_deferred() and its timer).
 */
import { type Observable, Subject } from 'rxjs';
import type { Domain } from '../machine/machine.ts';
import type { GrantRef } from '../machine/page.ts';
import type { GuestPage } from './page-pool.ts';

/** First pause, and the longest: it doubles while nobody lets go. */
const PAUSE_NS = 1e6;
const LONGEST_PAUSE_NS = 1e9;
/** So many looks in vain, about 20 seconds, and the queue is left to `retry`: a peer that never lets go keeps no run alive. */
const LOOKS_IN_VAIN = 32;

/** A grant on the queue. */
export interface DeferredEnd {
  readonly ref: GrantRef;
  /** The page that was given up together with the grant. */
  readonly page: GuestPage | undefined;
  /** The peer has let go: the reference is free again. */
  ended: boolean;
}

/** A grant that has ended after all: `ref` is free, and so is `page`, if one was given up with it. */
export type Released = Pick<DeferredEnd, 'ref' | 'page'>;

export class DeferredEnds {
  /** See GrantReferences. */
  readonly released$: Observable<readonly Released[]>;
  readonly #released = new Subject<readonly Released[]>();
  readonly #domain: Domain;
  readonly #tryEnd: (ref: GrantRef) => boolean;
  #queue: DeferredEnd[] = [];
  /** Ended, and not told yet. */
  #news: Released[] = [];
  #watching = false;
  #pauseNs = PAUSE_NS;
  #inVain = 0;

  /** `tryEnd` ends a grant of the queue and frees its reference, or returns false. */
  constructor(domain: Domain, tryEnd: (ref: GrantRef) => boolean) {
    this.#domain = domain;
    this.#tryEnd = tryEnd;
    this.released$ = this.#released;
  }

  get length(): number {
    return this.#queue.length;
  }

  add(ref: GrantRef, page: GuestPage | undefined): DeferredEnd {
    const deferred: DeferredEnd = { ref, page, ended: false };
    this.#queue.push(deferred);
    this.#startOver();
    if (!this.#watching) void this.#watch();
    return deferred;
  }

  /** Looks at every grant of the queue; returns how many remain. */
  retry(): number {
    for (const deferred of this.#queue) {
      deferred.ended = this.#tryEnd(deferred.ref);
      if (!deferred.ended) continue;
      if (this.#news.length === 0) this.#domain.machine.scheduler.post(this.#tell);
      this.#news.push({ ref: deferred.ref, page: deferred.page });
    }
    const before = this.#queue.length;
    this.#queue = this.#queue.filter(({ ended }) => !ended);
    if (this.#queue.length < before) this.#startOver();
    return this.#queue.length;
  }

  #startOver(): void {
    this.#pauseNs = PAUSE_NS;
    this.#inVain = 0;
  }

  async #watch(): Promise<void> {
    this.#watching = true;
    while (this.#queue.length > 0 && this.#inVain < LOOKS_IN_VAIN) {
      await this.#domain.machine.scheduler.sleep(this.#pauseNs);
      if (!this.#domain.alive) return;
      this.#pauseNs = Math.min(2 * this.#pauseNs, LONGEST_PAUSE_NS);
      this.#inVain += 1;
      this.retry();
    }
    this.#watching = false;
  }

  /** In a task of its own: whoever hears of it may grant and end as they like. */
  readonly #tell = (): void => {
    const news = this.#news;
    this.#news = [];
    this.#released.next(news);
  };
}
