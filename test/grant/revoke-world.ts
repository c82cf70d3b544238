/** A grant to take back, and what the specs of that have in common. */
import { type CreateDomainOptions, freePages } from '@ringside/gnttab-core';
import {
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_okay,
  GTF_permit_access,
} from '@ringside/gnttab-core/abi';
import { type AfterRevocation, limitUse, revokeUse } from '@ringside/gnttab-core/hypervisor';
import { expect } from 'vitest';
import { checkFrames, taken } from './invariants.ts';
import { type Actor, windowOf, World } from './world.ts';

export const REF = 8;
export const rw = GNTMAP_host_map;
export const ro = GNTMAP_host_map | GNTMAP_readonly;
export const device = GNTMAP_device_map;
export const none = { hstw: 0, hstr: 0, devw: 0, devr: 0 };

/** A granter whose page 0, of bytes 5, the mapper may use as REF and as REF + 1. */
export function revocable(
  type: 'pv' | 'translated' = 'pv',
  options: Partial<CreateDomainOptions> = {},
) {
  const world = new World();
  taken(world.machine);
  const granter = world.domain();
  const mapper = world.domain({ type, ...options });
  granter.bytes(granter.mfn(0)).fill(5);
  const entry = { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) };
  for (const ref of [REF, REF + 1]) granter.entry(ref, entry);
  const at = (n = 0) => windowOf(mapper.domain, n);
  const map = (flags = rw, n = 0, ref = REF) => {
    const op = mapper.map({ dom: granter.id, ref, flags, hostAddr: at(n) });
    expect(op.status).toBe(GNTST_okay);
    return op;
  };
  const unmap = (handle: number, n = 0) => mapper.unmap({ handle, hostAddr: at(n) });
  const revoke = (then: AfterRevocation, ref = REF) =>
    revokeUse(granter.domain, ref, limitUse(granter.domain, ref), then);
  /** All domains go, and everything is free. */
  const end = (...actors: Actor[]) => {
    for (const actor of actors) actor.destroy();
    checkFrames(world.machine);
    expect(world.machine.heap.pages - freePages(world.machine)).toBe(taken(world.machine));
  };
  return { world, granter, mapper, at, map, unmap, revoke, end };
}
