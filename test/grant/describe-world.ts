/** What the specs of describeGrants and whyBusy begin with. */
import { GNTMAP_host_map, GNTMAP_readonly, GTF_permit_access } from '@ringside/gnttab-core/abi';
import { describeGrants, whyBusy } from '@ringside/gnttab-core/hypervisor';
import { type Actor, windowOf, World } from './world.ts';

export const REF = 8;
export const rw = GNTMAP_host_map;
export const ro = GNTMAP_host_map | GNTMAP_readonly;

export const tableOf = ({ machine, id }: Actor) =>
  describeGrants(machine).find(({ domid }) => domid === id)!;
export const grantOf = (actor: Actor, ref = REF) =>
  tableOf(actor).grants.find((one) => one.ref === ref);
export const whyOf = ({ machine, id }: Actor, ref = REF) => whyBusy(machine, id, ref);

/** The granter's page 0 for the mapper. */
export function granted(flags: number = GTF_permit_access, mapperType: 'pv' | 'translated' = 'pv') {
  const world = new World();
  const granter = world.domain();
  const mapper = world.domain({ type: mapperType });
  granter.entry(REF, { flags, domid: mapper.id, frame: granter.frame(0) });
  const map = (mapFlags = rw, n = 0) =>
    mapper.map({
      dom: granter.id,
      ref: REF,
      flags: mapFlags,
      hostAddr: windowOf(mapper.domain, n),
    });
  const hex = (n = 0) => `0x${windowOf(mapper.domain, n).toString(16)}`;
  return { world, granter, mapper, map, hex };
}
