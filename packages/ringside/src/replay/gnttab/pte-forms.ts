/** The exact page table entries that Xen writes, from what a recording says of them. */
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_GLOBAL,
  _PAGE_GUEST_KERNEL_HI,
  _PAGE_NX_HI,
  _PAGE_PRESENT,
  _PAGE_RW,
  _PAGE_USER,
  makePte,
  PAGE_AVAIL_SHIFT,
  type Pte,
} from '@ringside/gnttab-core/hypervisor';

/** A page table entry in the words of a recording. */
export interface PteContents {
  readonly mfn: number;
  readonly rw: boolean;
  readonly app: boolean;
  readonly avail: number;
}

export const EMPTY_PTE: Pte = { lo: 0, hi: 0 };

/** A mapping of the domain's own, made by update_va_mapping. */
export const ownPte = ({ mfn, rw }: Pick<PteContents, 'mfn' | 'rw'>): Pte =>
  makePte(mfn, ownFlags(rw) | _PAGE_USER, _PAGE_GUEST_KERNEL_HI);

/** What the guest asks for when it wants that. */
export const askedPte = (mfn: number, rw: boolean): Pte => makePte(mfn, ownFlags(rw), 0);

const ownFlags = (rw: boolean): number =>
  _PAGE_PRESENT | _PAGE_ACCESSED | _PAGE_DIRTY | (rw ? _PAGE_RW : 0);

/** A mapping of a grant (create_grant_pv_mapping). */
export function grantPte({ mfn, rw, app, avail }: PteContents): Pte {
  const flags = ownFlags(rw) | _PAGE_USER | (app ? _PAGE_GLOBAL : 0) | (avail << PAGE_AVAIL_SHIFT);
  return makePte(mfn, flags, (_PAGE_NX_HI | (app ? 0 : _PAGE_GUEST_KERNEL_HI)) >>> 0);
}

/** An entry may be either where mappings move from one address to another. */
export function eitherPte(contents: PteContents): Pte[] {
  const grant = grantPte(contents);
  return contents.app || contents.avail !== 0 ? [grant] : [grant, ownPte(contents)];
}
