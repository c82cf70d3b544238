/**
 * The form that mmu_update had when grant tables were new (xen.h of 2004): other numbers for its commands, and one,
 * MMU_EXTENDED_COMMAND, that stands for a family. A guest of that time transfers a page with it.
 */
import { XEN_EINVAL, XEN_ENOSYS, XEN_EOPNOTSUPP } from '../abi/errno.ts';
import { GNTST_okay } from '../abi/grant-table.ts';
import type { Cursor } from '../abi/struct.ts';
import { MMU_NORMAL_PT_UPDATE, type mmuUpdate } from '../abi/xen.ts';
import { GnttabTransfer, transfer, transferEnabled } from '../grant/index.ts';
import type { Domain } from '../machine/machine.ts';
import { PAGE_SIZE } from '../machine/page.ts';
import { wide } from './guest-handle.ts';
import { machphysUpdate } from './page-tables.ts';

/** xen.h of 2004, MMU_*: the command in the two low bits of `ptr`. */
const MMU_MACHPHYS_UPDATE = 2;
const MMU_EXTENDED_COMMAND = 3;
const COMMAND_MASK = 3;

/** xen.h of 2004, MMUEXT_*: the extended command in the low byte of `val`. There is no TLB and no cache to flush. */
const MMUEXT_TLB_FLUSH = 6;
const MMUEXT_INVLPG = 7;
const MMUEXT_FLUSH_CACHE = 8;
/**
 * `ptr` is the frame's address with bits 0 to 7 of the grant reference from bit 2 on, `val` has bits 8 to 15 in their
 * place, and the receiver in bits 16 to 31.
 */
const MMUEXT_TRANSFER_PAGE = 12;
const MMUEXT_CMD_MASK = 0xff;

/** Writes the page table entry at machine address `ptr`: 0 or -errno. */
type WriteEntry = (entry: { ptr: number; lo: number; hi: number }) => number;

/** Runs one update of the form of 2004: 0 or -errno. */
export function runExtended(
  caller: Domain,
  fields: Cursor<(typeof mmuUpdate)['table']>,
  writeEntry: WriteEntry,
): number {
  const { ptr_lo: ptrLo, ptr_hi: ptrHi, val_lo: val } = fields;
  const command = ptrLo & COMMAND_MASK;
  const ptr = wide(ptrLo, ptrHi) - command;
  const frame = Math.floor(ptr / PAGE_SIZE);
  if (command === MMU_NORMAL_PT_UPDATE) return writeEntry({ ptr, lo: val, hi: fields.val_hi });
  if (command === MMU_MACHPHYS_UPDATE) return machphysUpdate(caller, frame, val);
  if (command !== MMU_EXTENDED_COMMAND) return -XEN_EINVAL;
  switch (val & MMUEXT_CMD_MASK) {
    case MMUEXT_TLB_FLUSH:
    case MMUEXT_INVLPG:
    case MMUEXT_FLUSH_CACHE:
      return 0;
    case MMUEXT_TRANSFER_PAGE:
      return transferPage(caller, frame, ((ptrLo >>> 2) & 0xff) | (val & 0xff00), val >>> 16);
    default:
      return -XEN_ENOSYS;
  }
}

/** The same operation as GNTTABOP_transfer, with no other answer than success or failure. */
function transferPage(caller: Domain, mfn: number, ref: number, domid: number): number {
  if (!transferEnabled(caller.machine)) return -XEN_EOPNOTSUPP;
  const op = Object.assign(new GnttabTransfer(), { mfn, domid, ref });
  transfer(caller, op);
  return op.status === GNTST_okay ? 0 : -XEN_EINVAL;
}
