/** Everything that the project declares of the public headers, by enumerating the exports of its abi modules. */
import * as core from '@ringside/gnttab-core/abi';
import * as blkif from '@ringside/blkif/abi';
import * as netif from '@ringside/netif/abi';
import * as xenstore from '@ringside/xenstore-lite/abi';
import type { Abi, Struct, Table } from '@ringside/gnttab-core/abi';

export const abis = ['x86_64', 'i386'] as const satisfies readonly Abi[];

/** A struct or union under both ABIs. */
export type DeclaredStruct = Readonly<Record<Abi, Struct<Table>>>;

/** The value of a constant, where need be by ABI. */
export type Constant = number | bigint | string | Readonly<Record<Abi, number>>;

/** Everything, by name. */
export const exported: ReadonlyMap<string, unknown> = new Map(
  [core, blkif, netif, xenstore].flatMap((module) => Object.entries<unknown>(module)),
);

const byAbi = (value: unknown): value is Readonly<Record<Abi, unknown>> =>
  typeof value === 'object' && value !== null && 'x86_64' in value && 'i386' in value;

const isStruct = (value: unknown): value is DeclaredStruct =>
  byAbi(value) && typeof value.x86_64 === 'object';

const isConstant = (value: unknown): value is Constant =>
  ['number', 'bigint', 'string'].includes(typeof value) ||
  (byAbi(value) && typeof value.x86_64 === 'number');

export const structs: readonly DeclaredStruct[] = [...exported.values()].filter(isStruct);

/** Constants of Xen 4.5's headers that later ones dropped, with the value they had. */
export const dropped: readonly (readonly [string, number])[] = [['GNTMAP_can_fail', 1 << 5]];
const droppedNames = new Set(dropped.map(([name]) => name));

/** Constants that the headers of today have. */
export const constants: readonly (readonly [string, Constant])[] = [...exported].filter(
  (entry): entry is [string, Constant] => isConstant(entry[1]) && !droppedNames.has(entry[0]),
);

/** As C names it: `struct gnttab_copy`. */
export const cName = ({ kind, name }: { kind: string; name: string }): string => `${kind} ${name}`;

/** The value of a constant under an ABI. */
export const valueOf = (constant: Constant, abi: Abi): number | bigint | string =>
  typeof constant === 'object' ? constant[abi] : constant;
