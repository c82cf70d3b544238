/** The counters of a frontend as a stream. */

import { Subject, type Observable } from 'rxjs';
import type { BlkfrontStats } from './stats.ts';

/** Emits a snapshot after each batch of responses, if somebody listens. */
export class StatsFeed {
  private readonly subject = new Subject<Readonly<BlkfrontStats>>();
  readonly stats$: Observable<Readonly<BlkfrontStats>> = this.subject.asObservable();

  publish(stats: BlkfrontStats): void {
    if (this.subject.observed) this.subject.next({ ...stats });
  }

  complete(): void {
    this.subject.complete();
  }
}
