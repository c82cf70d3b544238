/** What the specs of GNTTABOP_copy begin with. */
import { GTF_permit_access } from '@ringside/gnttab-core/abi';
import { type Actor, type Side, World } from './world.ts';
export const NOBODY = 999;
export const REF = 8;

export const fill = (actor: Actor, gfn: number, seed: number) =>
  actor.bytes(actor.mfn(gfn)).forEach((_, i, page) => (page[i] = (seed + i * 7) & 255));
export const page = (actor: Actor, gfn: number) => Uint8Array.from(actor.bytes(actor.mfn(gfn)));

/** The granter's page 0 at REF, granted to the caller. */
export function granted(flags: number = GTF_permit_access, type: 'pv' | 'translated' = 'pv') {
  const world = new World();
  const [granter, caller, other] = [world.domain({ type }), world.domain({ type }), world.domain()];
  granter.entry(REF, { flags, domid: caller.id, frame: granter.frame(0) });
  fill(granter, 0, 1);
  fill(caller, 0, 100);
  const remote: Side = { ref: REF, domid: granter.id };
  const local: Side = { gmfn: caller.frame(0) };
  return { world, granter, caller, other, remote, local };
}
