/** What a C compiler says of the genuine headers (test/vectors/abi, made from Debian's libxen-dev). */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { Abi } from '@ringside/gnttab-core/abi';

const readText = (name: string): string =>
  gunzipSync(readFileSync(new URL(`../vectors/abi/${name}.gz`, import.meta.url))).toString('utf8');

/** One field of a type, nested ones too, by its C designator. */
export interface CField {
  readonly path: string;
  readonly offset: number;
  readonly size: number;
  readonly align: number;
  readonly ctype: string;
  readonly kind: 'uint' | 'int' | 'enum' | 'pointer' | 'struct' | 'union' | 'array';
  readonly count?: number;
  readonly stride?: number;
}

/** A type by the compiler's account. */
export interface CType {
  readonly header: string;
  readonly kind: 'struct' | 'union';
  readonly size: number;
  readonly align: number;
  readonly fields: readonly CField[];
}

/** layouts.json: types by name (`struct x`). */
export const layouts = JSON.parse(readText('layouts.json')) as {
  abis: Record<Abi, { types: Record<string, CType> }>;
};

/** constants.json, as far as the specs look. */
export const constantVectors = JSON.parse(readText('constants.json')) as {
  abis: Record<
    Abi,
    {
      macros: Record<string, Record<string, { value: string }>>;
      enums: Record<string, { header: string; values: Record<string, number> }>;
    }
  >;
  strings: Record<Abi, Record<string, Record<string, string>>>;
  tables: {
    gnttabop_error_msgs: { status: number; msg: string }[];
    xsd_errors: { errstring: string; errnum: number }[];
    xen_errno: { name: string; value: number }[];
  };
};

/** A field's value in encodings.jsonl: 8-byte integers are decimal strings, bytes hex strings. */
export type SampleValue =
  | number
  | string
  | readonly SampleValue[]
  | { readonly [field: string]: SampleValue };

/** One line of encodings.jsonl. */
export interface Sample {
  readonly abi: Abi;
  readonly type: string;
  readonly i: number;
  readonly fields: { readonly [field: string]: SampleValue };
  readonly hex: string;
}

/** Every line of encodings.jsonl whose type is asked for. */
export function samplesOf(types: ReadonlySet<string>): Sample[] {
  return readText('encodings.jsonl')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Sample)
    .filter(({ type }) => types.has(type));
}
