/** What a recorded hypercall was asked, in words, and why a map may have been refused. */
import {
  DOMID_SELF,
  GNTCOPY_dest_gref,
  GNTCOPY_source_gref,
  GNTMAP_application_map,
  GNTMAP_can_fail,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTTAB_CACHE_CLEAN,
  GNTTAB_CACHE_INVAL,
  GNTTAB_CACHE_SOURCE_GREF,
  grantEntryHeader,
  GTF_permit_access,
  GTF_readonly,
  GTF_sub_page,
  GTF_transitive,
  GTF_type_mask,
} from '@ringside/gnttab-core/abi';
import { grantVersion, nrGrantEntries, sharedEntryOf } from '@ringside/gnttab-core/hypervisor';
import { fieldsOf } from '../reader.ts';
import { bitNames } from '../words.ts';
import { entryBytes } from './entry-layout.ts';
import { grantEntry } from './names.ts';
import type { Hypercall } from './recording.ts';
import type { World } from './world.ts';

type BitNames = Readonly<Record<string, number>>;

/** The fields of arguments that are sets of bits, by operation. */
const bits: Readonly<Record<string, Readonly<Record<string, BitNames>>>> = {
  map_grant_ref: {
    flags: {
      GNTMAP_device_map,
      GNTMAP_host_map,
      GNTMAP_readonly,
      GNTMAP_application_map,
      GNTMAP_contains_pte,
      GNTMAP_can_fail,
    },
  },
  copy: { flags: { GNTCOPY_source_gref, GNTCOPY_dest_gref } },
  cache_flush: { op: { GNTTAB_CACHE_CLEAN, GNTTAB_CACHE_INVAL, GNTTAB_CACHE_SOURCE_GREF } },
};

/** The arguments of one element: `host_addr 0x40000000, flags GNTMAP_host_map, ref 8, dom 1`. */
export function argumentWords({ op, said }: Hypercall, element: number): string {
  const words = wordsOf(said[element], '', bits[op] ?? {});
  return words.length === 0 ? 'nothing' : words.join(', ');
}

function wordsOf(
  value: unknown,
  path: string,
  names: Readonly<Record<string, BitNames>>,
): string[] {
  if (typeof value === 'object' && value !== null) {
    return Object.entries(value).flatMap(([name, field]) =>
      wordsOf(field, path === '' ? name : `${path}.${name}`, names),
    );
  }
  return [`${path} ${valueWord(value, path, names)}`];
}

function valueWord(
  value: unknown,
  path: string,
  names: Readonly<Record<string, BitNames>>,
): string {
  const bitsOfField = names[path];
  if (typeof value !== 'number') return String(value);
  if (bitsOfField !== undefined) return bitNames(value, bitsOfField).join('|') || '0';
  return /(^|\.)dom(id)?$/.test(path) && value === DOMID_SELF ? 'DOMID_SELF' : String(value);
}

/** What the header's "undefined error" of a map comes from: an entry that is not for such a map. */
export function mapHint(world: World, call: Hypercall, element: number): string | undefined {
  if (call.op !== 'map_grant_ref') return undefined;
  const { dom, ref, flags } = fieldsOf(call.said[element], 'args') as Record<string, number>;
  const granter = world.guests.get(dom === DOMID_SELF ? call.dom : dom!);
  if (granter === undefined || !world.isPresent(granter)) return undefined;
  const { domain } = granter;
  if (!(ref! < nrGrantEntries(domain))) return undefined;
  const version = grantVersion(domain);
  const start = sharedEntryOf(domain, ref!);
  const entry = world.machine.bank(0).u8.slice(start, start + entryBytes(version));
  const why = whyNotMapped(entry, call.dom, (flags! & GNTMAP_readonly) !== 0);
  const name = `reference ${ref} of domain ${granter.header.id}`;
  return why && `GNTST_general_error: ${name} is ${grantEntry(version, entry)}; ${why}`;
}

function whyNotMapped(entry: Uint8Array, mapper: number, readonly: boolean): string | undefined {
  const view = new DataView(entry.buffer, entry.byteOffset, entry.length);
  const { flags, domid } = grantEntryHeader.x86_64.decode(view, 0);
  const type = flags & GTF_type_mask;
  if (type === GTF_transitive) return 'a transitive grant can be copied, not mapped';
  if (type !== GTF_permit_access) return 'it grants no access';
  if ((flags & GTF_sub_page) !== 0) return 'a part of a page can be copied, not mapped';
  if (domid !== mapper) return `it is not for domain ${mapper}`;
  if ((flags & GTF_readonly) !== 0 && !readonly) return 'it can be mapped read-only';
  return undefined;
}
