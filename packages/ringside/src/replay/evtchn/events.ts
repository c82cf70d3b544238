/** Who was told of something during a step, in the order of it. */
import type { Machine } from '@ringside/gnttab-core';
import type { Effects } from './recording.ts';

/** What is told, by the names of recordings. */
export type EventKind = 'up' | 'wake' | 'xen';

const WORDS: Readonly<Record<EventKind, (event: readonly number[]) => string>> = {
  up: ([dom, vcpu]) => `domain ${dom} vCPU ${vcpu}`,
  wake: ([dom, vcpu]) => `domain ${dom} vCPU ${vcpu}`,
  xen: ([dom, vcpu, port]) => `domain ${dom} vCPU ${vcpu} port ${port}`,
};

/** Listens to a machine. */
export class Events {
  #seen: Record<EventKind, number[][]> = { up: [], wake: [], xen: [] };

  constructor(machine: Machine) {
    machine.onUpcall = (...event) => this.#seen.up.push(event);
    machine.onWake = (...event) => this.#seen.wake.push(event);
  }

  /** A handler of Xen's was called. */
  readonly noteXen = (domid: number, vcpu: number, port: number): void => {
    this.#seen.xen.push([domid, vcpu, port]);
  };

  /** What has been told since the last time. */
  take(): Readonly<Record<EventKind, readonly (readonly number[])[]>> {
    const seen = this.#seen;
    this.#seen = { up: [], wake: [], xen: [] };
    return seen;
  }
}

/** What each of them is called in a difference. */
const TITLES: Readonly<Record<EventKind, string>> = {
  up: 'upcalls',
  wake: 'virtual CPUs that run again',
  xen: "calls of Xen's handlers",
};

/** `report` is called for each kind of which not the recorded ones were seen. */
export function compareEvents(
  recorded: Effects,
  seen: ReturnType<Events['take']>,
  report: (what: string, expected: string, got: string) => void,
): void {
  for (const kind of ['up', 'wake', 'xen'] as const) {
    const words = (events: readonly (readonly number[])[]) =>
      events.map(WORDS[kind]).join(', ') || 'none';
    const [expected, got] = [words(recorded[kind] ?? []), words(seen[kind])];
    if (expected !== got) report(TITLES[kind], expected, got);
  }
}
