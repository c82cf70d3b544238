/** Which field of a shared grant entry a byte belongs to. */
import {
  grantEntryV1,
  grantEntryV2,
  GTF_permit_access,
  GTF_sub_page,
  GTF_transitive,
  GTF_type_mask,
} from '@ringside/gnttab-core/abi';

/** Bytes of an entry. Both ABIs have the same entries. */
export const entryBytes = (version: number): number =>
  (version === 1 ? grantEntryV1 : grantEntryV2).x86_64.size;

/** A field, and where it begins in the entry. */
export interface EntryField {
  readonly name: string;
  readonly offsetBytes: number;
}

/** The fields in which two entries differ; the first says which form of version 2 they are read as. */
export function differentFields(
  version: number,
  expected: Uint8Array,
  got: Uint8Array,
): EntryField[] {
  const fields = version === 1 ? grantEntryV1.x86_64.fields : fieldsOfForm(formOf(expected));
  const found = new Map<string, EntryField>();
  for (let at = 0; at < expected.length; at++) {
    if (expected[at] === got[at]) continue;
    const field = fields.find(({ offset, size }) => at >= offset && at < offset + size);
    const name = field === undefined ? 'unused' : field.path;
    if (!found.has(name)) found.set(name, { name, offsetBytes: field?.offset ?? at });
  }
  return [...found.values()];
}

/** The member of the union that an entry of version 2 is. */
function formOf(entry: Uint8Array): 'full_page' | 'sub_page' | 'transitive' {
  const flags = entry[0]! | (entry[1]! << 8);
  if ((flags & GTF_type_mask) === GTF_transitive) return 'transitive';
  const isPart = (flags & GTF_type_mask) === GTF_permit_access && (flags & GTF_sub_page) !== 0;
  return isPart ? 'sub_page' : 'full_page';
}

/** Its fields by their own names; not the header as a whole, of which they are. */
function fieldsOfForm(form: ReturnType<typeof formOf>) {
  return grantEntryV2.x86_64.fields
    .filter(({ path, kind }) => path.startsWith(`${form}.`) && kind !== 'struct')
    .map((field) => ({ ...field, path: field.path.split('.').at(-1)! }));
}
