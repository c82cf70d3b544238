/** Grant entries, page table entries and statuses in words. */
import {
  type Abi,
  grantEntryHeader,
  grantEntryV1,
  grantEntryV2,
  GNTST_address_too_big,
  GNTST_bad_copy_arg,
  GNTST_bad_dev_addr,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_handle,
  GNTST_bad_page,
  GNTST_bad_virt_addr,
  GNTST_eagain,
  GNTST_general_error,
  GNTST_no_device_space,
  GNTST_no_space,
  GNTST_okay,
  GNTST_permission_denied,
  gnttabErrorMessage,
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
} from '@ringside/gnttab-core/abi';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_GLOBAL,
  _PAGE_GUEST_KERNEL_HI,
  _PAGE_NX_HI,
  _PAGE_PRESENT,
  _PAGE_RW,
  _PAGE_USER,
  p2m_grant_map_ro,
  p2m_grant_map_rw,
  p2m_invalid,
  p2m_map_foreign,
  p2m_mmio_direct,
  p2m_ram_paged,
  p2m_ram_rw,
  type P2mType,
  PAGE_AVAIL_SHIFT,
  type Pte,
  pteFrame,
} from '@ringside/gnttab-core/hypervisor';
import { bitNames, hexNumber } from '../words.ts';
import { p2mTypeNames } from './recording.ts';

/** Both ABIs have the same entries. */
const ABI: Abi = 'x86_64';

const statuses = {
  GNTST_okay,
  GNTST_general_error,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_handle,
  GNTST_bad_virt_addr,
  GNTST_bad_dev_addr,
  GNTST_no_device_space,
  GNTST_permission_denied,
  GNTST_bad_page,
  GNTST_bad_copy_arg,
  GNTST_address_too_big,
  GNTST_eagain,
  GNTST_no_space,
};

/** `GNTST_bad_page (-9, bad page)`. */
export function statusName(status: number): string {
  const name = Object.entries(statuses).find(([, value]) => value === status)?.[0];
  return name === undefined
    ? `status ${status}`
    : `${name} (${status}, ${gnttabErrorMessage(status)})`;
}

const entryTypes = ['GTF_invalid', 'GTF_permit_access', 'GTF_accept_transfer', 'GTF_transitive'];
const accessFlags = {
  GTF_readonly,
  GTF_reading,
  GTF_writing,
  GTF_PWT,
  GTF_PCD,
  GTF_PAT,
  GTF_sub_page,
};
const transferFlags = { GTF_transfer_committed, GTF_transfer_completed };

/** The flags of a shared entry. */
export function grantFlags(flags: number): string {
  const type = flags & GTF_type_mask;
  const bits = type === GTF_accept_transfer ? transferFlags : accessFlags;
  return [entryTypes[type], ...bitNames(flags & ~GTF_type_mask, bits)].join('|');
}

/** A shared entry of either version. */
export function grantEntry(version: number, bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const { flags, domid } = grantEntryHeader[ABI].decode(view, 0);
  const words = [grantFlags(flags), `domid ${domid}`];
  if (version === 1) {
    words.push(`frame ${hexNumber(grantEntryV1[ABI].decode(view, 0).frame)}`);
  } else {
    const { full_page, sub_page, transitive } = grantEntryV2[ABI].decode(view, 0);
    const type = flags & GTF_type_mask;
    if (type === GTF_transitive) {
      words.push(`trans_domid ${transitive.trans_domid}`, `gref ${transitive.gref}`);
    } else if ((flags & GTF_sub_page) !== 0 && type === GTF_permit_access) {
      words.push(`page_off ${sub_page.page_off}`, `length ${sub_page.length}`);
    }
    if (type !== GTF_transitive) words.push(`frame ${hexNumber(full_page.frame)}`);
  }
  return flags === GTF_invalid && bytes.every((byte) => byte === 0) ? 'empty' : words.join(' ');
}

/** The status word of a version 2 entry. */
export const statusWord = (word: number): string =>
  bitNames(word, { GTF_reading, GTF_writing }).join('|') || '0';

/** A page table entry. */
export function pteWords({ lo, hi }: Pte): string {
  if (lo === 0 && hi === 0) return 'empty';
  const avail = (lo >>> PAGE_AVAIL_SHIFT) & 7;
  const flags = bitNames(lo & 0xfff & ~(7 << PAGE_AVAIL_SHIFT), {
    present: _PAGE_PRESENT,
    rw: _PAGE_RW,
    user: _PAGE_USER,
    accessed: _PAGE_ACCESSED,
    dirty: _PAGE_DIRTY,
    global: _PAGE_GLOBAL,
  });
  const high = bitNames(hi & (_PAGE_NX_HI | _PAGE_GUEST_KERNEL_HI), {
    nx: _PAGE_NX_HI,
    'guest kernel': _PAGE_GUEST_KERNEL_HI,
  });
  return [`mfn ${hexNumber(pteFrame(lo, hi))}`, ...flags, ...high, `avail ${avail}`].join(' ');
}

/** The types of p2m entries, by their names in recordings. */
export const p2mTypes: Readonly<Record<(typeof p2mTypeNames)[number], P2mType>> = {
  invalid: p2m_invalid,
  ram_rw: p2m_ram_rw,
  grant_rw: p2m_grant_map_rw,
  grant_ro: p2m_grant_map_ro,
  ram_paged: p2m_ram_paged,
  foreign: p2m_map_foreign,
  mmio_direct: p2m_mmio_direct,
};

/** What stands behind a gfn. */
export interface P2mState {
  readonly type: P2mType;
  /** 0 where nothing is. */
  readonly frame: number;
}

export function p2mWords({ type, frame }: P2mState): string {
  const name = p2mTypeNames.find((one) => p2mTypes[one] === type) ?? `type ${type}`;
  return type === p2m_invalid ? name : `${name} mfn ${hexNumber(frame)}`;
}
