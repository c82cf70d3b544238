/**
 * The life of grants as steps for fast-check: what each does to the machine, and to a model that is too simple to be
 * wrong. After every step the hypervisor's counts must be those of the model.
 */
import {
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_domain,
  GNTST_general_error,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import fc from 'fast-check';
import { expect } from 'vitest';
import { checkFrames, checkMaptrack, checkPageList, taken } from './invariants.ts';
import { type Actor, windowOf, World } from './world.ts';

const DOMAINS = 3;
/** References 8 to 11 are for access, 12 and 13 for transfers. Pages 0 to 3 are granted, 4 to 7 transferred. */
const ACCESS = [8, 9, 10, 11];
const TRANSFER = [12, 13];
const GRANTED_PAGES = [0, 1, 2, 3];
const LOOSE_PAGES = [4, 5, 6, 7];
const MAX_PAGES = 18;

interface Access {
  readonly to: Party;
  readonly gfn: number;
  readonly readonly: boolean;
}
interface Mapping {
  readonly mapper: Party;
  readonly granter: Party;
  readonly ref: number;
  readonly gfn: number;
  readonly readonly: boolean;
  readonly slot: number;
  readonly handle: number;
}

/** What a domain should be. */
class Party {
  readonly actor: Actor;
  alive = true;
  readonly access = new Map<number, Access>();
  readonly slots = new Map<number, { readonly from: Party; filled: boolean }>();
  /** Frames that it owns and has mapped nowhere. */
  readonly loose: number[];
  /** First byte of each page that it grants. */
  readonly bytes = new Map<number, number>();

  constructor(actor: Actor) {
    this.actor = actor;
    this.loose = LOOSE_PAGES.map((gfn) => actor.detach(gfn));
    for (const gfn of GRANTED_PAGES) this.bytes.set(gfn, 0);
  }
}

/** The machine, and what it should be. */
export class Model {
  readonly world = new World(512);
  readonly domains: Party[] = [];
  readonly ghosts = new Set<Party>();
  mappings: Mapping[] = [];

  constructor() {
    taken(this.world.machine);
    for (let n = 0; n < DOMAINS; n++) this.domains.push(this.create());
  }

  create(): Party {
    return new Party(this.world.domain({ pages: 16, maxPages: MAX_PAGES, maxMaptrackFrames: 1 }));
  }

  uses(granter: Party, ref?: number): Mapping[] {
    return this.mappings.filter(
      (m) => m.granter === granter && (ref === undefined || m.ref === ref),
    );
  }
}

/** One step: what it does to the machine and to the model, and the status that both agree on. */
class Step implements fc.Command<Model, object> {
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

const who = fc.nat(DOMAINS - 1);
const ref = fc.constantFrom(...ACCESS);
const slotRef = fc.constantFrom(...TRANSFER);

/** Turns what fast-check chose into a step with its story. */
const step = <Choice>(
  choice: fc.Arbitrary<Choice>,
  story: (choice: Choice) => string,
  run: (model: Model, choice: Choice) => void,
): fc.Arbitrary<Step> =>
  choice.map((chosen) => new Step(story(chosen), (model) => run(model, chosen)));

interface Grant {
  who: number;
  ref: number;
  to: number;
  gfn: number;
  readonly: boolean;
}

function grant({ domains }: Model, choice: Grant): void {
  const granter = domains[choice.who]!;
  if (granter.access.has(choice.ref)) return;
  const to = domains[choice.to]!;
  granter.access.set(choice.ref, { to, gfn: choice.gfn, readonly: choice.readonly });
  granter.actor.entry(choice.ref, {
    flags: GTF_permit_access | (choice.readonly ? GTF_readonly : 0),
    domid: to.actor.id,
    frame: granter.actor.mfn(choice.gfn),
  });
}

/** A grant that there is, and whom it is for; or, every few times, any reference and any domain. */
interface Use {
  nth: number;
  wild: boolean;
  who: number;
  from: number;
  ref: number;
}
const use = {
  nth: fc.nat(100),
  wild: fc.nat(5).map((n) => n === 0),
  who,
  from: who,
  ref,
};

function choose({ domains }: Model, { nth, wild, who: user, from, ref: number }: Use) {
  const live = domains.flatMap((granter) =>
    [...granter.access]
      .filter(([, access]) => access.to.alive)
      .map(([ref, access]) => ({ user: access.to, granter, ref, access })),
  );
  if (!wild && live.length > 0) return live[nth % live.length]!;
  const granter = domains[from]!;
  return { user: domains[user]!, granter, ref: number, access: granter.access.get(number) };
}

function map(model: Model, choice: Use & { readonly: boolean }): void {
  const { user: mapper, granter, ref, access } = choose(model, choice);
  const { readonly } = choice;
  const used = new Set(model.mappings.filter((m) => m.mapper === mapper).map((m) => m.slot));
  const slot = Array.from({ length: used.size + 1 }, (_, n) => n).find((n) => !used.has(n))!;
  const allowed = access?.to === mapper && (readonly || !access.readonly);
  const { status, handle } = mapper.actor.map({
    dom: granter.actor.id,
    ref,
    flags: GNTMAP_host_map | (readonly ? GNTMAP_readonly : 0),
    hostAddr: windowOf(mapper.actor.domain, slot),
  });
  expect(status).toBe(statusFor(granter, allowed));
  if (allowed) {
    model.mappings.push({ mapper, granter, ref, gfn: access.gfn, readonly, slot, handle });
  }
}

const statusFor = (granter: Party, allowed: boolean): number =>
  allowed ? GNTST_okay : granter.alive ? GNTST_general_error : GNTST_bad_domain;

function unmap({ mappings }: Model, nth: number): void {
  if (mappings.length === 0) return;
  const [mapping] = mappings.splice(nth % mappings.length, 1);
  const { mapper, handle, slot } = mapping!;
  const hostAddr = windowOf(mapper.actor.domain, slot);
  expect(mapper.actor.unmap({ handle, hostAddr })).toBe(GNTST_okay);
}

function copy(model: Model, choice: Use & { value: number; write: boolean }): void {
  const { user: caller, granter, ref, access } = choose(model, choice);
  const { value, write } = choice;
  const allowed = access?.to === caller && (!write || !access.readonly);
  const own = { gmfn: caller.actor.mfn(8) };
  const theirs = { ref, domid: granter.actor.id };
  caller.actor.bytes(own.gmfn)[0] = value;
  const status = write ? caller.actor.copy(own, theirs, 1) : caller.actor.copy(theirs, own, 1);
  expect(status).toBe(statusFor(granter, allowed));
  if (!allowed) return;
  if (write) granter.bytes.set(access.gfn, value);
  else expect(caller.actor.bytes(own.gmfn)[0]).toBe(granter.bytes.get(access.gfn));
}

function end(model: Model, choice: { who: number; ref: number }): void {
  const granter = model.domains[choice.who]!;
  const busy = (granter.actor.flags(choice.ref) & (GTF_reading | GTF_writing)) !== 0;
  expect(busy).toBe(model.uses(granter, choice.ref).length > 0);
  if (busy) return;
  granter.actor.setFlags(choice.ref, 0);
  granter.access.delete(choice.ref);
}

function post({ domains }: Model, choice: { who: number; ref: number; from: number }): void {
  const receiver = domains[choice.who]!;
  const from = domains[choice.from]!;
  receiver.slots.set(choice.ref, { from, filled: false });
  receiver.actor.entry(choice.ref, { flags: GTF_accept_transfer, domid: from.actor.id, frame: 0 });
}

function transfer({ domains }: Model, choice: { who: number; to: number; ref: number }): void {
  const [giver, receiver] = [domains[choice.who]!, domains[choice.to]!];
  const mfn = giver.loose.pop();
  if (mfn === undefined) return;
  const slot = receiver.slots.get(choice.ref);
  const room = giver === receiver || receiver.actor.domain.totPages < MAX_PAGES;
  const accepted = slot?.from === giver && !slot.filled && room;
  const op = { mfn, domid: receiver.actor.id, ref: choice.ref };
  expect(giver.actor.transfer(op)).toBe(accepted ? GNTST_okay : GNTST_general_error);
  if (!accepted) return; // the frame is lost
  slot.filled = true;
  receiver.loose.push(mfn);
  expect(receiver.actor.seen(choice.ref).frame).toBe(mfn);
}

function withdraw({ domains }: Model, choice: { who: number; ref: number }): void {
  const receiver = domains[choice.who]!;
  receiver.actor.setFlags(choice.ref, 0);
  receiver.slots.delete(choice.ref);
}

function die(model: Model, number: number): void {
  const dead = model.domains[number]!;
  dead.actor.destroy();
  dead.alive = false;
  model.ghosts.add(dead);
  model.mappings = model.mappings.filter(({ mapper }) => mapper !== dead);
  model.domains[number] = model.create();
}

function checkAll({ world, domains, ghosts, mappings }: Model): void {
  for (const domain of domains) {
    const { actor } = domain;
    for (const ref of ACCESS) {
      const access = domain.access.get(ref);
      const uses = mappings.filter((m) => m.granter === domain && m.ref === ref);
      const writers = uses.filter(({ readonly }) => !readonly).length;
      const readers = uses.length - writers;
      expect(actor.pin(ref)).toEqual({ hstw: writers, hstr: readers, devw: 0, devr: 0 });
      expect(actor.flags(ref)).toBe(
        (access ? GTF_permit_access : 0) |
          (access?.readonly ? GTF_readonly : 0) |
          (uses.length > 0 ? GTF_reading : 0) |
          (writers > 0 ? GTF_writing : 0),
      );
    }
    for (const gfn of GRANTED_PAGES) {
      const uses = mappings.filter((m) => m.granter === domain && m.gfn === gfn);
      expect(actor.extraReferences(gfn)).toBe(uses.length);
      expect(world.typeCount(actor.mfn(gfn))).toBe(1 + uses.filter((m) => !m.readonly).length);
      expect(actor.bytes(actor.mfn(gfn))[0]).toBe(domain.bytes.get(gfn));
    }
    checkPageList(actor);
    const live = mappings.filter(({ mapper }) => mapper === domain);
    checkMaptrack(
      actor,
      live.map(({ handle }) => handle),
    );
    for (const { granter, gfn, readonly, slot } of live) {
      expect(actor.pte(slot)).toMatchObject({ writable: !readonly, foreign: granter !== domain });
      // A frame that is mapped never changes hands: the mapper reads what its granter last wrote.
      expect(actor.peek(windowOf(actor.domain, slot))).toBe(granter.bytes.get(gfn));
    }
  }
  for (const ghost of ghosts) {
    const held = new Set(mappings.filter((m) => m.granter === ghost).map(({ gfn }) => gfn));
    expect(world.exists(ghost.actor)).toBe(held.size > 0);
    if (held.size > 0) {
      expect(ghost.actor.domain.totPages).toBe(held.size);
      checkPageList(ghost.actor);
    } else ghosts.delete(ghost);
  }
  checkFrames(world.machine);
}

/** Any run of steps. Their stories are what fast-check prints of a failing one. */
export const anyRun = fc.commands(
  [
    step(
      fc.record({
        who,
        ref,
        to: who,
        gfn: fc.constantFrom(...GRANTED_PAGES),
        readonly: fc.boolean(),
      }),
      (s) => `${s.who} grants page ${s.gfn} to ${s.to} as ${s.ref}${s.readonly ? ' (ro)' : ''}`,
      grant,
    ),
    step(
      fc.record({ ...use, readonly: fc.boolean() }),
      (s) => `${nameOf(s)} is mapped${s.readonly ? ' (ro)' : ''}`,
      map,
    ),
    step(fc.nat(50), (n) => `mapping ${n} goes`, unmap),
    step(
      fc.record({ ...use, value: fc.nat(255), write: fc.boolean() }),
      (s) => `${s.write ? `${s.value} is copied to` : 'a byte is copied from'} ${nameOf(s)}`,
      copy,
    ),
    step(fc.record({ who, ref }), (s) => `${s.who} ends ${s.ref}`, end),
    step(
      fc.record({ who, ref: slotRef, from: who }),
      (s) => `${s.who} accepts a frame from ${s.from} at ${s.ref}`,
      post,
    ),
    step(
      fc.record({ who, to: who, ref: slotRef }),
      (s) => `${s.who} transfers a frame to ${s.to} at ${s.ref}`,
      transfer,
    ),
    step(fc.record({ who, ref: slotRef }), (s) => `${s.who} withdraws ${s.ref}`, withdraw),
    step(who, (n) => `${n} dies and another takes its place`, die),
  ],
  { maxCommands: 100, size: 'max' },
);

function nameOf({ nth, wild, who: user, from, ref: number }: Use): string {
  return wild ? `${number} of ${from} by ${user}` : `grant ${nth}`;
}
