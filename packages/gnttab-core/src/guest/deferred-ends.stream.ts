/**
 * Grants that their peer still used when they were ended. Xen does not say when it lets go, so the guest looks again from
 * time to time, at a few of them each time (Linux: gnttab_add_deferred() and its timer).
 */
import { type Observable, Subject } from 'rxjs';
import type { Domain } from '../machine/machine.ts';
import type { GrantRef } from '../machine/page.ts';
import type { GuestPage } from './page-pool.ts';

/** First pause, and the longest: it doubles while nobody lets go. */
const PAUSE_NS = 1e6;
const LONGEST_PAUSE_NS = 1e9;
/** Grants that one look tries: however long the queue is, a look is short. */
const AT_ONCE = 64;
/**
 * So many looks in vain, about 20 seconds, and the queue is left to `retry`: a peer that never lets go keeps no run alive.
 * More if that is not enough for each grant to have its turn.
 */
const LOOKS_IN_VAIN = 32;

/** A grant on the queue. */
export interface DeferredEnd {
  /** In nobody's hands until the grant has ended. */
  readonly ref: GrantRef;
  /** The page that was given up together with the grant. */
  readonly page: GuestPage | undefined;
  /** The peer has let go: the reference is free again. */
  ended: boolean;
}

/** A grant that has ended after all: `ref` is free, and so is `page`, if one was given up with it. */
export type Released = Pick<DeferredEnd, 'ref' | 'page'>;

/** The queue of one guest, and who looks at it. */
export class DeferredEnds {
  /** See GrantReferences. */
  readonly released$: Observable<readonly Released[]>;
  readonly #released = new Subject<readonly Released[]>();
  readonly #domain: Domain;
  readonly #tryEnd: (ref: GrantRef) => boolean;
  readonly #queue = new Set<DeferredEnd>();
  /** Whose turn it is: a walk along the queue, which sees what is added and passes over what is gone. */
  #turn = this.#queue.values();
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

  /** Grants that wait. */
  get length(): number {
    return this.#queue.size;
  }

  /** Puts a grant on the queue, with the page that was given up, if one was. */
  add(ref: GrantRef, page: GuestPage | undefined): DeferredEnd {
    const deferred: DeferredEnd = { ref, page, ended: false };
    this.#queue.add(deferred);
    this.#startOver();
    return deferred;
  }

  /** Tries every grant of the queue; returns how many remain. */
  retry(): number {
    for (const deferred of this.#queue) this.retryOne(deferred);
    return this.#queue.size;
  }

  /** Tries one; true if it has ended, now or before. Constant time. */
  retryOne(deferred: DeferredEnd): boolean {
    if (deferred.ended || !this.#tryEnd(deferred.ref)) return deferred.ended;
    deferred.ended = true;
    this.#queue.delete(deferred);
    if (this.#news.length === 0) this.#domain.machine.scheduler.post(this.#tell);
    this.#news.push({ ref: deferred.ref, page: deferred.page });
    this.#startOver();
    return true;
  }

  /** Something has changed: the next look comes early. */
  #startOver(): void {
    this.#pauseNs = PAUSE_NS;
    this.#inVain = 0;
    if (!this.#watching && this.#queue.size > 0) void this.#watch();
  }

  /** Looks in vain before it gives up. */
  get #patience(): number {
    return Math.max(LOOKS_IN_VAIN, this.#queue.size / AT_ONCE);
  }

  async #watch(): Promise<void> {
    this.#watching = true;
    while (this.#queue.size > 0 && this.#inVain < this.#patience) {
      await this.#domain.machine.scheduler.sleep(this.#pauseNs);
      if (!this.#domain.alive) return;
      this.#pauseNs = Math.min(2 * this.#pauseNs, LONGEST_PAUSE_NS);
      this.#inVain += 1;
      for (let n = Math.min(AT_ONCE, this.#queue.size); n > 0; n--) this.retryOne(this.#next());
    }
    this.#watching = false;
  }

  /** Who is next; after the last comes the first. The queue is not empty. */
  #next(): DeferredEnd {
    const next = this.#turn.next();
    if (next.done !== true) return next.value;
    this.#turn = this.#queue.values();
    return this.#turn.next().value!;
  }

  /** In a task of its own: whoever hears of it may grant and end as they like. */
  readonly #tell = (): void => {
    const news = this.#news;
    this.#news = [];
    this.#released.next(news);
  };
}
