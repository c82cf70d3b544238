/** What the security cases need besides test/grant/world.ts: grants of either version, and the probe after every attack. */
import { type CreateDomainOptions, GnttabSwapGrantRef } from '@ringside/gnttab-core';
import {
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_okay,
  grantEntryV2,
  GTF_permit_access,
  GTF_reading,
  GTF_sub_page,
  GTF_transitive,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import { grantVersion, sharedEntryOf, statusWordOf } from '@ringside/gnttab-core/hypervisor';
import { expect } from 'vitest';
import { type Actor, type Entry, windowOf, World } from '../grant/world.ts';

export const versions = [1, 2] as const;
export const NOBODY = 999;
export const REF = 8;
export const rw = GNTMAP_host_map;
export const ro = GNTMAP_host_map | GNTMAP_readonly;
export const inUse = GTF_reading | GTF_writing;
export const unused = { hstw: 0, hstr: 0, devw: 0, devr: 0 };

/** Writes an entry of version 1 or 2 that grants a whole page. */
export function permit(actor: Actor, ref: number, entry: Entry): void {
  if (grantVersion(actor.domain) === 1) {
    actor.entry(ref, entry);
    return;
  }
  const fields = entryV2(actor, ref);
  fields.full_page.hdr.domid = entry.domid;
  fields.full_page.pad0 = 0;
  fields.full_page.frame_lo = entry.frame;
  fields.full_page.frame_hi = 0;
  fields.full_page.hdr.flags = entry.flags;
}

/** The members of a version 2 entry. */
export const entryV2 = ({ domain, machine }: Actor, ref: number) =>
  grantEntryV2.x86_64.cursor().at(machine.heap.view, sharedEntryOf(domain, ref));

/** Grants bytes `start` to `start + length` of a frame, to be copied. */
export function permitSubPage(
  actor: Actor,
  ref: number,
  entry: Entry,
  start: number,
  length: number,
): void {
  permit(actor, ref, { ...entry, flags: 0 });
  const fields = entryV2(actor, ref);
  fields.sub_page.page_off = start;
  fields.sub_page.length = length;
  fields.sub_page.hdr.flags = entry.flags | GTF_permit_access | GTF_sub_page;
}

/** Grants what `behind` has granted, to be copied. */
export function permitTransitive(
  actor: Actor,
  ref: number,
  domid: number,
  behind: { id: number },
  behindRef: number,
): void {
  const fields = entryV2(actor, ref);
  fields.transitive.hdr.domid = domid;
  fields.transitive.trans_domid = behind.id;
  fields.transitive.pad0 = 0;
  fields.transitive.gref = behindRef;
  fields.transitive.hdr.flags = GTF_transitive;
}

/** The in-use bits of a grant, wherever its version has them. */
export const useOf = ({ domain, machine }: Actor, ref: number): number =>
  machine.heap.u16[statusWordOf(domain, ref) >>> 1]! & inUse;

/** Nobody uses the grant, and Xen says so. */
export function expectQuiet(actor: Actor, ref: number): void {
  expect(actor.pin(ref)).toEqual(unused);
  expect(useOf(actor, ref)).toBe(0);
}

export function swap(actor: Actor, refA: number, refB: number): number {
  const op = Object.assign(new GnttabSwapGrantRef(), { refA, refB, status: 0x7f7f });
  actor.hypercalls.gnttabSwap([op]);
  return op.status;
}

/** A domain whose table has this version. */
export function domainOf(
  world: World,
  version: 1 | 2,
  options?: Partial<CreateDomainOptions>,
): Actor {
  const actor = world.domain(options);
  expect(actor.hypercalls.setGrantVersion(version)).toBe(0);
  return actor;
}

/** The granter's page 0, full of 0x11, for the mapper at REF; page 1, full of 0x22, for nobody. */
export function granted(version: 1 | 2 = 1, flags: number = GTF_permit_access, pages = 1024) {
  const world = new World(pages);
  const granter = domainOf(world, version);
  const mapper = world.domain();
  const other = world.domain();
  granter.bytes(granter.mfn(0)).fill(0x11);
  granter.bytes(granter.mfn(1)).fill(0x22);
  const entry = { flags, domid: mapper.id, frame: granter.mfn(0) };
  permit(granter, REF, entry);
  const map = (mapFlags = rw, n = 0, ref = REF) =>
    mapper.map({ dom: granter.id, ref, flags: mapFlags, hostAddr: windowOf(mapper.domain, n) });
  const unmap = (handle: number, n = 0) =>
    mapper.unmap({ handle, hostAddr: windowOf(mapper.domain, n) });
  const remote = { ref: REF, domid: granter.id };
  const local = { gmfn: mapper.mfn(0) };
  return {
    world,
    machine: world.machine,
    granter,
    mapper,
    other,
    entry,
    map,
    unmap,
    remote,
    local,
  };
}

const PROBE_REF = 200;
const PROBE_WINDOW = 1000;

/** The liveness probe: whatever happened before, an honest grant is mapped, copied and unmapped. */
export function probe(granter: Actor, mapper: Actor): void {
  permit(granter, PROBE_REF, {
    flags: GTF_permit_access,
    domid: mapper.id,
    frame: granter.frame(7),
  });
  const hostAddr = windowOf(mapper.domain, PROBE_WINDOW);
  const op = mapper.map({ dom: granter.id, ref: PROBE_REF, flags: rw, hostAddr });
  expect(op.status).toBe(GNTST_okay);
  const copied = mapper.copy({ ref: PROBE_REF, domid: granter.id }, { gmfn: mapper.frame(7) }, 8);
  expect(copied).toBe(GNTST_okay);
  expect(mapper.unmap({ handle: op.handle, hostAddr })).toBe(GNTST_okay);
  expectQuiet(granter, PROBE_REF);
}
