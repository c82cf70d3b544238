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

const grant = fc
  .record({ who, ref, to: who, gfn: fc.constantFrom(...GRANTED_PAGES), readonly: fc.boolean() })
  .map(
    (s) =>
      new Step(
        `${s.who} grants page ${s.gfn} to ${s.to} as ${s.ref}${s.readonly ? ' (ro)' : ''}`,
        ({ domains }) => {
          const granter = domains[s.who]!;
          if (granter.access.has(s.ref)) return;
          const to = domains[s.to]!;
          granter.access.set(s.ref, { to, gfn: s.gfn, readonly: s.readonly });
          granter.actor.entry(s.ref, {
            flags: GTF_permit_access | (s.readonly ? GTF_readonly : 0),
            domid: to.actor.id,
            frame: granter.actor.mfn(s.gfn),
          });
        },
      ),
  );

const map = fc.record({ who, from: who, ref, readonly: fc.boolean() }).map(
  (s) =>
    new Step(`${s.who} maps ${s.ref} of ${s.from}${s.readonly ? ' (ro)' : ''}`, (model) => {
      const [mapper, granter] = [model.domains[s.who]!, model.domains[s.from]!];
      const used = new Set(model.mappings.filter((m) => m.mapper === mapper).map((m) => m.slot));
      const slot = Array.from({ length: used.size + 1 }, (_, n) => n).find((n) => !used.has(n))!;
      const access = granter.access.get(s.ref);
      const allowed = access?.to === mapper && (s.readonly || !access.readonly);
      const { status, handle } = mapper.actor.map({
        dom: granter.actor.id,
        ref: s.ref,
        flags: GNTMAP_host_map | (s.readonly ? GNTMAP_readonly : 0),
        hostAddr: windowOf(mapper.actor.domain, slot),
      });
      expect(status).toBe(allowed ? GNTST_okay : GNTST_general_error);
      if (!allowed) return;
      const { readonly } = s;
      model.mappings.push({ mapper, granter, ref: s.ref, gfn: access.gfn, readonly, slot, handle });
    }),
);

const unmap = fc.nat(50).map(
  (n) =>
    new Step(`mapping ${n} goes`, (model) => {
      if (model.mappings.length === 0) return;
      const [mapping] = model.mappings.splice(n % model.mappings.length, 1);
      const { mapper, handle, slot } = mapping!;
      const hostAddr = windowOf(mapper.actor.domain, slot);
      expect(mapper.actor.unmap({ handle, hostAddr })).toBe(GNTST_okay);
    }),
);

const copy = fc.record({ who, from: who, ref, value: fc.nat(255), write: fc.boolean() }).map(
  (s) =>
    new Step(
      `${s.who} copies ${s.write ? `${s.value} to` : 'from'} ${s.ref} of ${s.from}`,
      ({ domains }) => {
        const [caller, granter] = [domains[s.who]!, domains[s.from]!];
        const access = granter.access.get(s.ref);
        const allowed = access?.to === caller && (!s.write || !access.readonly);
        const own = { gmfn: caller.actor.mfn(8) };
        const theirs = { ref: s.ref, domid: granter.actor.id };
        caller.actor.bytes(own.gmfn)[0] = s.value;
        const status = s.write
          ? caller.actor.copy(own, theirs, 1)
          : caller.actor.copy(theirs, own, 1);
        expect(status).toBe(allowed ? GNTST_okay : GNTST_general_error);
        if (!allowed) return;
        if (s.write) granter.bytes.set(access.gfn, s.value);
        else expect(caller.actor.bytes(own.gmfn)[0]).toBe(granter.bytes.get(access.gfn));
      },
    ),
);

const end = fc.record({ who, ref }).map(
  (s) =>
    new Step(`${s.who} ends ${s.ref}`, (model) => {
      const granter = model.domains[s.who]!;
      const busy = (granter.actor.flags(s.ref) & (GTF_reading | GTF_writing)) !== 0;
      expect(busy).toBe(model.uses(granter, s.ref).length > 0);
      if (busy) return;
      granter.actor.setFlags(s.ref, 0);
      granter.access.delete(s.ref);
    }),
);

const post = fc.record({ who, ref: slotRef, from: who }).map(
  (s) =>
    new Step(`${s.who} accepts a frame from ${s.from} at ${s.ref}`, ({ domains }) => {
      const receiver = domains[s.who]!;
      const from = domains[s.from]!;
      receiver.slots.set(s.ref, { from, filled: false });
      receiver.actor.entry(s.ref, { flags: GTF_accept_transfer, domid: from.actor.id, frame: 0 });
    }),
);

const transfer = fc.record({ who, to: who, ref: slotRef }).map(
  (s) =>
    new Step(`${s.who} transfers a frame to ${s.to} at ${s.ref}`, ({ domains }) => {
      const [giver, receiver] = [domains[s.who]!, domains[s.to]!];
      const mfn = giver.loose.pop();
      if (mfn === undefined) return;
      const slot = receiver.slots.get(s.ref);
      const room = giver === receiver || receiver.actor.domain.totPages < MAX_PAGES;
      const accepted = slot?.from === giver && !slot.filled && room;
      const status = giver.actor.transfer({ mfn, domid: receiver.actor.id, ref: s.ref });
      expect(status).toBe(accepted ? GNTST_okay : GNTST_general_error);
      if (!accepted) return; // the frame is lost
      slot.filled = true;
      receiver.loose.push(mfn);
      expect(receiver.actor.seen(s.ref).frame).toBe(mfn);
    }),
);

const withdraw = fc.record({ who, ref: slotRef }).map(
  (s) =>
    new Step(`${s.who} withdraws ${s.ref}`, ({ domains }) => {
      const receiver = domains[s.who]!;
      receiver.actor.setFlags(s.ref, 0);
      receiver.slots.delete(s.ref);
    }),
);

const destroy = who.map(
  (n) =>
    new Step(`${n} dies, another takes its place`, (model) => {
      const dead = model.domains[n]!;
      dead.actor.destroy();
      dead.alive = false;
      model.ghosts.add(dead);
      model.mappings = model.mappings.filter(({ mapper }) => mapper !== dead);
      const hostAddr = windowOf(dead.actor.domain);
      if (model.uses(dead).length === 0) {
        const other = model.domains[(n + 1) % DOMAINS]!;
        const op = { dom: dead.actor.id, ref: 8, flags: GNTMAP_host_map, hostAddr };
        expect(other.actor.map(op).status).toBe(GNTST_bad_domain);
      }
      model.domains[n] = model.create();
    }),
);

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
  [grant, grant, map, map, unmap, copy, end, post, transfer, withdraw, destroy],
  { maxCommands: 80 },
);
