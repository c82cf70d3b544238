import { Observable, Subject } from 'rxjs';
import { TestScheduler } from 'rxjs/testing';
import { describe, expect, it } from 'vitest';
import { PageFault } from '../machine/address-space.ts';
import type { AddressSpace } from '../machine/address-space.ts';
import { BackRing } from './back-ring.ts';
import type { Batch } from './drained.ts';
import { FrontRing } from './front-ring.ts';
import { RingError } from './ring-fault.ts';
import { add } from './ring-index.ts';
import { requests$, responses$ } from './ring.stream.ts';
import { ids, memory, ringPair, testLayout } from './testing.ts';
import type { Message } from './testing.ts';

/** A stream's doings, one line each. */
function logged(
  source: Observable<Batch<Message>>,
  onBatch: (batch: Batch<Message>) => void = () => {},
) {
  const log: string[] = [];
  const subscription = source.subscribe({
    next: (batch) => {
      log.push(ids(batch.items).join(' '));
      onBatch(batch);
    },
    error: (error: Error) => log.push(`${error.name}: ${error.message}`),
    complete: () => log.push('complete'),
  });
  return { log, subscription };
}

function frontPushes(front: FrontRing<Message, Message>, ...messages: number[]): boolean {
  for (const id of messages) front.put({ id });
  return front.pushRequestsAndCheckNotify();
}

describe('requests$', () => {
  it('looks at once, and then at every event: one emission per batch', () => {
    const { front, back } = ringPair(8, 0xffff_fffe);
    const events$ = new Subject<void>();
    frontPushes(front, 1, 2);
    const { log } = logged(requests$(back, { events$ }));
    frontPushes(front, 3, 4, 5);
    expect(log).toEqual(['1 2']);
    events$.next();
    expect(log).toEqual(['1 2', '3 4 5']);
  });

  it('emits nothing for a spurious event', () => {
    const { back } = ringPair(8);
    const events$ = new Subject<void>();
    const { log } = logged(requests$(back, { events$ }));
    events$.next();
    events$.next();
    expect(log).toEqual([]);
  });

  it('arms the notification when it has nothing left', () => {
    const { front, back } = ringPair(8);
    const events$ = new Subject<void>();
    logged(requests$(back, { events$ }));
    for (let id = 0; id < 5; id++) {
      expect(frontPushes(front, id)).toBe(true);
      expect(frontPushes(front, id)).toBe(false);
      events$.next();
      for (let i = 0; i < 2; i++) back.put({ id });
      back.pushResponses();
      front.drainResponses();
    }
  });

  it('looks again without an event for what arrives while a batch is handled', () => {
    const { front, back } = ringPair(8);
    const events$ = new Subject<void>();
    let pushed = 0;
    const { log } = logged(requests$(back, { events$ }), () => {
      if (pushed < 3) expect(frontPushes(front, 10 + pushed++)).toBe(false);
      events$.next(); // an event in the middle of the work changes nothing
    });
    frontPushes(front, 1);
    events$.next();
    expect(log).toEqual(['1', '10', '11', '12']);
    expect(frontPushes(front, 13)).toBe(true);
  });

  it('errors when req_prod is a lie, delivering nothing of the bad batch', () => {
    const { front, back, shared } = ringPair(8);
    const events$ = new Subject<void>();
    const { log } = logged(requests$(back, { events$ }));
    frontPushes(front, 1);
    events$.next();
    frontPushes(front, 2);
    shared.reqProd = add(shared.reqProd, 2 ** 31);
    events$.next();
    expect(log).toEqual([
      '1',
      'RingError: test ring: req_prod overflow: the peer set req_prod to 2147483650; allowed are 1 to 8 (ring of 8)',
    ]);
    expect(events$.observed).toBe(false);
  });

  it('errors with the fault as data', () => {
    const { back, shared } = ringPair(8);
    shared.reqProd = 9;
    let seen: unknown;
    requests$(back, { events$: new Subject<void>() }).subscribe({
      error: (error) => (seen = error),
    });
    expect(seen).toBeInstanceOf(RingError);
    expect((seen as RingError).fault).toEqual({
      fault: 'req_prod overflow',
      produced: 9,
      consumed: 0,
      size: 8,
      allowed: 8,
    });
  });

  it('errors when the ring page is gone', () => {
    const flat = memory(1);
    let mapped = true;
    const space: AddressSpace = {
      translate(va, access) {
        if (!mapped) throw new PageFault(va, access, 'not-present');
        return flat.translate(va, access);
      },
      bankOf: (address) => flat.bankOf(address),
    };
    FrontRing.create(space, 0, testLayout);
    const events$ = new Subject<void>();
    const { log } = logged(requests$(BackRing.attach(space, 0, testLayout), { events$ }));
    mapped = false;
    events$.next();
    expect(log).toEqual(['PageFault: read at 0x0: page is not-present']);
  });

  it('stops in the middle of its work when nobody listens any more, and does not arm', () => {
    const { front, back, shared } = ringPair(8);
    const events$ = new Subject<void>();
    const { log, subscription } = logged(requests$(back, { events$ }), () => {
      frontPushes(front, 2);
      subscription.unsubscribe();
    });
    frontPushes(front, 1);
    const before = shared.reqEvent;
    events$.next();
    expect(log).toEqual(['1']);
    expect(shared.reqEvent).toBe(before);
    expect(events$.observed).toBe(false);
  });

  it('completes with its port', () => {
    const { back } = ringPair(8);
    const events$ = new Subject<void>();
    const { log } = logged(requests$(back, { events$ }));
    events$.complete();
    expect(log).toEqual(['complete']);
  });
});

describe('responses$', () => {
  it('emits the responses, and errors when rsp_prod is a lie', () => {
    const { front, back, shared } = ringPair(8);
    const events$ = new Subject<void>();
    const { log } = logged(responses$(front, { events$ }));
    frontPushes(front, 1, 2, 3);
    for (const { id } of back.drainRequests().items) back.put({ id });
    expect(back.pushResponsesAndCheckNotify()).toBe(true);
    events$.next();
    shared.rspProd = 4;
    events$.next();
    expect(log).toEqual([
      '1 2 3',
      'RingError: test ring: rsp_prod overflow: the peer set rsp_prod to 4; allowed are 3 to 3 (ring of 8)',
    ]);
  });
});

describe('in time', () => {
  /** Each source marble is that many requests pushed, with an event if the ring asks for one. */
  const marbles = (run: (helpers: Parameters<Parameters<TestScheduler['run']>[0]>[0]) => void) =>
    new TestScheduler((actual, expected) => expect(actual).toEqual(expected)).run(run);

  it('a batch per event, of everything pushed until then', () => {
    marbles(({ hot, expectObservable }) => {
      const { front, back } = ringPair(32);
      const events$ = new Subject<void>();
      hot('  -1-2---3--').subscribe((count) => {
        const messages = Array.from({ length: Number(count) }, (_, i) => i);
        if (frontPushes(front, ...messages)) events$.next();
      });
      const counts$ = new Observable<string>((subscriber) =>
        requests$(back, { events$ }).subscribe((batch) => subscriber.next(String(batch.count))),
      );
      expectObservable(counts$).toBe('-1-2---3--');
    });
  });

  it('with a scheduler every batch has a turn of its own', () => {
    const scheduler = new TestScheduler(() => {});
    const { front, back } = ringPair(8);
    const events$ = new Subject<void>();
    const { log } = logged(requests$(back, { events$ }, scheduler), () => {
      if (log.length < 3) frontPushes(front, 10 + log.length);
    });
    frontPushes(front, 1);
    events$.next();
    expect(log).toEqual([]);
    scheduler.flush();
    expect(log).toEqual(['1', '11', '12']);
    expect(frontPushes(front, 2)).toBe(true);
  });
});
