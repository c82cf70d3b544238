/**
 * The keys that the two ends write for each other, as tables: name, type, default, range, who writes it. Reading checks
 * every value, because whoever wrote it need not be honest.
 */
import type { XenStoreOperations } from '../client/operations.ts';
import { childOf } from '../store/path.ts';
import { XenbusKeyError } from './errors.ts';

interface KeyBase<T> {
  /** Taken when the node is missing; without a default (and not `optional`) it must be there. */
  readonly default?: T;
  /** May be missing, and is then undefined. */
  readonly optional?: true;
  readonly writer: 'frontend' | 'backend' | 'toolstack';
  /** What it means; the guides' tables are made from this. */
  readonly docs: string;
}

/** "1" or "0"; any other number but 0 counts as true, as in Linux. */
export interface BoolKey extends KeyBase<boolean> {
  readonly type: 'bool';
}

/** A decimal number, at most 2^53 - 1. */
export interface UintKey extends KeyBase<number> {
  readonly type: 'uint';
  /** Default: 0. */
  readonly min?: number;
  /** Default: 2^53 - 1. */
  readonly max?: number;
  /** What becomes of a number out of range: refused (default), or moved to the nearest end. */
  readonly outOfRange?: 'refuse' | 'clamp';
}

export interface StringKey extends KeyBase<string> {
  readonly type: 'string';
  /** What the whole value has to match. */
  readonly pattern?: RegExp;
}

export type Key = BoolKey | UintKey | StringKey;

/** Node name to key. */
export type KeyTable = Readonly<Record<string, Key>>;

type ValueOf<K extends Key> = K extends BoolKey ? boolean : K extends UintKey ? number : string;

/** What reading a table yields: a key that may be missing without a default is undefined then. */
export type KeyValues<T extends KeyTable> = {
  readonly [N in keyof T]: T[N] extends { readonly optional: true }
    ? ValueOf<T[N]> | undefined
    : ValueOf<T[N]>;
};

/** Names the table's type exactly, so that the values read have the keys' types. */
export const keyTable = <const T extends KeyTable>(table: T): T => table;

/**
 * Reads all keys of a table below `path`; in a transaction if `store` is one. Throws XenbusKeyError for the first value
 * that is not allowed, XenStoreError if a node cannot be read.
 */
export async function readKeys<const T extends KeyTable>(
  store: XenStoreOperations,
  path: string,
  table: T,
): Promise<KeyValues<T>> {
  const entries = Object.entries(table);
  const texts = await Promise.all(entries.map(([name]) => store.readIfExists(childOf(path, name))));
  const values = entries.map(([name, key], i) => [
    name,
    parseKey(childOf(path, name), key, texts[i]),
  ]);
  return Object.fromEntries(values) as KeyValues<T>;
}

/** Writes the given keys of a table below `path`. Throws XenbusKeyError for a value that the table does not allow. */
export async function writeKeys<const T extends KeyTable>(
  store: XenStoreOperations,
  path: string,
  table: T,
  values: { readonly [N in keyof T]?: ValueOf<T[N]> | undefined },
): Promise<void> {
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) continue;
    const node = childOf(path, name);
    const text = typeof value === 'boolean' ? String(+value) : String(value);
    const key = table[name];
    // Writing is strict: what would be clamped in reading is a mistake here.
    if (key) parseKey(node, key.type === 'uint' ? { ...key, outOfRange: 'refuse' } : key, text);
    await store.write(node, text);
  }
}

/** The value that `text` means for a key. */
function parseKey(
  path: string,
  key: Key,
  text: string | undefined,
): boolean | number | string | undefined {
  if (text === undefined) {
    if (key.default !== undefined || key.optional) return key.default;
    throw new XenbusKeyError(path, undefined, allowedBy(key));
  }
  if (key.type === 'string') {
    const whole = key.pattern ? (key.pattern.exec(text)?.[0] ?? '\0') : text;
    if (whole === text) return text;
    throw new XenbusKeyError(path, text, allowedBy(key));
  }
  const number = /^\d{1,20}$/.test(text) ? Number(text) : NaN;
  const [min, max] = rangeOf(key);
  if (Number.isNaN(number)) throw new XenbusKeyError(path, text, allowedBy(key));
  if (key.type === 'bool') return number !== 0;
  if (key.outOfRange === 'clamp') return Math.min(Math.max(number, min), max);
  if (number >= min && number <= max) return number;
  throw new XenbusKeyError(path, text, allowedBy(key));
}

const rangeOf = (key: BoolKey | UintKey): [number, number] =>
  key.type === 'bool' ? [0, 1] : [key.min ?? 0, key.max ?? Number.MAX_SAFE_INTEGER];

/** For people: what a key may be. */
function allowedBy(key: Key): string {
  if (key.type === 'bool') return '0 or 1';
  if (key.type === 'string') return key.pattern ? `text like ${key.pattern.source}` : 'text';
  const [min, max] = rangeOf(key);
  return `a decimal number from ${min} to ${max}`;
}
