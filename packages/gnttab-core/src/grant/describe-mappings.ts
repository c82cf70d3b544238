/** A domain's mappings of other domains' grants as plain values, and where in its address space they are. */
import { GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly } from '../abi/grant-table.ts';
import { DOMAIN, INVALID_MFN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { type MachineAddress, PAGE_SIZE } from '../machine/page.ts';
import { L1_ENTRIES, PAGE_TABLE_SPAN, PTE_SIZE, pteAddress } from '../machine/page-table.ts';
import { ACT } from './active.ts';
import { isMappedAt } from './host-mapping.ts';
import { granterOf, maptrackEntryOf, nrMaptrackEntries } from './maptrack.ts';
import { MAPTRACK_revoked, maptrackEntry } from './structs.ts';
import { activeEntryOf, nrGrantEntries } from './table.ts';

/** Where a mapping is. */
export interface MappingPlace {
  /** Virtual (PV) or guest-physical address; absent if the page table entry is in no table that is in force. */
  readonly address?: number;
  /** PV: machine address of the page table entry. */
  readonly pte?: MachineAddress;
  /** Translated: guest frame number. */
  readonly gfn?: number;
}

/** A map track entry in use. */
export interface DescribedMapping {
  readonly mapper: number;
  readonly handle: number;
  readonly granter: number;
  /** Of the granter's. Absent once the mapping stands for no grant: 'revoked' and 'orphaned'. */
  readonly ref?: number;
  readonly host: boolean;
  readonly device: boolean;
  readonly readonly: boolean;
  /**
   * 'mapped': it is there. 'lost': its page table entry was overwritten; the pin stays, for no unmap finds the mapping.
   * 'revoked': taken back; the handle waits for its unmap. 'orphaned': its granter is gone.
   */
  readonly state: 'mapped' | 'lost' | 'revoked' | 'orphaned';
  /** The machine frame that a 'mapped' one shows; of a 'revoked' one the private copy, absent if it faults. */
  readonly frame?: number;
  /**
   * Where the host half is. Mappings of one frame with the same access are alike, also to Xen's unmap: a handle that was
   * unmapped at another's address has left its own place to that.
   */
  readonly place?: MappingPlace;
}

const { ref: REF, flags: FLAGS, domid: DOMID, vcpu: VCPU, place: PLACE } = maptrackEntry.offset;

/** Every mapping that the domain has made and not unmapped, by handle. */
export function describeMappings(mapper: Domain): DescribedMapping[] {
  const mappings: DescribedMapping[] = [];
  for (let handle = 0; handle < nrMaptrackEntries(mapper); handle++) {
    const mapping = describeMapping(mapper, handle);
    if (mapping !== undefined) mappings.push(mapping);
  }
  return placed(mapper, mappings);
}

function describeMapping(mapper: Domain, handle: number): DescribedMapping | undefined {
  const { u8, u16, u32 } = mapper.machine;
  const entry = maptrackEntryOf(mapper, handle);
  const flags = u8[entry + FLAGS]!;
  if (flags === 0) return undefined;
  const ref = u32[(entry + REF) >>> 2]!;
  const mapping = {
    mapper: mapper.id,
    handle,
    granter: u16[(entry + DOMID) >>> 1]!,
    host: (flags & GNTMAP_host_map) !== 0,
    device: (flags & GNTMAP_device_map) !== 0,
    readonly: (flags & GNTMAP_readonly) !== 0,
  };
  if ((flags & MAPTRACK_revoked) !== 0) {
    return { ...mapping, state: 'revoked', ...(ref !== INVALID_MFN && { frame: ref }) };
  }
  const granter = granterOf(mapper, entry);
  if (granter === undefined || ref >= nrGrantEntries(granter)) {
    return { ...mapping, state: 'orphaned' };
  }
  const frame = u32[(activeEntryOf(granter, ref) + ACT.frame) >>> 2]!;
  return { ...mapping, ref, state: 'mapped', frame };
}

/** The mappings with their places. */
function placed(mapper: Domain, mappings: readonly DescribedMapping[]): DescribedMapping[] {
  const describePlace = placeNames(mapper);
  return mappings.map((mapping) => {
    const { handle, host, frame, readonly, state } = mapping;
    if (!host || frame === undefined) return mapping;
    const place = mapper.machine.u32[(maptrackEntryOf(mapper, handle) + PLACE) >>> 2]!;
    if (isMappedAt(mapper, place, frame, readonly)) {
      return { ...mapping, place: describePlace(place) };
    }
    return state === 'mapped' ? { ...mapping, state: 'lost' } : mapping;
  });
}

/** From places as the map track has them to addresses. */
function placeNames(mapper: Domain): (place: number) => MappingPlace {
  if (mapper.translated) return (gfn) => ({ address: gfn * PAGE_SIZE, gfn });
  const tables = l1Addresses(mapper);
  return (place) => {
    const pte = place * PTE_SIZE;
    const within = pte % PAGE_SIZE;
    const first = tables.get(pte - within);
    return first === undefined
      ? { pte }
      : { address: first + (within / PTE_SIZE) * PAGE_SIZE, pte };
  };
}

/** The first virtual address that each L1 table covers, by the table's machine address. */
function l1Addresses(domain: Domain): Map<MachineAddress, number> {
  const addresses = new Map<MachineAddress, number>();
  const base = domain.machine.u32[(domain.base + DOMAIN.va_base) >>> 2]!;
  for (let offset = 0; offset < PAGE_TABLE_SPAN; offset += L1_ENTRIES * PAGE_SIZE) {
    const table = pteAddress(domain, base + offset);
    if (table >= 0) addresses.set(table, base + offset);
  }
  return addresses;
}

/** Handles in use and free, by the virtual CPU to whose queue they go back. */
export function handleUse(domain: Domain): { used: number; free: number }[] {
  const { u8, u32 } = domain.machine;
  const vcpus = u32[(domain.base + DOMAIN.nr_vcpus) >>> 2]!;
  const use = Array.from({ length: vcpus }, () => ({ used: 0, free: 0 }));
  for (let handle = 0; handle < nrMaptrackEntries(domain); handle++) {
    const entry = maptrackEntryOf(domain, handle);
    const queue = use[u8[entry + VCPU]!];
    if (queue === undefined) continue;
    if (u8[entry + FLAGS] === 0) queue.free += 1;
    else queue.used += 1;
  }
  return use;
}
