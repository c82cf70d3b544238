/** What must hold of a machine between any two hypercalls, whatever its domains did. */
import { type Domain, INVALID_MFN, type Machine, ownerOf } from '@ringside/gnttab-core';
import {
  domainStruct,
  entryFrame,
  entryType,
  filledGfns,
  machineHeader,
  maptrackEntry,
  maptrackEntryOf,
  nrMaptrackEntries,
  p2m_ram_rw,
  p2mEntry,
  pageInfo,
} from '@ringside/gnttab-core/hypervisor';
import { expect } from 'vitest';
import type { Actor } from './world.ts';

/** The pages on a domain's list. */
function* pageList({ base, machine }: Domain): Generator<number> {
  const { view } = machine.heap;
  const info = pageInfo.cursor();
  let page = domainStruct.cursor().at(view, base).page_list;
  for (; page !== INVALID_MFN; page = info.at(view, machine.pageInfo(page)).next) yield page;
}

/** The domain's page list is as long as its total says, and every page on it is its own. */
export function checkPageList({ domain, machine }: Pick<Actor, 'domain' | 'machine'>): void {
  const info = pageInfo.cursor();
  const pages = new Set<number>();
  let previous = INVALID_MFN;
  for (const page of pageList(domain)) {
    info.at(machine.heap.view, machine.pageInfo(page));
    const right = ownerOf(machine, page) === domain.id && info.prev === previous;
    if (!right || pages.has(page)) expect.fail(`page ${page} of domain ${domain.id}'s list`);
    pages.add(page);
    previous = page;
  }
  expect(pages.size).toBe(domain.totPages);
  expect(domain.totPages).toBeLessThanOrEqual(domain.maxPages);
}

/**
 * A translated domain's page that has a gfn is behind that gfn, and RAM behind a gfn is the domain's and has this gfn: p2m and
 * m2p say the same. (A PV domain says what it likes in both.)
 */
export function checkPhysmap(domain: Domain): void {
  if (!domain.translated) return;
  const { machine } = domain;
  const m2p = (frame: number) =>
    machine.heap.u32[(machine.pageInfo(frame) + pageInfo.offset.gfn) >>> 2]!;
  for (const page of pageList(domain)) {
    const gfn = m2p(page);
    const entry = p2mEntry(domain, gfn);
    const there = entryType(entry) === p2m_ram_rw && entryFrame(entry) === page;
    if (gfn !== NONE && !there) expect.fail(`page ${page} is not behind its gfn ${gfn}`);
  }
  for (const gfn of filledGfns(domain)) {
    const entry = p2mEntry(domain, gfn);
    const frame = entryFrame(entry);
    if (entryType(entry) !== p2m_ram_rw) continue;
    if (ownerOf(machine, frame) !== domain.id) expect.fail(`gfn ${gfn}: another's page ${frame}`);
    if (m2p(frame) !== gfn) expect.fail(`gfn ${gfn}: page ${frame}, whose gfn is ${m2p(frame)}`);
  }
}

/** Every handle is either live or once on the free list of one virtual CPU, its own. */
export function checkMaptrack({ domain, machine }: Actor, live: readonly number[]): void {
  const { u8, u32 } = machine.heap;
  const { ref, flags, vcpu: owner } = maptrackEntry.offset;
  const fields = domainStruct.cursor().at(machine.heap.view, domain.base);
  const free = new Set<number>();
  for (let vcpu = 0; vcpu < fields.nr_vcpus; vcpu++) {
    const { maptrack_head: head, maptrack_tail: tail } = fields.vcpus(vcpu);
    for (let handle = head; handle !== NONE;) {
      const entry = maptrackEntryOf(domain, handle);
      const unused = u8[entry + flags] === 0 && u8[entry + owner] === vcpu;
      if (!unused || free.has(handle)) expect.fail(`handle ${handle} on the free list`);
      free.add(handle);
      const next = u32[(entry + ref) >>> 2]!;
      if (next === NONE) expect(handle).toBe(tail);
      handle = next;
    }
  }
  for (const handle of live) expect(free.has(handle)).toBe(false);
  expect(free.size + live.length).toBe(nrMaptrackEntries(domain));
}

/** The end of a free list; no gfn. */
const NONE = 0xffff_ffff;

/** Every frame of bank 0 is free, a domain's, or the hypervisor's: nothing is lost and nothing counted twice. */
export function checkFrames(machine: Machine): void {
  const header = machineHeader.cursor().at(machine.heap.view, 0);
  const info = pageInfo.cursor();
  const at = (frame: number) => info.at(machine.heap.view, machine.pageInfo(frame));
  let free = machine.heap.pages - header.unused_from;
  for (let frame = header.free_head; frame !== INVALID_MFN; frame = info.next) {
    if (at(frame).count_info !== 0) expect.fail(`frame ${frame} on the free list`);
    free += 1;
  }
  expect(header.free_pages).toBe(free);
  // Frames with a count are in use; those without are free or were taken at the machine's start.
  let used = 0;
  for (let frame = 0; frame < header.unused_from; frame++) {
    if (at(frame).count_info !== 0) used += 1;
  }
  expect(used + free + taken(machine)).toBe(machine.heap.pages);
}

const atStart = new WeakMap<Machine, number>();

/** Frames that the machine itself took when it was created; the first call must come before any domain. */
export function taken(machine: Machine): number {
  let frames = atStart.get(machine);
  if (frames === undefined) {
    const header = machineHeader.cursor().at(machine.heap.view, 0);
    frames = machine.heap.pages - header.free_pages;
    atStart.set(machine, frames);
  }
  return frames;
}
