/**
 * Who may read, write and own a node: a list of entries, the owner's first. docs/misc/xenstore.txt, "Permissions".
 * The first entry's letter is also the default for every domain that no later entry names.
 */

import { asCInt } from '../wire/text.ts';

/** May read values, children and permissions. */
export const PERM_READ = 1;
/** May write the value and create or remove children. */
export const PERM_WRITE = 2;
/** May change the permissions. */
export const PERM_OWNER = 4;
const ALL = PERM_READ | PERM_WRITE | PERM_OWNER;

/** Stands for every domain in an entry (xen.h of 4.20 and later). */
export const DOMID_ANY = 0x7ff5;

/** One entry, `r5` on the wire. */
export interface Permission {
  readonly domid: number;
  /** PERM_READ and PERM_WRITE. */
  readonly access: number;
  /** The domain did not exist when the entry was made: kept and shown, but never matched, not even by a later domain. */
  readonly ignored: boolean;
}

/** At least one entry; the first is the owner's. */
export type Permissions = readonly [Permission, ...Permission[]];

/** Who asks: a connection's domain and what stands behind it. */
export interface Subject {
  readonly domid: number;
  /** The control domain's tools: may do everything. */
  readonly privileged: boolean;
  /** The domain whose rights this one has too (a stub domain's guest, SET_TARGET). */
  readonly target: number | undefined;
}

/** Owned by domain 0, closed to everybody else: the root's permissions in a fresh store. */
export const OWNED_BY_DOM0: Permissions = [{ domid: 0, access: 0, ignored: false }];

/** What `subject` may do with a node: an owner and the tools everything, else what the first matching entry says. */
export function accessFor(subject: Subject, permissions: Permissions): number {
  const matches = (domid: number) => domid === subject.domid || domid === subject.target;
  const [owner, ...others] = permissions;
  if (subject.privileged || matches(owner.domid)) return ALL;
  const entry = others.find(
    ({ domid, ignored }) => !ignored && (matches(domid) || domid === DOMID_ANY),
  );
  return (entry ?? owner).access;
}

const LETTERS = ['n', 'r', 'w', 'b'] as const;

/** `n0`, `r5`, … as GET_PERMS answers. */
export const formatPermission = ({ domid, access }: Permission): string =>
  `${LETTERS[access]}${domid}`;

// What C's strtol makes of a number in base 0: white space, sign, then hexadecimal, octal or decimal.
const DOMID = /^[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)$/;

/** Reads `r5`; undefined if it is not a permission. `exists` tells whether there is such a domain now. */
export function parsePermission(
  text: string,
  exists: (domid: number) => boolean,
): Permission | undefined {
  const access = LETTERS.indexOf(text[0] as (typeof LETTERS)[number]);
  const [, sign, digits] = DOMID.exec(text.slice(1)) ?? [];
  if (access < 0 || digits === undefined) return undefined;
  const octal = /^0[0-9]+$/.test(digits);
  if (octal && /[89]/.test(digits)) return undefined;
  const magnitude = BigInt(octal ? `0o${digits}` : digits);
  const domid = asCInt(sign === '-' ? -magnitude : magnitude) >>> 0;
  return { domid, access, ignored: domid !== DOMID_ANY && !exists(domid) };
}

/** What a new node gets: its parent's permissions, but a guest owns what it creates. */
export function inheritedPermissions(parent: Permissions, creator: Subject): Permissions {
  if (creator.privileged) return parent;
  const [owner, ...others] = parent;
  return [{ ...owner, domid: creator.domid, ignored: false }, ...others];
}
