/** Grants of other domains that stay mapped from one use to the next, as in blkback: a hit costs no hypercall. */
import { invariant } from '../machine/errors.ts';
import type { DomId, GrantRef } from '../machine/page.ts';
import type { ForeignMapping, ForeignMappings, MappingOptions } from './mappings.ts';

/** A mapped page of another domain. */
export interface PersistentMapping {
  /** Whose page it is. */
  readonly domid: DomId;
  /** What its owner grants it as. */
  readonly ref: GrantRef;
  /** Address of its first byte. */
  readonly va: number;
}

interface Entry extends PersistentMapping {
  readonly mapping: ForeignMapping;
  users: number;
  /** Unmap it when its last user is done. */
  stale: boolean;
}

/** Both numbers in one: references have 32 bits, domain ids 16. */
const key = (domid: DomId, ref: GrantRef): number => domid * 2 ** 32 + ref;

/** A pool of mapped pages of other domains, found again by who granted them and as what. */
export class PersistentMappings {
  readonly #mappings: ForeignMappings;
  readonly #limit: number;
  readonly #options: MappingOptions;
  /** Nobody uses these; the least recently used comes first. */
  readonly #idle = new Map<number, Entry>();
  readonly #used = new Map<number, Entry>();

  /** Keeps at most `limit` pages mapped; more only while all of them are in use at once. */
  constructor(mappings: ForeignMappings, limit: number, options: MappingOptions = {}) {
    this.#mappings = mappings;
    this.#limit = limit;
    this.#options = options;
  }

  /** Pages mapped at the moment. */
  get size(): number {
    return this.#idle.size + this.#used.size;
  }

  /** The page that `domid` grants as `ref`, mapped now if it is not yet. Throws GrantError with the status. */
  acquire(domid: DomId, ref: GrantRef): PersistentMapping {
    const at = key(domid, ref);
    const entry = this.#used.get(at) ?? this.#idle.get(at) ?? this.#map(domid, ref);
    entry.users += 1;
    this.#idle.delete(at);
    this.#used.set(at, entry);
    return entry;
  }

  #map(domid: DomId, ref: GrantRef): Entry {
    this.#evict(this.#limit - 1);
    const mapping = this.#mappings.map(domid, ref, this.#options);
    return { domid, ref, va: mapping.va, mapping, users: 0, stale: false };
  }

  /** A use is over; the page stays mapped. Throws InvariantError if it is not in use. */
  release({ domid, ref }: PersistentMapping): void {
    const at = key(domid, ref);
    const entry = this.#used.get(at);
    invariant(entry !== undefined, `reference ${ref} of domain ${domid} is not in use`);
    entry.users -= 1;
    if (entry.users > 0) return;
    this.#used.delete(at);
    if (entry.stale) return entry.mapping.unmap();
    this.#idle.set(at, entry);
    this.#evict(this.#limit);
  }

  /** Unmaps what `domid` (everybody, if it is not given) has granted: now, or when its last user is done. */
  drop(domid?: DomId): void {
    for (const [at, entry] of this.#idle) {
      if (domid !== undefined && entry.domid !== domid) continue;
      this.#idle.delete(at);
      entry.mapping.unmap();
    }
    for (const entry of this.#used.values()) {
      if (domid === undefined || entry.domid === domid) entry.stale = true;
    }
  }

  /** Unmaps idle pages, the least recently used first, until no more than `size` are mapped. */
  #evict(size: number): void {
    for (const [at, { mapping }] of this.#idle) {
      if (this.size <= size) return;
      this.#idle.delete(at);
      mapping.unmap();
    }
  }
}
