/** A grant that a domain controller limits. */
import { limitGrant, type GrantLimit, type GrantLimitOutcome } from '@ringside/gnttab-core';
import { GNTST_okay, GTF_permit_access } from '@ringside/gnttab-core/abi';
import { expect } from 'vitest';
import { taken } from './invariants.ts';
import { REF, rw } from './revoke-world.ts';
import { windowOf, World } from './world.ts';

/** Nanoseconds. */
export const MS = 1e6;

/** A controller, and a granter whose page 0 the mapper may use. */
export function world(type: 'pv' | 'translated' = 'pv') {
  const all = new World();
  taken(all.machine);
  const controller = all.domain({ privileged: true });
  const granter = all.domain();
  const mapper = all.domain({ type });
  const grant = (ref = REF) =>
    granter.entry(ref, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
  grant();
  const at = (n = 0) => windowOf(mapper.domain, n);
  const map = (flags = rw, n = 0, ref = REF) => {
    const op = mapper.map({ dom: granter.id, ref, flags, hostAddr: at(n) });
    expect(op.status).toBe(GNTST_okay);
    return op;
  };
  const unmap = (handle: number, n = 0) => mapper.unmap({ handle, hostAddr: at(n) });
  const limit = (options: Partial<GrantLimit> = {}) =>
    limitGrant(controller.domain, {
      granter: granter.domain.id,
      ref: REF as GrantLimit['ref'],
      timeoutNs: 10 * MS,
      after: 'fault',
      ...options,
    });
  /** What becomes of the limit, as far as it is known. */
  const watch = (limited: Promise<GrantLimitOutcome>) => {
    const seen: { outcome?: GrantLimitOutcome } = {};
    void limited.then((outcome) => (seen.outcome = outcome));
    return seen;
  };
  const sleep = (ms: number) => all.machine.scheduler.sleep(ms * MS);
  const { machine } = all;
  return { machine, all, controller, granter, mapper, grant, at, map, unmap, limit, watch, sleep };
}
