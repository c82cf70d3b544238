/** Security catalogue, event channels in a guest's kernel: ports that go while they have events. */
import { bootGuest, createDomain, createMachine, type EventPort } from '@ringside/gnttab-core';
import { describe, expect, it } from 'vitest';

/** Two guests, with so many channels from the first to the second. */
function guests(channels: number) {
  const machine = createMachine({ memoryPages: 256, seed: 1 });
  const [backend, frontend] = [0, 1].map(() => bootGuest(createDomain(machine, { pages: 8 })));
  const pairs = Array.from({ length: channels }, () => {
    const own = backend!.events.allocUnbound(frontend!.id);
    return { own, theirs: frontend!.events.bindInterdomain(backend!.id, own.port) };
  });
  return {
    backend: backend!,
    frontend: frontend!,
    pairs,
    rest: () => machine.scheduler.sleep(1e6),
  };
}

/** The events that a port has given so far, and whether there can be more. */
function watch(port: EventPort) {
  const seen = { events: 0, done: false };
  port.events$.subscribe({ next: () => (seen.events += 1), complete: () => (seen.done = true) });
  return seen;
}

describe('a port', () => {
  it('EV-31: that is closed before its event is taken gives none, nor does its number’s next owner', async () => {
    const { backend, frontend, pairs, rest } = guests(2);
    await rest();
    const [gone, honest] = [pairs[0]!, pairs[1]!];
    const [late, other] = [watch(gone.own), watch(honest.own)];
    gone.theirs.notify();
    honest.theirs.notify();
    gone.own.close();
    const next = backend.events.allocUnbound(frontend.id);
    const heir = watch(next);
    expect(next.port).toBe(gone.own.port);
    await rest();
    expect(late).toEqual({ events: 0, done: true });
    expect([heir.events, other.events]).toEqual([0, 1]);
    expect([backend.events.open, frontend.events.open]).toEqual([2, 2]);
  });

  it('EV-34: may be closed, and its device removed, by the handler of another in the same upcall', async () => {
    const { backend, pairs, rest } = guests(3);
    await rest();
    const handled: number[] = [];
    const closed = watch(pairs[1]!.own);
    pairs[0]!.own.events$.subscribe(() => {
      handled.push(0);
      pairs[1]!.own.close();
      pairs[0]!.own.close();
    });
    pairs[2]!.own.events$.subscribe(() => handled.push(2));
    for (const { theirs } of pairs) theirs.notify();
    await rest();
    expect(handled).toEqual([0, 2]);
    expect(closed).toEqual({ events: 0, done: true });
    expect(backend.events.open).toBe(1);
    pairs[2]!.theirs.notify();
    await rest();
    expect(handled).toEqual([0, 2, 2]);
  });
});
