/** Steps in the life of grants: granting, mapping, copying, unmapping, ending. See life-cycle.ts. */
import { PageFault } from '@ringside/gnttab-core';
import {
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_domain,
  GNTST_general_error,
  GNTST_okay,
} from '@ringside/gnttab-core/abi';
import fc from 'fast-check';
import { expect } from 'vitest';
import { checkAll } from './life-cycle-check.ts';
import {
  ACCESS,
  DOMAINS,
  type Entry,
  GRANTED_PAGES,
  type Mapping,
  type Model,
  type Offset,
  OFFSETS,
  OWN_PAGE,
  type Party,
  verdict,
} from './life-cycle.ts';
import { windowOf } from './world.ts';

/** One step: what it does to the machine and to the model, and the status that both agree on. */
export class Step implements fc.Command<Model, object> {
  readonly #story: string;
  readonly #run: (model: Model) => void;

  constructor(story: string, run: (model: Model) => void) {
    this.#story = story;
    this.#run = run;
  }

  check = () => true;

  run(model: Model): void {
    this.#run(model);
    checkAll(model);
  }

  toString = () => this.#story;
}

/** Turns what fast-check chose into a step with its story, which is what it prints of a run that fails. */
export const step = <Choice>(
  choice: fc.Arbitrary<Choice>,
  story: (choice: Choice) => string,
  run: (model: Model, choice: Choice) => void,
): fc.Arbitrary<Step> =>
  choice.map((chosen) => new Step(story(chosen), (model) => run(model, chosen)));

export const who = fc.nat(DOMAINS - 1);
export const ref = fc.constantFrom(...ACCESS);
export const halves = fc.constantFrom('host', 'host', 'device', 'both' as const);
export type Halves = 'host' | 'device' | 'both';
/** An address where nothing is ever mapped. */
export const nowhere = ({ actor }: Party): number => windowOf(actor.domain, 1000);

interface Grant {
  who: number;
  ref: number;
  to: number;
  gfn: number;
  readonly: boolean;
  kind: Entry['kind'];
  window: readonly [from: number, length: number];
  via: number;
  viaRef: number;
}

/** Version 1 knows whole pages only, and keeps its in-use bits in the entry: what is in use is left alone. */
export function grant({ domains, ...model }: Model, choice: Grant, rewrite = false): void {
  const [granter, to, via] = [choice.who, choice.to, choice.via].map((n) => domains[n]!) as [
    Party,
    Party,
    Party,
  ];
  const busy = model.mappings.some((m) => m.granter === granter && m.ref === choice.ref);
  const there = granter.entries.has(choice.ref);
  // A translated domain that maps its own page loses it from its place (SEMANTICS 17).
  if (there !== rewrite || (busy && granter.version === 1)) return;
  if (granter === to && to.translated) return;
  const [from, length] = choice.window;
  const kind = granter.version === 1 ? 'page' : choice.kind;
  granter.write(choice.ref, { ...choice, kind, to, via, from, length });
}

/** A grant that there is, and whom it is for; or, every few times, any reference and any domain. */
interface Use {
  nth: number;
  wild: boolean;
  who: number;
  from: number;
  ref: number;
}
const use = { nth: fc.nat(100), wild: fc.nat(5).map((n) => n === 0), who, from: who, ref };
const nameOf = ({ nth, wild, who: user, from, ref: number }: Use): string =>
  wild ? `${number} of ${from} by ${user}` : `grant ${nth}`;

function choose({ domains }: Model, { nth, wild, who: user, from, ref: number }: Use) {
  const live = domains.flatMap((granter) =>
    [...granter.entries]
      .filter(([, { to }]) => to.alive)
      .map(([ref, { to }]) => ({ user: to, granter, ref })),
  );
  if (!wild && live.length > 0) return live[nth % live.length]!;
  return { user: domains[user]!, granter: domains[from]!, ref: number };
}

function map(
  model: Model,
  choice: Use & { readonly: boolean; halves: Halves; over: number },
): void {
  const { user: mapper, granter, ref } = choose(model, choice);
  const { readonly } = choice;
  const host = choice.halves !== 'device';
  const device = choice.halves !== 'host';
  if (granter === mapper && mapper.translated) return;
  // At times over another mapping; that of a translated domain would be its end.
  const mapped = model.of(mapper).filter(({ slot }) => slot !== undefined);
  const over = host && !mapper.translated ? mapped[choice.over] : undefined;
  const slot = over?.slot ?? model.freeSlot(mapper);
  const { status, handle } = mapper.actor.map({
    dom: granter.actor.id,
    ref,
    flags:
      (host ? GNTMAP_host_map : 0) |
      (device ? GNTMAP_device_map : 0) |
      (readonly ? GNTMAP_readonly : 0),
    hostAddr: windowOf(mapper.actor.domain, slot),
  });
  const found = verdict(model, { granter, ref, user: mapper, readonly, purpose: 'map' });
  if (typeof found === 'number' || (device && mapper.translated)) {
    expect(status).toBe(GNTST_general_error);
    return;
  }
  expect(status).toBe(GNTST_okay);
  if (over !== undefined) overwritten(model, over);
  const { gfn } = found;
  const where = { host, device, slot: host ? slot : undefined };
  model.mappings.push({ mapper, granter, ref, gfn, readonly, handle, ...where });
}

/**
 * The page table entry of a mapping was overwritten. Its pin stays (SEMANTICS 38); by the old rule, of foreign pages, the
 * first handle of this page and access goes, and the other one of the two is where that was.
 */
export function overwritten(model: Model, mapping: Mapping): void {
  const { mapper, granter, gfn, readonly } = mapping;
  const alike = model
    .of(mapper)
    .filter((m) => m.host && m.granter === granter && m.gfn === gfn && m.readonly === readonly);
  const first = alike.reduce((a, b) => (a.handle < b.handle ? a : b));
  if (!mapper.old || granter === mapper) mapping.slot = undefined;
  else {
    mapping.slot = first.slot;
    model.forget(first);
  }
}

function unmap(model: Model, choice: { nth: number; halves: Halves }): void {
  const { mappings, world } = model;
  const mapping = mappings[choice.nth % mappings.length];
  if (mapping === undefined) return;
  const { mapper, granter, gfn, handle, slot } = mapping;
  const host = choice.halves !== 'device' && mapping.host;
  const device = choice.halves !== 'host' && mapping.device;
  const hostAddr = slot === undefined ? nowhere(mapper) : windowOf(mapper.actor.domain, slot);
  // A mapping of a dead domain that holds no page may outlive it.
  const gone = !world.exists(granter.actor);
  const devBusAddr = gone || !mapping.device ? 1 : mfnOf(granter, gfn) * 4096;
  const status = mapper.actor.unmap({
    handle,
    ...(choice.halves !== 'device' && { hostAddr }),
    ...(choice.halves !== 'host' && { devBusAddr }),
  });
  const lost = host && slot === undefined;
  expect(status).toBe(gone ? GNTST_bad_domain : lost ? GNTST_general_error : GNTST_okay);
  if (status === GNTST_okay) release(model, mapping, host, device);
}

/** Halves of a mapping went; with the last the handle is free. */
export function release(model: Model, mapping: Mapping, host: boolean, device: boolean): void {
  if (host) Object.assign(mapping, { host: false, slot: undefined });
  if (device) mapping.device = false;
  if (!mapping.host && !mapping.device) model.forget(mapping);
}

/** The machine frame of a granted page; it stays where it is even if its domain is dead. */
const mfns = new WeakMap<Party, number[]>();
export function rememberFrames(party: Party): void {
  mfns.set(
    party,
    GRANTED_PAGES.map((gfn) => party.actor.mfn(gfn)),
  );
}
const mfnOf = (party: Party, gfn: number): number => mfns.get(party)?.[gfn] ?? party.actor.mfn(gfn);

type Copy = Use & { value: number; write: boolean; offset: Offset };
function copy(model: Model, choice: Copy): void {
  const { user: caller, granter, ref } = choose(model, choice);
  const { value, write, offset } = choice;
  const entry = granter.entries.get(ref);
  // What a dying domain still answers is not the model's affair.
  if (entry?.kind === 'transitive' && !entry.via.alive) return;
  const own = { gmfn: caller.actor.frame(OWN_PAGE) };
  const theirs = { ref, domid: granter.actor.id, offset };
  const page = caller.actor.bytes(caller.actor.mfn(OWN_PAGE));
  page[0] = value;
  const status = write ? caller.actor.copy(own, theirs, 1) : caller.actor.copy(theirs, own, 1);
  const found = verdict(model, { granter, ref, user: caller, readonly: !write, purpose: 'copy' });
  const inside = (at: { from: number; length: number }) =>
    offset >= at.from && offset < at.from + at.length;
  if (typeof found === 'number' || !inside(found)) {
    expect(status).toBe(GNTST_general_error);
    return;
  }
  expect(status).toBe(GNTST_okay);
  const bytes = found.owner.bytes.get(found.gfn)!;
  if (write) bytes[offset] = value;
  else expect(page[0]).toBe(bytes[offset]);
}

/** The mapper writes where it has the page. */
function poke({ mappings }: Model, choice: { nth: number; value: number; offset: Offset }): void {
  const mapping = mappings[choice.nth % mappings.length];
  if (mapping?.slot === undefined) return;
  const { mapper, granter, gfn, readonly, slot } = mapping;
  const write = () =>
    mapper.actor.poke(windowOf(mapper.actor.domain, slot) + choice.offset, choice.value);
  if (readonly) expect(write).toThrow(PageFault);
  else {
    write();
    granter.bytes.get(gfn)![choice.offset] = choice.value;
  }
}

function end(model: Model, choice: { who: number; ref: number }): void {
  const granter = model.domains[choice.who]!;
  if (model.uses(granter, choice.ref).length > 0) return;
  granter.actor.setFlags(choice.ref, 0);
  granter.entries.delete(choice.ref);
}

const anyGrant = fc.record({
  who,
  ref,
  to: who,
  gfn: fc.constantFrom(...GRANTED_PAGES),
  readonly: fc.boolean(),
  kind: fc.constantFrom('page', 'page', 'part', 'transitive' as const),
  window: fc.constantFrom([0, 50] as const, [100, 50] as const, [0, 4096] as const),
  via: who,
  viaRef: ref,
});
const grantStory = (s: Grant): string =>
  `page ${s.gfn} to ${s.to} as ${s.ref}${s.readonly ? ' (ro)' : ''}; in version 2 ` +
  (s.kind === 'transitive' ? `${s.viaRef} of ${s.via}` : `${s.kind} ${s.window.join('+')}`);
const offset = fc.constantFrom(...OFFSETS);

const grants = step(anyGrant, (s) => `${s.who} grants ${grantStory(s)}`, grant);
const maps = step(
  fc.record({ ...use, readonly: fc.boolean(), halves, over: fc.nat(20) }),
  (s) => `${nameOf(s)} is mapped, ${s.halves}${s.readonly ? ' (ro)' : ''}, over ${s.over}`,
  map,
);
const copies = step(
  fc.record({ ...use, value: fc.nat(255), write: fc.boolean(), offset }),
  (s) => `byte ${s.offset} ${s.write ? `= ${s.value} to` : 'from'} ${nameOf(s)}`,
  copy,
);

const often = (times: number, steps: fc.Arbitrary<Step>) =>
  Array.from({ length: times }, () => steps);

/** Each as often as it should happen. */
export const grantSteps = [
  ...often(3, grants),
  ...often(6, maps),
  ...often(3, copies),
  step(
    anyGrant,
    (s) => `${s.who} grants instead ${grantStory(s)}`,
    (model, s) => grant(model, s, true),
  ),
  step(fc.record({ nth: fc.nat(50), halves }), (s) => `mapping ${s.nth} goes, ${s.halves}`, unmap),
  step(
    fc.record({ nth: fc.nat(50), value: fc.nat(255), offset }),
    (s) => `${s.value} is written where mapping ${s.nth} is`,
    poke,
  ),
  step(fc.record({ who, ref }), (s) => `${s.who} ends ${s.ref}`, end),
];
