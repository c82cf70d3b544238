/** A grant to map, and what the specs of mapping have in common. */
import {
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_okay,
  GTF_permit_access,
} from '@ringside/gnttab-core/abi';
import { expect } from 'vitest';
import { type Actor, three, windowOf } from './world.ts';

export const NOBODY = 999;
export const REF = 8;
export const ro = GNTMAP_host_map | GNTMAP_readonly;
export const rw = GNTMAP_host_map;

/** The granter's page 0 for the mapper, at REF. */
export function granted(flags: number = GTF_permit_access) {
  const all = three();
  const { granter, mapper } = all;
  granter.entry(REF, { flags, domid: mapper.id, frame: granter.frame(0) });
  const map = (mapFlags = rw, n = 0) =>
    mapper.map({
      dom: granter.id,
      ref: REF,
      flags: mapFlags,
      hostAddr: windowOf(mapper.domain, n),
    });
  const unmap = (handle: number, n = 0) =>
    mapper.unmap({ handle, hostAddr: windowOf(mapper.domain, n) });
  return { ...all, map, unmap };
}

/** Uses up every handle of a mapper that has one maptrack frame. */
export function exhaust(mapper: Actor, granter: Actor, ref: number): number[] {
  const handles: number[] = [];
  for (let n = 0; n < 255; n++) {
    // A counter takes 128 references, so half are of the other kind.
    const flags = n % 2 ? ro : rw;
    const op = mapper.map({ dom: granter.id, ref, flags, hostAddr: windowOf(mapper.domain, n) });
    expect(op.status).toBe(GNTST_okay);
    handles.push(op.handle);
  }
  return handles;
}
