/** One grant as plain values: the shared entry as its granter wrote it, and the active entry as Xen believes it. */
import {
  grantEntryHeader,
  grantEntryV2,
  GTF_accept_transfer,
  GTF_invalid,
  GTF_PAT,
  GTF_PCD,
  GTF_permit_access,
  GTF_PWT,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transfer_committed,
  GTF_transfer_completed,
  GTF_transitive,
  GTF_type_mask,
  GTF_writing,
} from '../abi/grant-table.ts';
import type { Domain } from '../machine/machine.ts';
import { ACT } from './active.ts';
import { grantedFrame } from './frames.ts';
import { GNTPIN_hstr_mask, GNTPIN_hstw_mask } from './structs.ts';
import { activeEntryOf, grantVersion, sharedEntryOf, statusWordOf } from './table.ts';

const TYPES = {
  [GTF_invalid]: 'GTF_invalid',
  [GTF_permit_access]: 'GTF_permit_access',
  [GTF_accept_transfer]: 'GTF_accept_transfer',
  [GTF_transitive]: 'GTF_transitive',
} as const;
/** The type of a grant, as the header has it. */
export type GrantType = (typeof TYPES)[keyof typeof TYPES];

/** The subflags that a granter sets. */
const ACCESS_FLAGS = { GTF_readonly, GTF_PWT, GTF_PCD, GTF_PAT, GTF_sub_page };

/** Part of a page. */
export interface PageWindow {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** Another domain's grant. */
export interface GrantBehind {
  readonly domid: number;
  readonly ref: number;
}

/** What Xen believes of a grant in use, from its first pin to its last. */
export interface PinnedGrant {
  /** Who uses it. */
  readonly domid: number;
  /** The machine frame, and as the granter named it. */
  readonly frame: number;
  readonly gfn: number;
  readonly pins: {
    readonly hostReaders: number;
    readonly hostWriters: number;
    readonly deviceReaders: number;
    readonly deviceWriters: number;
  };
  /** What may be copied, of a sub-page or transitive grant. */
  readonly window?: PageWindow;
  readonly behind?: GrantBehind;
  /** The domain controller has put a time limit on this use. */
  readonly limited: boolean;
}

/** A grant entry that is not empty. */
export interface DescribedGrant {
  readonly ref: number;
  readonly type: GrantType;
  /** Names of the subflags that the granter has set. */
  readonly flags: readonly string[];
  /** Who may use it. */
  readonly domid: number;
  /** The frame as the granter names it: an mfn (PV) or a gfn. A transitive grant has none. */
  readonly frame?: number;
  /** The part of the page that is granted. Absent: all of it. */
  readonly window?: PageWindow;
  /** What stands behind a transitive grant. */
  readonly behind?: GrantBehind;
  /** How far a transfer has come. Absent: no transfer is accepted. */
  readonly transfer?: 'posted' | 'committed' | 'completed';
  /** GTF_reading and GTF_writing: in the flags of version 1, where a guest can write them too, in a word of their own in version 2. */
  readonly reading: boolean;
  readonly writing: boolean;
  /** Absent while nobody uses it. */
  readonly pinned?: PinnedGrant;
}

const { sub_page: SUB_PAGE, transitive: TRANSITIVE } = grantEntryV2.table;
const { flags: FLAGS, domid: DOMID } = grantEntryHeader.x86_64.offset;

/** Reads an entry; undefined if it is empty: no flags, no use. `ref` is below nrGrantEntries. */
export function describeGrant(domain: Domain, ref: number): DescribedGrant | undefined {
  const { machine } = domain;
  const { u16, u32 } = machine;
  const shared = sharedEntryOf(domain, ref);
  const version = grantVersion(domain);
  const flags = u16[(shared + FLAGS) >>> 1]!;
  const pinned = describePins(domain, ref);
  // In version 1 the flags of a transfer are where the others have theirs.
  const typeBits = flags & GTF_type_mask;
  const transferring = typeBits === GTF_accept_transfer;
  const word = version === 1 && transferring ? 0 : u16[statusWordOf(domain, ref) >>> 1]!;
  const use = word & (GTF_reading | GTF_writing);
  if (flags === 0 && use === 0 && pinned === undefined) return undefined;
  const type = TYPES[typeBits as keyof typeof TYPES];
  const transitive = version === 2 && typeBits === GTF_transitive;
  const subPage = version === 2 && !transitive && (flags & GTF_sub_page) !== 0;
  return {
    ref,
    type,
    flags: transferring ? [] : namesOf(flags),
    domid: u16[(shared + DOMID) >>> 1]!,
    ...(!transitive && { frame: grantedFrame(machine, shared, version) }),
    ...(subPage && {
      window: {
        offsetBytes: u16[(shared + SUB_PAGE.offset.page_off) >>> 1]!,
        lengthBytes: u16[(shared + SUB_PAGE.offset.length) >>> 1]!,
      },
    }),
    ...(transitive && {
      behind: {
        domid: u16[(shared + TRANSITIVE.offset.trans_domid) >>> 1]!,
        ref: u32[(shared + TRANSITIVE.offset.gref) >>> 2]!,
      },
    }),
    ...(transferring && { transfer: progressOf(flags) }),
    reading: (use & GTF_reading) !== 0,
    writing: (use & GTF_writing) !== 0,
    ...(pinned && { pinned }),
  };
}

const namesOf = (flags: number): string[] =>
  Object.entries(ACCESS_FLAGS).flatMap(([name, bit]) => ((flags & bit) === 0 ? [] : [name]));

function progressOf(flags: number): 'posted' | 'committed' | 'completed' {
  if ((flags & GTF_transfer_completed) !== 0) return 'completed';
  return (flags & GTF_transfer_committed) !== 0 ? 'committed' : 'posted';
}

function describePins(domain: Domain, ref: number): PinnedGrant | undefined {
  const { u16, u32 } = domain.machine;
  const active = activeEntryOf(domain, ref);
  const pin = u32[(active + ACT.pin) >>> 2]!;
  if (pin === 0) return undefined;
  const behind = {
    domid: u16[(active + ACT.trans_domid) >>> 1]!,
    ref: u32[(active + ACT.trans_gref) >>> 2]!,
  };
  return {
    domid: u16[(active + ACT.domid) >>> 1]!,
    frame: u32[(active + ACT.frame) >>> 2]!,
    gfn: u32[(active + ACT.gfn) >>> 2]!,
    pins: {
      hostReaders: (pin & GNTPIN_hstr_mask) >>> 8,
      hostWriters: pin & GNTPIN_hstw_mask,
      deviceReaders: pin >>> 24,
      deviceWriters: (pin >>> 16) & 0xff,
    },
    ...(u16[(active + ACT.is_sub_page) >>> 1] !== 0 && {
      window: {
        offsetBytes: u16[(active + ACT.start) >>> 1]!,
        lengthBytes: u16[(active + ACT.length) >>> 1]!,
      },
    }),
    ...(behind.domid !== domain.id && { behind }),
    limited: u16[(active + ACT.limit) >>> 1] !== 0,
  };
}
