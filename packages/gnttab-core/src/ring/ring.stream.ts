/**
 * Rings as RxJS streams: one emission per batch. An event of the port means only "look again", so each one starts the
 * whole loop: drain, hand on, final check, and again until nothing is left. Events that arrive meanwhile need no
 * queue, because the final check looks for itself.
 */
import { exhaustMap, from, scheduled, startWith } from 'rxjs';
import type { Observable, SchedulerLike } from 'rxjs';
import type { BackRing } from './back-ring.ts';
import type { Batch, Drained } from './drained.ts';
import type { FrontRing } from './front-ring.ts';
import { RingError } from './ring-fault.ts';

/** The part of a bound event port that a ring needs. */
export interface RingPort {
  readonly events$: Observable<void>;
}

/** Drains, and arms the notification, until nothing is left. */
function* batches<T>(
  ring: string,
  drain: () => Drained<T>,
  finalCheck: () => boolean,
): Generator<Batch<T>> {
  do {
    const drained = drain();
    if (drained.fault !== undefined) throw new RingError(ring, drained.fault);
    if (drained.count > 0) yield drained;
  } while (finalCheck());
}

const look = <T>(port: RingPort, again: () => Generator<Batch<T>>, scheduler?: SchedulerLike) =>
  port.events$.pipe(
    startWith(undefined),
    exhaustMap(() => (scheduler === undefined ? from(again()) : scheduled(again(), scheduler))),
  );

/**
 * The requests that a backend receives. Looks at once and then at every event. A batch is good until the next emission.
 *
 * Errors with RingError, before anything of the bad batch is delivered, if the frontend lies about req_prod, and with
 * PageFault if the ring page is gone.
 *
 * @param scheduler gives each batch a turn of its own. Without it the loop goes on as long as there are requests, which
 *   a frontend on another thread can make long.
 */
export const requests$ = <Req, Rsp>(
  ring: BackRing<Req, Rsp>,
  port: RingPort,
  scheduler?: SchedulerLike,
): Observable<Batch<Req>> =>
  look(
    port,
    () =>
      batches(
        ring.layout.name,
        () => ring.drainRequests(),
        () => ring.finalCheckForRequests(),
      ),
    scheduler,
  );

/** The responses that a frontend receives; otherwise as `requests$`. */
export const responses$ = <Req, Rsp>(
  ring: FrontRing<Req, Rsp>,
  port: RingPort,
  scheduler?: SchedulerLike,
): Observable<Batch<Rsp>> =>
  look(
    port,
    () =>
      batches(
        ring.layout.name,
        () => ring.drainResponses(),
        () => ring.finalCheckForResponses(),
      ),
    scheduler,
  );
