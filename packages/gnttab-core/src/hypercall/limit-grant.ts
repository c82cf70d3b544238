/** A time limit on a grant that is in use: what a granter asks of the domain controller. Not in Xen; see grant/revoke.ts. */
import { type AfterRevocation, limitUse, nrGrantEntries, revokeUse } from '../grant/index.ts';
import type { Domain } from '../machine/machine.ts';
import type { DomId, GrantRef } from '../machine/page.ts';
import { TRACE } from '../machine/trace-kinds.ts';

/** What is to be taken back, when, and how. */
export interface GrantLimit {
  readonly granter: DomId;
  /** Of the granter's table. */
  readonly ref: GrantRef;
  /** How long the present use may go on, in nanoseconds of the machine's clock. */
  readonly timeoutNs: number;
  /** What the mapper finds afterwards. */
  readonly after: AfterRevocation;
}

/**
 * 'released': the peer let go in time, or did not use the grant; 'revoked': it was taken back. Either way the grant is mapped
 * nowhere, and cannot be, until its granter grants anew.
 */
export type GrantLimitOutcome = 'released' | 'revoked';

/**
 * Takes a grant back. From now on no use of it begins: the granter's entry permits nothing any more. The present use may go
 * on for `timeoutNs`, whatever mappings it comes to have; then all of them end. Resolves when the time is over, or at once if
 * nobody uses the grant. What its granter grants anew by the same reference meanwhile is another use, and is not touched.
 * Throws RangeError if the caller is no control domain, or if there is no such domain or reference.
 */
export async function limitGrant(
  controller: Domain,
  limit: GrantLimit,
): Promise<GrantLimitOutcome> {
  const { machine } = controller;
  const { granter: id, ref, timeoutNs, after } = limit;
  if (!controller.privileged) {
    throw new RangeError(`domain ${controller.id} is no control domain: it may not limit grants`);
  }
  const granter = machine.domainById(id);
  if (granter === undefined) throw new RangeError(`limiting a grant: there is no domain ${id}`);
  if (ref >= nrGrantEntries(granter)) {
    throw new RangeError(`limiting a grant: domain ${id} has no reference ${ref}`);
  }
  const number = limitUse(granter, ref);
  if (number === 0) return 'released';
  machine.trace.emit(TRACE.grantLimit, controller.id, ref, id, Math.ceil(timeoutNs / 1000));
  await machine.scheduler.sleep(timeoutNs);
  const gone = machine.domainById(id) !== granter;
  return !gone && revokeUse(granter, ref, number, after) > 0 ? 'revoked' : 'released';
}
