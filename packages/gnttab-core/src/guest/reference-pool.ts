/**
 * The grant references of a guest: taking free ones, singly, in batches and in runs, growing the table for them, and
 * waiting for them. Source: gnttab_alloc_grant_reference(s), _seq and gnttab_request_free_callback() of Linux.
 */
import { GNTTAB_NR_RESERVED_ENTRIES } from '../abi/grant-table.ts';
import type { Domain } from '../machine/machine.ts';
import type { GrantRef } from '../machine/page.ts';
import type { Hypercalls } from '../hypercall/hypercalls.ts';
import { GrantError } from './errors.ts';
import type { GrantEntries } from './grant-entries.ts';
import { NumberPool } from './number-pool.ts';
import { CLAIMED, FREE, ReferenceStates, RESERVED } from './reference-states.ts';
import { Waiters } from './waiters.ts';

/** The references of one guest. */
export class ReferencePool {
  /** What each is used for at the moment. */
  readonly states = new ReferenceStates();
  readonly #domain: Domain;
  readonly #hypercalls: Hypercalls;
  readonly #entries: GrantEntries;
  /** Looks for references that have become free unnoticed. */
  readonly #reclaim: () => void;
  readonly #free = new NumberPool();
  readonly #waiters: Waiters<void>;

  /** Begins with the frames that the table has. */
  constructor(domain: Domain, hypercalls: Hypercalls, entries: GrantEntries, reclaim: () => void) {
    this.#domain = domain;
    this.#hypercalls = hypercalls;
    this.#entries = entries;
    this.#reclaim = reclaim;
    this.#waiters = new Waiters(domain.machine.scheduler);
    this.#grow(hypercalls.querySize().nrFrames);
  }

  /** References that can be taken; the table may still grow. */
  get available(): number {
    return this.#free.count;
  }

  /** A free reference, now claimed. Throws GrantError when there is none and the table is at its limit. */
  take(): GrantRef {
    if (this.#free.count === 0) this.#provide(1);
    const ref = this.#free.take();
    if (ref < 0) throw this.#exhausted('no grant reference is free');
    this.states.change(ref, FREE, CLAIMED);
    return ref as GrantRef;
  }

  /** `count` of them, or none and GrantError. */
  takeBatch(count: number): GrantRef[] {
    this.#provide(count);
    if (this.#free.count < count) {
      throw this.#exhausted(
        `no grant reference is free for ${count - this.#free.count} of the ${count} asked for`,
      );
    }
    return Array.from({ length: count }, () => this.take());
  }

  /** The first of `count` neighbouring references, now claimed. Throws GrantError. */
  takeRun(count: number): GrantRef {
    let first = this.#free.takeRun(count);
    if (first < 0) {
      this.#reclaim();
      first = this.#free.takeRun(count);
    }
    if (first < 0 && this.#growFor(count - this.#free.tail)) first = this.#free.takeRun(count);
    if (first < 0) throw this.#exhausted(`no ${count} neighbouring grant references are free`);
    for (let ref = first; ref < first + count; ref++) this.states.change(ref, FREE, CLAIMED);
    return first as GrantRef;
  }

  /** A claimed reference is free again. Throws InvariantError if it is not claimed. */
  give(ref: GrantRef): void {
    this.states.change(ref, CLAIMED, FREE);
    this.#free.give(ref);
    if (this.#waiters.length > 0) while (this.#waiters.serve(this.#free.count, undefined));
  }

  /** A claimed reference goes to a reserve. Throws InvariantError if it is not claimed. */
  reserve(ref: GrantRef): void {
    this.states.change(ref, CLAIMED, RESERVED);
  }

  /** A reference of a reserve is claimed. */
  claim(ref: GrantRef): void {
    this.states.change(ref, RESERVED, CLAIMED);
  }

  /** See GrantReferences. */
  async whenFree(count: number, signal?: AbortSignal): Promise<void> {
    const most = this.#hypercalls.querySize().maxNrFrames * this.#entries.perFrame;
    if (count > most - GNTTAB_NR_RESERVED_ENTRIES) {
      throw this.#exhausted(`the grant table will never have ${count} free references`);
    }
    const served = this.#waiters.wait(count, signal);
    this.#provide(count);
    while (this.#waiters.serve(this.#free.count, undefined));
    await served;
  }

  /** Does what it can to have `count` references free. */
  #provide(count: number): void {
    if (this.#free.count < count) this.#reclaim();
    this.#growFor(count - this.#free.count);
  }

  #growFor(missing: number): boolean {
    if (missing <= 0) return true;
    return this.#grow(this.#entries.frames + Math.ceil(missing / this.#entries.perFrame));
  }

  /** gnttab_expand(): the table has `frames` frames; false if that is over its limit. */
  #grow(frames: number): boolean {
    const first = this.#free.size;
    if (!this.#entries.grow(frames)) return false;
    const end = frames * this.#entries.perFrame;
    this.states.grow(end);
    if (first === 0) this.states.keep(Math.min(GNTTAB_NR_RESERVED_ENTRIES, end));
    this.#free.add(Math.max(first, GNTTAB_NR_RESERVED_ENTRIES), end);
    return true;
  }

  #exhausted(reason: string): GrantError {
    return new GrantError(`domain ${this.#domain.id}`, reason);
  }
}
