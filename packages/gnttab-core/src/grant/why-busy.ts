/** Why the end of a grant is refused, in words: "who still maps my page?". */
import type { Machine } from '../machine/machine.ts';
import type { DomainName } from '../machine/trace-sinks.ts';
import { type DescribedTable, describeGrants, type MappedGrant } from './describe.ts';
import type { DescribedMapping, MappingPlace } from './describe-mappings.ts';

const byNumber: DomainName = (domid) => `domain ${domid}`;

/**
 * What gnttab_end_foreign_access_ref() would find, one sentence for each reason. Throws RangeError if there is no such
 * domain or reference.
 */
export function whyBusy(
  machine: Machine,
  domid: number,
  ref: number,
  nameOf: DomainName = byNumber,
): string[] {
  const table = describeGrants(machine).find((one) => one.domid === domid);
  if (table === undefined) throw new RangeError(`there is no domain ${domid}`);
  if (!(ref >= 0 && ref < table.entries.total)) {
    throw new RangeError(`domain ${domid} has no reference ${ref}`);
  }
  return explainEnd(table, ref, nameOf);
}

/** The end of this grant is refused at the moment. */
export const isBusy = ({ reading, writing, transfer }: MappedGrant): boolean =>
  reading || writing || transfer === 'committed';

/** `whyBusy` of a table that is described already. */
export function explainEnd(
  table: DescribedTable,
  ref: number,
  nameOf: DomainName = byNumber,
): string[] {
  const granter = nameOf(table.domid);
  const reference = `reference ${ref} of ${granter}`;
  const grant = table.grants.find((one) => one.ref === ref);
  if (grant === undefined) return [`${reference} grants nothing: there is nothing to end`];
  if (grant.transfer !== undefined) return [explainTransfer(grant, reference, nameOf)];
  const users = [
    ...grant.mappings.map((mapping) => mappingUse(mapping, nameOf)),
    ...copyUse(grant, nameOf),
  ];
  if (!isBusy(grant)) {
    return users.length === 0
      ? [`nobody uses ${reference}: the end would succeed`]
      : users.map(
          (user) =>
            `${reference} looks unused, for ${granter} cleared Xen's flags itself: the end would succeed, and yet ${user}`,
        );
  }
  return [
    ...users.map((user) => `${reference} cannot end: ${user}`),
    ...ownFlags(grant, users.length > 0).map(
      (flag) => `${reference} cannot end: ${flag} was set by ${granter} itself`,
    ),
    ...(grant.pinned?.limited
      ? [`${reference} has a time limit: nobody new gets in, and when it is over this use ends`]
      : []),
  ];
}

function explainTransfer(grant: MappedGrant, reference: string, nameOf: DomainName): string {
  const from = nameOf(grant.domid);
  if (grant.transfer === 'committed') {
    return `${reference} cannot end: a frame of ${from} is on its way, committed and not complete`;
  }
  const come = grant.transfer === 'completed' ? 'has come' : 'has not come';
  return `the frame that ${reference} accepts from ${from} ${come}: the end would succeed`;
}

const accessOf = (readonly: boolean): string => (readonly ? 'read-only' : 'writable');

/** An address, or the page table entry where there is none. */
export const placeText = ({ address, pte }: MappingPlace): string =>
  address === undefined ? `by the entry at 0x${pte!.toString(16)}` : `at 0x${address.toString(16)}`;

function mappingUse(mapping: DescribedMapping, nameOf: DomainName): string {
  const { handle, host, device, readonly, state, place } = mapping;
  const mapper = nameOf(mapping.mapper);
  const access = accessOf(readonly);
  if (state === 'lost') {
    return `${mapper} has overwritten its ${access} mapping and not unmapped it (handle ${handle})`;
  }
  const at = place === undefined ? '' : ` ${placeText(place)}`;
  const devices = device ? (host ? ' and for devices' : ' for devices') : '';
  return `${mapper} maps it ${access}${at}${devices} (handle ${handle})`;
}

function copyUse({ copies, pinned }: MappedGrant, nameOf: DomainName): string[] {
  if (pinned === undefined) return [];
  const copier = nameOf(pinned.domid);
  return [
    ...(copies.reading > 0 ? [`${copier} is copying from it at this moment`] : []),
    ...(copies.writing > 0 ? [`${copier} is copying to it at this moment`] : []),
  ];
}

/** Flags that no pin justifies: of version 1, whose granter can write them. */
function ownFlags({ reading, writing, pinned }: MappedGrant, used: boolean): string[] {
  const pins = pinned?.pins;
  const written = pins !== undefined && pins.hostWriters + pins.deviceWriters > 0;
  return [
    ...(reading && !used ? ['GTF_reading'] : []),
    ...(writing && !written ? ['GTF_writing'] : []),
  ];
}
