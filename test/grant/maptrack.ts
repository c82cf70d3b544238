/**
 * Map tracking with several virtual CPUs, beside a model: the handles that are in use, and the CPUs that ever had one.
 * Source: docs/misc/grant-tables.txt of Xen, "Map tracking". A CPU's last free handle is never given out, so `frames`
 * frames of 256 handles are good for one mapping less for each of these CPUs.
 */
import { GnttabMapGrantRef } from '@ringside/gnttab-core';
import {
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_general_error,
  GNTST_no_space,
  GNTST_okay,
  GTF_permit_access,
} from '@ringside/gnttab-core/abi';
import { mapGrantRef, nrMaptrackEntries } from '@ringside/gnttab-core/hypervisor';
import { expect } from 'vitest';
import { checkMaptrack } from './invariants.ts';
import { type Actor, windowOf, World } from './world.ts';

/** A counter takes 128 pins; so many references, each pinned for reading only, take every mapping. */
const MOST_PINS = 128;
const REFS = [8, 9, 10, 11, 12, 13, 14, 15];
const NO_GRANT = 16;
const HANDLES_PER_FRAME = 256;

export class MaptrackModel {
  readonly world = new World(1024);
  readonly granter: Actor;
  readonly mapper: Actor;
  readonly frames: number;
  /** What is mapped, by handle: the window page and the reference, in the order of mapping. */
  readonly live = new Map<number, { readonly slot: number; readonly ref: number }>();
  /** CPUs that have a handle to keep. */
  readonly cpus = new Set<number>();

  constructor(vcpus: number, frames: number) {
    this.frames = frames;
    this.granter = this.world.domain();
    this.mapper = this.world.domain({ vcpus, maxMaptrackFrames: frames });
    const { granter, mapper } = this;
    for (const ref of REFS) {
      granter.entry(ref, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    }
  }

  /** Mappings that there can be. */
  get capacity(): number {
    return HANDLES_PER_FRAME * this.frames - this.cpus.size;
  }

  /** There is a handle for this CPU. One that it must keep comes first, even if it then finds no other. */
  room(vcpu: number): boolean {
    if (this.live.size < this.capacity) this.cpus.add(vcpu);
    return this.live.size < this.capacity;
  }

  uses(ref: number): number {
    return [...this.live.values()].filter((mapping) => mapping.ref === ref).length;
  }

  /** A window page where nothing is mapped. */
  freeSlot(): number {
    const used = new Set([...this.live.values()].map(({ slot }) => slot));
    let slot = 0;
    while (used.has(slot)) slot += 1;
    return slot;
  }
}

/** A map from this CPU; or one that fails after its handle was found, and gives it back. */
export function map(model: MaptrackModel, vcpu: number, good = true): void {
  const { granter, mapper, live } = model;
  const ref = REFS.find((candidate) => model.uses(candidate) < MOST_PINS)!;
  const slot = model.freeSlot();
  const op = Object.assign(new GnttabMapGrantRef(), {
    dom: granter.id,
    ref: good ? ref : NO_GRANT,
    flags: GNTMAP_host_map | GNTMAP_readonly,
    hostAddr: windowOf(mapper.domain, slot),
  });
  mapGrantRef(mapper.domain, op, vcpu);
  const status = good ? GNTST_okay : GNTST_general_error;
  expect(op.status).toBe(model.room(vcpu) ? status : GNTST_no_space);
  if (op.status !== GNTST_okay) return;
  expect(live.has(op.handle)).toBe(false);
  expect(op.handle).toBeLessThan(nrMaptrackEntries(mapper.domain));
  live.set(op.handle, { slot, ref });
}

/** The `nth` mapping goes; from which CPU makes no difference. */
export function unmap({ live, mapper }: MaptrackModel, nth: number): void {
  if (live.size === 0) return;
  const [handle, { slot }] = [...live][nth % live.size]!;
  expect(mapper.unmap({ handle, hostAddr: windowOf(mapper.domain, slot) })).toBe(GNTST_okay);
  live.delete(handle);
}

export function unmapAll(model: MaptrackModel): void {
  while (model.live.size > 0) unmap(model, 0);
}

/** The hypervisor's handles and pins are those of the model. */
export function check(model: MaptrackModel): void {
  const { granter, mapper, live, frames } = model;
  checkMaptrack(mapper, [...live.keys()]);
  expect(nrMaptrackEntries(mapper.domain)).toBeLessThanOrEqual(HANDLES_PER_FRAME * frames);
  for (const ref of REFS) {
    expect(granter.pin(ref)).toEqual({ hstw: 0, hstr: model.uses(ref), devw: 0, devr: 0 });
  }
}
