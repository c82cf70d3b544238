/** Steps in the life of grant tables and their domains, and what controllers do. See life-cycle.ts. */
import {
  GNTST_eagain,
  GNTST_general_error,
  GNTST_okay,
  GTF_accept_transfer,
  XEN_EBUSY,
  XEN_ERANGE,
} from '@ringside/gnttab-core/abi';
import { type AfterRevocation, limitUse, revokeUse } from '@ringside/gnttab-core/hypervisor';
import fc from 'fast-check';
import { expect } from 'vitest';
import { fullPage, seenV2 } from './entries-v2.ts';
import {
  type Halves,
  halves,
  nowhere,
  overwritten,
  ref,
  release,
  rememberFrames,
  step,
  who,
} from './life-cycle-steps.ts';
import {
  ACCESS,
  anyKind,
  type DomainKind,
  MAX_PAGES,
  type Model,
  OWN_PAGE,
  type Revoked,
  TRANSFER,
} from './life-cycle.ts';
import { windowOf } from './world.ts';

/** References below this survive a change of version. */
const FIRST_UNRESERVED = 8;

function setVersion(model: Model, choice: { who: number; version: 1 | 2 }): void {
  const party = model.domains[choice.who]!;
  const { version } = choice;
  const result = party.actor.hypercalls.setGrantVersion(version);
  const others = ACCESS.filter((ref) => ref >= FIRST_UNRESERVED);
  const reserved = ACCESS.filter((ref) => ref < FIRST_UNRESERVED);
  const busy = others.some((ref) => model.uses(party, ref).length > 0);
  // Version 1 has nothing like a transitive grant.
  const odd = reserved.some((ref) => party.entries.get(ref)?.kind === 'transitive');
  const refused = busy ? -XEN_EBUSY : version === 1 && odd ? -XEN_ERANGE : 0;
  expect(result).toBe(version === party.version ? 0 : refused);
  if (version === party.version || refused !== 0) return;
  party.version = version;
  for (const ref of others) party.entries.delete(ref);
  party.slots.clear();
  for (const ref of reserved) {
    const entry = party.entries.get(ref);
    // The bit stays and the window is lost: all of the page in version 1, nothing when it comes back.
    const length = version === 1 ? 4096 : 0;
    if (entry?.kind === 'part') party.entries.set(ref, { ...entry, from: 0, length });
  }
}

function swap(model: Model, { who, a, b }: { who: number; a: number; b: number }): void {
  const party = model.domains[who]!;
  const pinned = [a, b].some((ref) => model.uses(party, ref).length > 0);
  const status = party.actor.swap(a, b);
  expect(status).toBe(a !== b && pinned ? GNTST_eagain : GNTST_okay);
  if (status !== GNTST_okay) return;
  const [first, second] = [party.entries.get(a), party.entries.get(b)];
  for (const [ref, entry] of [
    [a, second],
    [b, first],
  ] as const) {
    if (entry === undefined) party.entries.delete(ref);
    else party.entries.set(ref, entry);
  }
}

/** The entry of a mapping is cleared, or maps a page of the domain's own. */
function overwrite(model: Model, choice: { nth: number; clear: boolean }): void {
  const mapping = model.mappings[choice.nth % model.mappings.length];
  if (mapping?.slot === undefined || mapping.mapper.translated) return;
  const { actor } = mapping.mapper;
  const mfn = choice.clear ? null : actor.mfn(OWN_PAGE + 1);
  const va = windowOf(actor.domain, mapping.slot);
  expect(actor.hypercalls.updateVaMapping(va, mfn, true)).toBe(0);
  overwritten(model, mapping);
}

/** One mapping makes room for another of the same domain; if that fails the other is lost (SEMANTICS 15). */
function replace(model: Model, choice: { nth: number; donor: number }): void {
  const mapping = model.mappings[choice.nth % model.mappings.length];
  if (mapping === undefined || mapping.mapper.translated) return;
  const { mapper, granter, handle, host, slot } = mapping;
  const copies = model.revoked.filter((r) => r.mapper === mapper && r.copy !== undefined);
  const there = [...model.of(mapper), ...copies].filter((m) => m.slot !== undefined);
  const donor = there[choice.donor % there.length];
  if (donor?.slot === undefined || !model.world.exists(granter.actor)) return;
  const at = (where: number) => windowOf(mapper.actor.domain, where);
  const hostAddr = slot === undefined ? nowhere(mapper) : at(slot);
  const status = mapper.actor.replace({ handle, hostAddr, newAddr: at(donor.slot) });
  const fails = host && (slot === undefined || donor === mapping);
  expect(status).toBe(fails ? GNTST_general_error : GNTST_okay);
  if (!host) return;
  donor.slot = fails ? undefined : slot;
  if (fails && 'copy' in donor) donor.copy = undefined;
  if (!fails) release(model, mapping, true, false);
}

/** A grant in use is taken back. Its handles wait for their unmap. */
function revoke(model: Model, choice: { nth: number; after: AfterRevocation }): void {
  const chosen = model.mappings[choice.nth % model.mappings.length];
  if (chosen === undefined) return;
  const { granter, ref, mapper, gfn } = chosen;
  const uses = model.uses(granter, ref);
  if (!model.world.exists(granter.actor)) return;
  const { domain } = granter.actor;
  const limit = limitUse(domain, ref);
  expect(revokeUse(domain, ref, limit, choice.after)).toBe(uses.length);
  granter.entries.delete(ref);
  const copy = choice.after === 'fault' ? undefined : { ...granter.bytes.get(gfn)! };
  for (const use of uses) {
    model.forget(use);
    const { handle, host, device, slot } = use;
    const shown = slot === undefined ? undefined : copy;
    model.revoked.push({ mapper, handle, host, device, slot, copy: shown });
  }
}

/** Halves of what was taken back are unmapped; with the last the handle is free. */
function letGo(model: Model, revoked: Revoked, host: boolean, device: boolean): void {
  if (host) Object.assign(revoked, { host: false, slot: undefined, copy: undefined });
  if (device) revoked.device = false;
  if (!revoked.host && !revoked.device) model.revoked = model.revoked.filter((r) => r !== revoked);
}

function unmapRevoked(model: Model, choice: { nth: number; halves: Halves }): void {
  const revoked = model.revoked[choice.nth % model.revoked.length];
  if (revoked === undefined) return;
  const { mapper, handle, slot } = revoked;
  const hostAddr = slot === undefined ? nowhere(mapper) : windowOf(mapper.actor.domain, slot);
  const [host, device] = [choice.halves !== 'device', choice.halves !== 'host'];
  const op = { handle, ...(host && { hostAddr }), ...(device && { devBusAddr: 4096 }) };
  expect(mapper.actor.unmap(op)).toBe(GNTST_okay);
  letGo(model, revoked, host, device);
}

/** A private copy is overwritten: it is gone. */
function overwriteRevoked(model: Model, choice: { nth: number; clear: boolean }): void {
  const revoked = model.revoked[choice.nth % model.revoked.length];
  if (revoked?.slot === undefined || revoked.mapper.translated) return;
  const { actor } = revoked.mapper;
  const mfn = choice.clear ? null : actor.mfn(OWN_PAGE + 1);
  const va = windowOf(actor.domain, revoked.slot);
  expect(actor.hypercalls.updateVaMapping(va, mfn, true)).toBe(0);
  Object.assign(revoked, { slot: undefined, copy: undefined });
}

/** What was taken back makes room for another mapping of the same domain. */
function replaceRevoked(model: Model, choice: { nth: number; donor: number }): void {
  const revoked = model.revoked[choice.nth % model.revoked.length];
  if (revoked?.slot === undefined || revoked.mapper.translated) return;
  const { mapper, handle, slot } = revoked;
  const there = [...model.mappings, ...model.revoked].filter(
    (m) => m.mapper === mapper && m.slot !== undefined && m !== revoked,
  );
  const donor = there[choice.donor % there.length];
  if (donor?.slot === undefined) return;
  const at = (where: number) => windowOf(mapper.actor.domain, where);
  const op = { handle, hostAddr: at(slot), newAddr: at(donor.slot) };
  expect(mapper.actor.replace(op)).toBe(GNTST_okay);
  letGo(model, revoked, true, false);
  donor.slot = slot;
}

function post({ domains }: Model, choice: { who: number; ref: number; from: number }): void {
  const receiver = domains[choice.who]!;
  const from = domains[choice.from]!;
  const gfn = receiver.nextGfn++;
  receiver.slots.set(choice.ref, { from, gfn, filled: false });
  const frame = receiver.translated ? gfn : 0;
  const entry = { flags: GTF_accept_transfer, domid: from.actor.id, frame };
  if (receiver.version === 1) receiver.actor.entry(choice.ref, entry);
  else fullPage(receiver.actor, choice.ref, entry);
}

function transfer({ domains }: Model, choice: { who: number; to: number; ref: number }): void {
  const [giver, receiver] = [domains[choice.who]!, domains[choice.to]!];
  const op = { domid: receiver.actor.id, ref: choice.ref };
  if (giver.translated) {
    const mfn = OWN_PAGE + 1;
    expect(giver.actor.transfer({ ...op, mfn })).toBe(GNTST_general_error); // and stays
    return;
  }
  const mfn = giver.loose.pop();
  if (mfn === undefined) return;
  giver.pages -= 1;
  const slot = receiver.slots.get(choice.ref);
  const accepted = slot?.from === giver && !slot.filled && receiver.pages < MAX_PAGES;
  const status = giver.actor.transfer({ ...op, mfn });
  expect(status).toBe(accepted ? GNTST_okay : GNTST_general_error);
  if (!accepted) return; // the frame is lost
  slot.filled = true;
  receiver.pages += 1;
  const { actor, version, translated } = receiver;
  if (translated) expect(actor.mfn(slot.gfn)).toBe(mfn);
  else {
    receiver.loose.push(mfn);
    expect((version === 1 ? actor.seen(choice.ref) : seenV2(actor, choice.ref)).frame).toBe(mfn);
  }
}

function withdraw({ domains }: Model, choice: { who: number; ref: number }): void {
  const receiver = domains[choice.who]!;
  receiver.actor.setFlags(choice.ref, 0);
  receiver.slots.delete(choice.ref);
}

function die(model: Model, choice: { who: number; kind: DomainKind }): void {
  const dead = model.domains[choice.who]!;
  rememberFrames(dead);
  dead.actor.destroy();
  dead.alive = false;
  model.ghosts.add(dead);
  model.mappings = model.mappings.filter(({ mapper }) => mapper !== dead);
  model.revoked = model.revoked.filter(({ mapper }) => mapper !== dead);
  model.domains[choice.who] = model.create(choice.kind);
}

const nth = fc.nat(50);
const slotRef = fc.constantFrom(...TRANSFER);

export const tableSteps = [
  step(
    fc.record({ who, version: fc.constantFrom(1, 2 as const) }),
    (s) => `${s.who} chooses version ${s.version}`,
    setVersion,
  ),
  step(fc.record({ who, a: ref, b: ref }), (s) => `${s.who} swaps ${s.a} and ${s.b}`, swap),
  step(
    fc.record({ nth, clear: fc.boolean() }),
    (s) => `mapping ${s.nth} is ${s.clear ? 'cleared' : 'overwritten'}`,
    overwrite,
  ),
  step(
    fc.record({ nth, donor: nth }),
    (s) => `mapping ${s.nth} makes room for ${s.donor}`,
    replace,
  ),
  step(
    fc.record({ nth, after: fc.constantFrom('fault', 'private-copy' as const) }),
    (s) => `the grant of mapping ${s.nth} is taken back: ${s.after}`,
    revoke,
  ),
  step(fc.record({ nth, halves }), (s) => `revoked ${s.nth} goes, ${s.halves}`, unmapRevoked),
  step(
    fc.record({ nth, clear: fc.boolean() }),
    (s) => `revoked ${s.nth} is ${s.clear ? 'cleared' : 'overwritten'}`,
    overwriteRevoked,
  ),
  step(
    fc.record({ nth, donor: nth }),
    (s) => `revoked ${s.nth} makes room for ${s.donor}`,
    replaceRevoked,
  ),
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
  step(
    fc.record({ who, kind: anyKind }),
    (s) =>
      `${s.who} dies; ${s.kind.old ? 'an old ' : 'a '}${s.kind.type} one of version ${s.kind.version} takes its place`,
    die,
  ),
];
