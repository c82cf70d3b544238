/**
 * What grants should do, as a model too simple to be wrong: what is granted, who has it mapped, and one rule for who may
 * use what. Steps (life-cycle-steps.ts, life-cycle-tables.ts) change the machine and the model alike; after each the
 * hypervisor's counts must be those of the model (life-cycle-check.ts).
 */
import { PAGE_SIZE } from '@ringside/gnttab-core';
import {
  GNTST_general_error,
  GTF_permit_access,
  GTF_readonly,
  GTF_sub_page,
  GTF_transitive,
} from '@ringside/gnttab-core/abi';
import fc from 'fast-check';
import { fullPage, subPage, transitive } from './entries-v2.ts';
import { watchLocks } from './checked-locks.ts';
import { taken } from './invariants.ts';
import { type Actor, World } from './world.ts';

export const DOMAINS = 3;
/** References for access (the first is a reserved one, and survives a change of version), and for transfers. */
export const ACCESS = [7, 8, 9, 10];
export const TRANSFER = [12, 13];
/** Pages that are granted, that are transferred, and that copies of the domain's own use. */
export const GRANTED_PAGES = [0, 1, 2, 3];
const LOOSE_PAGES = [4, 5, 6, 7];
export const OWN_PAGE = 8;
const PAGES = 16;
export const MAX_PAGES = 18;
/** Bytes of a page that are looked at. */
export const OFFSETS = [0, 100] as const;
export type Offset = (typeof OFFSETS)[number];

/** So many runs of a property, or milliseconds for them; ten times as many with RUNS=10 in the environment. */
export const runs = (usual: number): number => usual * Number(process.env['RUNS'] ?? 1);

/** What a domain has written into an entry. */
export interface Entry {
  readonly kind: 'page' | 'part' | 'transitive';
  readonly to: Party;
  readonly readonly: boolean;
  /** The page, and the window of it that may be copied. */
  readonly gfn: number;
  readonly from: number;
  readonly length: number;
  /** Transitive: whose grant it passes on. */
  readonly via: Party;
  readonly viaRef: number;
}

/** A mapping, by its handle. `slot` is the window page where it is; without, its host half is lost or was never there. */
export interface Mapping {
  readonly mapper: Party;
  readonly granter: Party;
  readonly ref: number;
  readonly gfn: number;
  readonly readonly: boolean;
  readonly handle: number;
  host: boolean;
  device: boolean;
  slot: number | undefined;
}

/** What is left to its mapper of a mapping that was taken back. */
export interface Revoked {
  readonly mapper: Party;
  readonly handle: number;
  host: boolean;
  device: boolean;
  slot: number | undefined;
  /** What the private copy says, as long as it is there. */
  copy: Readonly<Record<Offset, number>> | undefined;
}

/** What a domain should be. */
export class Party {
  readonly actor: Actor;
  /** Overwriting a mapping is an unmap (the document of 2005). */
  readonly old: boolean;
  alive = true;
  version: 1 | 2 = 1;
  pages = PAGES;
  readonly entries = new Map<number, Entry>();
  readonly slots = new Map<
    number,
    { readonly from: Party; readonly gfn: number; filled: boolean }
  >();
  /** Frames that it owns and has mapped nowhere. */
  readonly loose: number[];
  readonly bytes = new Map<number, Record<Offset, number>>();
  /** Where a translated domain has had no page yet. */
  nextGfn = 0x100;

  constructor(actor: Actor, old: boolean) {
    this.actor = actor;
    this.old = old;
    this.loose = this.translated ? [] : LOOSE_PAGES.map((gfn) => actor.detach(gfn));
    for (const gfn of GRANTED_PAGES) this.bytes.set(gfn, { 0: 0, 100: 0 });
  }

  get translated(): boolean {
    return this.actor.domain.translated;
  }

  /** Writes an entry, here and there. */
  write(ref: number, entry: Entry): void {
    this.entries.set(ref, entry);
    const { kind, to, gfn, from, length, via, viaRef } = entry;
    const domid = to.actor.id;
    const flags = flagsOf(entry);
    const page = { flags, domid, frame: this.actor.frame(gfn) };
    if (this.version === 1) this.actor.entry(ref, page);
    else if (kind === 'page') fullPage(this.actor, ref, page);
    else if (kind === 'part') subPage(this.actor, ref, { ...page, pageOff: from, length });
    else transitive(this.actor, ref, { flags, domid, transDomid: via.actor.id, gref: viaRef });
  }
}

/** The flags of an entry, without in-use bits. */
export function flagsOf(entry: Entry | undefined): number {
  if (entry === undefined) return 0;
  const type = entry.kind === 'transitive' ? GTF_transitive : GTF_permit_access;
  return type | (entry.kind === 'part' ? GTF_sub_page : 0) | (entry.readonly ? GTF_readonly : 0);
}

/** Any kind of domain, and the version that its table begins with. */
export const anyKind = fc.record({
  type: fc.constantFrom('pv', 'pv', 'translated' as const),
  old: fc.boolean(),
  version: fc.constantFrom(1, 2 as const),
});
export type DomainKind = typeof anyKind extends fc.Arbitrary<infer Kind> ? Kind : never;

/** The machine, and what it should be. */
export class Model {
  readonly world = new World(512);
  readonly heldLocks = watchLocks(this.world.machine);
  readonly domains: Party[];
  readonly ghosts = new Set<Party>();
  mappings: Mapping[] = [];
  revoked: Revoked[] = [];

  constructor(kinds: readonly DomainKind[]) {
    taken(this.world.machine);
    this.domains = kinds.map((kind) => this.create(kind));
  }

  create({ type, old, version }: DomainKind): Party {
    const options = {
      type,
      unmapOnOverwrite: old && type === 'pv',
      pages: PAGES,
      maxPages: MAX_PAGES,
    };
    const party = new Party(this.world.domain({ ...options, maxMaptrackFrames: 1 }), old);
    party.actor.hypercalls.setGrantVersion(version);
    party.version = version;
    return party;
  }

  /** The pins of a grant: who has it mapped. */
  uses(granter: Party, ref: number): Mapping[] {
    return this.mappings.filter((m) => m.granter === granter && m.ref === ref);
  }

  of(mapper: Party): Mapping[] {
    return this.mappings.filter((m) => m.mapper === mapper);
  }

  forget(mapping: Mapping): void {
    this.mappings = this.mappings.filter((m) => m !== mapping);
  }

  /** The first window page where a domain has nothing. */
  freeSlot(mapper: Party): number {
    const all = [...this.mappings, ...this.revoked].filter((m) => m.mapper === mapper);
    const used = new Set(all.map(({ slot }) => slot));
    let slot = 0;
    while (used.has(slot)) slot += 1;
    return slot;
  }
}

/** What somebody wants of a grant. */
export interface Wish {
  readonly granter: Party;
  readonly ref: number;
  readonly user: Party;
  readonly readonly: boolean;
  readonly purpose: 'map' | 'copy';
}
/** The page that it gets, and the window of it; or the status of a refusal. */
export type Verdict =
  | { readonly owner: Party; readonly gfn: number; readonly from: number; readonly length: number }
  | number;

/** Who may use what. While a grant is in use, what its first user found holds (SEMANTICS 6). */
export function verdict(model: Model, wish: Wish, direct = true): Verdict {
  const { granter, ref, user, readonly, purpose } = wish;
  const entry = granter.entries.get(ref);
  const [pinned, ...more] = model.uses(granter, ref);
  const isTransitive = entry?.kind === 'transitive' && purpose === 'copy';
  if (pinned !== undefined) {
    if (pinned.mapper !== user || isTransitive) return GNTST_general_error;
    const firstWriter = !readonly && [pinned, ...more].every((use) => use.readonly);
    if (firstWriter && entry?.readonly === true) return GNTST_general_error;
    // A copy's first writer must find the page that its readers have (SEMANTICS 22).
    const moved = firstWriter && purpose === 'copy' && entry?.gfn !== pinned.gfn;
    return moved ? GNTST_general_error : { owner: granter, gfn: pinned.gfn, ...WHOLE };
  }
  if (entry === undefined || entry.to !== user) return GNTST_general_error;
  if (entry.readonly && !readonly) return GNTST_general_error;
  if (entry.kind === 'page') return { owner: granter, gfn: entry.gfn, ...WHOLE };
  // Parts and other domains' grants can be copied, and not mapped (SEMANTICS 9, 23).
  if (purpose === 'map') return GNTST_general_error;
  if (entry.kind === 'part') return { ...entry, owner: granter };
  const { via, viaRef } = entry;
  if (!direct || via === granter) return GNTST_general_error;
  return verdict(model, { ...wish, granter: via, ref: viaRef, user: granter }, false);
}

const WHOLE = { from: 0, length: PAGE_SIZE };
