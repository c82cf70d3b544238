/**
 * What a trace record can say. The core's kinds stand here; the drivers add theirs with
 * `defineTraceKind`. Numbers are part of the trace's format.
 */

export interface TraceKind {
  readonly number: number;
  readonly name: string;
  /** Names of the record's arguments, at most five. */
  readonly args: readonly string[];
  /** A span opens at `begin` and closes at the `end` with the same first argument. */
  readonly span?: { readonly name: string; readonly edge: 'begin' | 'end' };
}

const kinds = new Map<number, TraceKind>();

/** Adds a kind. Core 0 to 63, blkif 64 to 95, netif 96 to 127, others from 128. */
export function defineTraceKind(
  number: number,
  name: string,
  args: readonly string[],
  span?: TraceKind['span'],
): number {
  const known = kinds.get(number);
  if (known !== undefined && known.name !== name) {
    throw new RangeError(`trace kind ${number} is ${known.name} already, not ${name}`);
  }
  kinds.set(number, { number, name, args, ...(span && { span }) });
  return number;
}

/** The kind of a record; unknown numbers (a newer trace) get a name of their own. */
export const traceKind = (number: number): TraceKind =>
  kinds.get(number) ?? { number, name: `kind${number}`, args: ['a', 'b', 'c', 'd', 'e'] };

export const TRACE = {
  domainCreate: defineTraceKind(0, 'domain_create', ['domid', 'pages']),
  domainDestroy: defineTraceKind(1, 'domain_destroy', ['domid']),
  domainCrash: defineTraceKind(26, 'domain_crash', ['domid']),
  mapGrantRef: defineTraceKind(2, 'map_grant_ref', ['dom', 'ref', 'handle', 'status', 'flags']),
  unmapGrantRef: defineTraceKind(3, 'unmap_grant_ref', ['dom', 'ref', 'handle', 'status']),
  grantTransfer: defineTraceKind(4, 'transfer', ['dom', 'ref', 'mfn', 'status']),
  grantCopy: defineTraceKind(5, 'copy', ['source', 'dest', 'len', 'status', 'flags']),
  setupTable: defineTraceKind(6, 'setup_table', ['dom', 'nr_frames', 'status']),
  setVersion: defineTraceKind(7, 'set_version', ['version', 'result']),
  swapGrantRef: defineTraceKind(12, 'swap_grant_ref', ['ref_a', 'ref_b', 'status']),
  grantAccess: defineTraceKind(8, 'grant_access', ['ref', 'dom', 'frame', 'readonly']),
  grantEnd: defineTraceKind(9, 'grant_end', ['ref', 'busy']),
  grantTransferPost: defineTraceKind(10, 'grant_transfer', ['ref', 'dom', 'frame']),
  grantTransferEnd: defineTraceKind(11, 'grant_transfer_end', ['ref', 'mfn']),
  grantLimit: defineTraceKind(27, 'grant_limit', ['ref', 'dom', 'timeout_us']),
  grantRevoke: defineTraceKind(28, 'grant_revoke', ['ref', 'dom', 'mappings', 'copied']),
  evtchnAlloc: defineTraceKind(16, 'evtchn_alloc_unbound', ['port', 'remote']),
  evtchnBind: defineTraceKind(17, 'evtchn_bind_interdomain', ['port', 'remote', 'remote_port']),
  evtchnSend: defineTraceKind(18, 'evtchn_send', ['port', 'remote', 'remote_port']),
  evtchnHeld: defineTraceKind(19, 'notify_held_off', ['port']),
  evtchnClose: defineTraceKind(20, 'evtchn_close', ['port']),
  upcall: defineTraceKind(21, 'upcall', ['vcpu']),
  evtchnBindVirq: defineTraceKind(22, 'evtchn_bind_virq', ['port', 'virq', 'vcpu']),
  evtchnBindIpi: defineTraceKind(23, 'evtchn_bind_ipi', ['port', 'vcpu']),
  updateVaMapping: defineTraceKind(24, 'update_va_mapping', ['va', 'mfn']),
  reservation: defineTraceKind(25, 'reservation', ['added', 'removed', 'total']),
} as const;
