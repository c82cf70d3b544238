/**
 * Grant tables as plain values, for viewers and tools: who granted what to whom, and who still maps it. In Xen this is
 * GNTTABOP_dump_table and debug key 'g', which print to its console. Only reads, and takes no lock: while another thread
 * is inside a hypercall, a description may be torn.
 */
import { DOMID_FIRST_RESERVED } from '../abi/xen.ts';
import type { Domain, Machine } from '../machine/machine.ts';
import { type DescribedGrant, describeGrant } from './describe-entry.ts';
import { type DescribedMapping, describeMappings, handleUse } from './describe-mappings.ts';
import { GT, MAPTRACK_PER_PAGE } from './structs.ts';
import {
  GRANT_PER_PAGE_V1,
  GRANT_PER_PAGE_V2,
  grantVersion,
  maxGrantFrames,
  nrGrantEntries,
  nrGrantFrames,
  nrStatusFrames,
  sharedFrameAt,
  statusFrameAt,
} from './table.ts';

/** A grant and everybody who maps it. */
export interface MappedGrant extends DescribedGrant {
  readonly mappings: readonly DescribedMapping[];
  /** Copies under way: pins that are no mapping's. A copy's pins go when its hypercall ends. */
  readonly copies: { readonly reading: number; readonly writing: number };
}

/** A domain's grant table. */
export interface DescribedTable {
  readonly domid: number;
  readonly type: 'pv' | 'translated';
  /** Destroyed; something of it is in use all the same. */
  readonly dying: boolean;
  /** 1 or 2, and the highest that the domain may choose. */
  readonly version: number;
  readonly maxVersion: number;
  /** Machine frames of the shared entries, in order, and how many there may be. */
  readonly sharedFrames: readonly number[];
  readonly maxFrames: number;
  /** Machine frames of the status words; none in version 1. */
  readonly statusFrames: readonly number[];
  /** Entries that are not empty, entries that there are, and entries that there could be. */
  readonly entries: { readonly used: number; readonly total: number; readonly limit: number };
  /** Map track entries, likewise; and by virtual CPU, whose last free one is never given out. */
  readonly handles: {
    readonly used: number;
    readonly total: number;
    readonly limit: number;
    readonly vcpus: readonly { readonly used: number; readonly free: number }[];
  };
  /** The entries that are not empty, by reference. */
  readonly grants: readonly MappedGrant[];
  /** Mappings that this domain has made and that stand for no grant any more: see DescribedMapping.state. */
  readonly looseMappings: readonly DescribedMapping[];
}

/** The grant tables of all domains, by domain id; ghosts of destroyed ones too. */
export function describeGrants(machine: Machine): DescribedTable[] {
  const domains = domainsOf(machine);
  const mappings = domains.flatMap(describeMappings);
  return domains.map((domain) => describeTable(domain, mappings));
}

function domainsOf(machine: Machine): Domain[] {
  const domains: Domain[] = [];
  for (let id = 0; id < DOMID_FIRST_RESERVED; id++) {
    const domain = machine.domainById(id);
    if (domain !== undefined) domains.push(domain);
  }
  return domains;
}

function describeTable(domain: Domain, mappings: readonly DescribedMapping[]): DescribedTable {
  const { u32 } = domain.machine;
  const word = (offset: number): number => u32[(domain.base + offset) >>> 2]!;
  const version = grantVersion(domain);
  const total = nrGrantEntries(domain);
  const grants: MappedGrant[] = [];
  const users = new Map<number, DescribedMapping[]>();
  for (const mapping of mappings) {
    if (mapping.granter !== domain.id || mapping.ref === undefined) continue;
    const list = users.get(mapping.ref);
    if (list === undefined) users.set(mapping.ref, [mapping]);
    else list.push(mapping);
  }
  for (let ref = 0; ref < total; ref++) {
    const grant = describeGrant(domain, ref);
    if (grant !== undefined) grants.push(withUsers(grant, users.get(ref) ?? []));
  }
  const handles = handleUse(domain);
  return {
    domid: domain.id,
    type: domain.translated ? 'translated' : 'pv',
    dying: domain.isDying,
    version,
    maxVersion: word(GT.max_version),
    sharedFrames: listed(domain, nrGrantFrames(domain), sharedFrameAt),
    maxFrames: maxGrantFrames(domain),
    statusFrames: listed(domain, nrStatusFrames(domain), statusFrameAt),
    entries: {
      used: grants.length,
      total,
      limit: maxGrantFrames(domain) * (version === 1 ? GRANT_PER_PAGE_V1 : GRANT_PER_PAGE_V2),
    },
    handles: {
      used: handles.reduce((sum, { used }) => sum + used, 0),
      total: word(GT.nr_maptrack_frames) * MAPTRACK_PER_PAGE,
      limit: word(GT.max_maptrack_frames) * MAPTRACK_PER_PAGE,
      vcpus: handles,
    },
    grants,
    looseMappings: mappings.filter(({ mapper, ref }) => mapper === domain.id && ref === undefined),
  };
}

const listed = (
  domain: Domain,
  count: number,
  frameAt: (domain: Domain, index: number) => number,
): number[] => Array.from({ length: count }, (_, index) => frameAt(domain, index));

function withUsers(grant: DescribedGrant, mappings: readonly DescribedMapping[]): MappedGrant {
  const hosts = (readonly: boolean): number =>
    mappings.filter((mapping) => mapping.host && mapping.readonly === readonly).length;
  const pins = grant.pinned?.pins;
  return {
    ...grant,
    mappings,
    copies: {
      reading: Math.max(0, (pins?.hostReaders ?? 0) - hosts(true)),
      writing: Math.max(0, (pins?.hostWriters ?? 0) - hosts(false)),
    },
  };
}
