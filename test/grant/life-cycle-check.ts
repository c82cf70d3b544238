/** After every step: what the hypervisor says of grants, pages, handles and domains is what the model says. */
import {
  GTF_accept_transfer,
  GTF_reading,
  GTF_transfer_committed,
  GTF_transfer_completed,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import { grantVersion } from '@ringside/gnttab-core/hypervisor';
import { expect } from 'vitest';
import { statusOf } from './entries-v2.ts';
import { checkFrames, checkMaptrack, checkPageList } from './invariants.ts';
import {
  ACCESS,
  flagsOf,
  GRANTED_PAGES,
  type Mapping,
  type Model,
  OFFSETS,
  type Party,
  TRANSFER,
} from './life-cycle.ts';
import { windowOf } from './world.ts';

const count = (mappings: readonly Mapping[], of: (mapping: Mapping) => boolean): number =>
  mappings.filter(of).length;

export function checkAll(model: Model): void {
  expect(model.heldLocks).toEqual([]);
  for (const party of model.domains) {
    expect(grantVersion(party.actor.domain)).toBe(party.version);
    for (const ref of ACCESS) checkEntry(party, ref, model.uses(party, ref));
    for (const ref of TRANSFER) checkSlot(party, ref);
    for (const gfn of GRANTED_PAGES) checkPage(model, party, gfn);
    expect(party.actor.domain.totPages).toBe(party.pages);
    checkPageList(party.actor);
    checkHandles(model, party);
  }
  for (const ghost of model.ghosts) checkGhost(model, ghost);
  checkFrames(model.world.machine);
}

function checkEntry({ actor, entries, version }: Party, ref: number, uses: Mapping[]): void {
  expect(actor.pin(ref)).toEqual({
    hstw: count(uses, (m) => m.host && !m.readonly),
    hstr: count(uses, (m) => m.host && m.readonly),
    devw: count(uses, (m) => m.device && !m.readonly),
    devr: count(uses, (m) => m.device && m.readonly),
  });
  const reading = uses.length > 0 ? GTF_reading : 0;
  const inUse = reading | (uses.some((m) => !m.readonly) ? GTF_writing : 0);
  const flags = flagsOf(entries.get(ref));
  expect(actor.flags(ref)).toBe(version === 1 ? flags | inUse : flags);
  if (version === 2) expect(statusOf(actor, ref)).toBe(inUse);
}

function checkSlot({ actor, slots }: Party, ref: number): void {
  const slot = slots.get(ref);
  const done = slot?.filled === true ? GTF_transfer_committed | GTF_transfer_completed : 0;
  expect(actor.flags(ref)).toBe(slot === undefined ? 0 : GTF_accept_transfer | done);
}

function checkPage({ world, mappings }: Model, party: Party, gfn: number): void {
  const { actor, translated, bytes } = party;
  const uses = mappings.filter((m) => m.granter === party && m.gfn === gfn);
  const held = (of: (mapping: Mapping) => boolean) =>
    count(uses, (m) => m.slot !== undefined && of(m)) + count(uses, (m) => m.device && of(m));
  expect(actor.extraReferences(gfn)).toBe(held(() => true));
  const mfn = actor.mfn(gfn);
  expect(world.typeCount(mfn)).toBe((translated ? 0 : 1) + held((m) => !m.readonly));
  for (const offset of OFFSETS) expect(actor.bytes(mfn)[offset]).toBe(bytes.get(gfn)![offset]);
}

/** A frame that is mapped never changes hands: the mapper reads what its granter last wrote. */
function checkHandles(model: Model, party: Party): void {
  const { actor, translated } = party;
  const live = model.of(party);
  const revoked = model.revoked.filter((r) => r.mapper === party);
  checkMaptrack(
    actor,
    [...live, ...revoked].map(({ handle }) => handle),
  );
  for (const { granter, gfn, readonly, slot } of live) {
    if (slot === undefined) continue;
    const own = granter === party;
    if (!translated) expect(actor.pte(slot)).toMatchObject({ writable: !readonly, foreign: !own });
    for (const offset of OFFSETS) {
      expect(actor.peek(windowOf(actor.domain, slot) + offset)).toBe(
        granter.bytes.get(gfn)![offset],
      );
    }
  }
  for (const { slot, copy } of revoked) {
    if (slot === undefined) continue;
    const va = windowOf(actor.domain, slot);
    if (copy === undefined) expect(() => actor.peek(va)).toThrow(/not.present/);
    else for (const offset of OFFSETS) expect(actor.peek(va + offset)).toBe(copy[offset]);
  }
}

/** A dead domain is there as long as somebody holds a page of its, and owns just these. */
function checkGhost({ world, mappings, ghosts }: Model, ghost: Party): void {
  const holds = ({ granter, slot, device }: Mapping) =>
    granter === ghost && (slot !== undefined || device);
  const held = new Set(mappings.filter(holds).map(({ gfn }) => gfn));
  expect(world.exists(ghost.actor)).toBe(held.size > 0);
  if (held.size > 0) {
    expect(ghost.actor.domain.totPages).toBe(held.size);
    checkPageList(ghost.actor);
  } else ghosts.delete(ghost);
}
