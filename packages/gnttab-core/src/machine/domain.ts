/** A domain: a handle on its struct domain in bank 0 (design sections 1 and 2). */
import {
  addTo,
  counterAt,
  counterIndex,
  type CounterName,
  counterNames,
  type Counters,
} from './counters.ts';
import { DOMAIN_privileged, DOMAIN_translated, domainStruct, DOMDYING_alive } from './layout.ts';
import type { Machine } from './machine.ts';
import type { DomId } from './page.ts';

/** Byte offsets of the members of struct domain. */
export const DOMAIN = domainStruct.offset;

export class Domain {
  readonly machine: Machine;
  readonly id: DomId;
  /** Byte offset in bank 0 of the struct domain. */
  readonly base: number;
  /** Auto-translated (HVM, PVH): its frame numbers are gfns. Otherwise PV: they are mfns. */
  readonly translated: boolean;
  /** A control domain: may act for others where the interface allows it. */
  readonly privileged: boolean;

  constructor(machine: Machine, id: DomId, base: number) {
    this.machine = machine;
    this.id = id;
    this.base = base;
    const flags = machine.heap.u16[(base + DOMAIN.flags) >>> 1]!;
    this.translated = (flags & DOMAIN_translated) !== 0;
    this.privileged = (flags & DOMAIN_privileged) !== 0;
  }

  /** false once the domain's destruction has begun, or its id belongs to another. */
  get alive(): boolean {
    return this.machine.domainById(this.id) === this && !this.isDying;
  }

  get isDying(): boolean {
    return this.machine.heap.u32[(this.base + DOMAIN.is_dying) >>> 2] !== DOMDYING_alive;
  }

  /** Pages the domain owns. */
  get totPages(): number {
    return this.machine.heap.u32[(this.base + DOMAIN.tot_pages) >>> 2]!;
  }

  /** Pages the domain may own. */
  get maxPages(): number {
    return this.machine.heap.u32[(this.base + DOMAIN.max_pages) >>> 2]!;
  }

  /** Frame of the shared info page. */
  get sharedInfo(): number {
    return this.machine.heap.u32[(this.base + DOMAIN.shared_info) >>> 2]!;
  }

  /** Adds to one of the domain's counters. */
  count(name: CounterName, amount = 1): void {
    addTo(this.machine.heap, this.base + DOMAIN.counters + counterIndex[name] * 8, amount);
  }

  /** The domain's counters as they stand. */
  counters(): Counters {
    const { heap } = this.machine;
    return Object.fromEntries(
      counterNames.map((name, i) => [name, counterAt(heap, this.base + DOMAIN.counters + i * 8)]),
    ) as Counters;
  }
}
