/** HYPERVISOR_mmu_update and HYPERVISOR_update_va_mapping (xen.h): a PV guest changes its page tables. */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM, XEN_ESRCH } from '../abi/errno.ts';
import type { Cursor } from '../abi/struct.ts';
import {
  DOMID_IO,
  DOMID_SELF,
  DOMID_XEN,
  MMU_MACHPHYS_UPDATE,
  MMU_NORMAL_PT_UPDATE,
  MMU_PT_UPDATE_PRESERVE_AD,
  mmuUpdate,
  UVMF_ALL,
  UVMF_FLUSHTYPE_MASK,
  UVMF_LOCAL,
  UVMF_NONE,
} from '../abi/xen.ts';
import { writeGuestPte } from '../grant/index.ts';
import { COUNTER } from '../machine/counters.ts';
import type { Domain } from '../machine/machine.ts';
import { PAGE_SIZE } from '../machine/page.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  guestPte,
  pteLo,
} from '../machine/page-table.ts';
import { type Caller, mayActOn } from './caller.ts';
import { accessible, GuestStruct, wide } from './guest-handle.ts';
import { runExtended } from './mmu-extended.ts';
import { machphysUpdate, updateVaEntry } from './page-tables.ts';
import { Continuation, highHalf, type Hypercall, uint, word } from './registers.ts';

/** Set in `count` of a continued call: `pdone` has the updates of earlier legs. */
const MMU_UPDATE_PREEMPTED = 0x8000_0000;

/** Whose page tables a batch changes, and whose frames it maps; undefined is a system domain, which has none to map. */
interface Owners {
  readonly tables: Domain;
  readonly frames: Domain | undefined;
}

/** One update, by the form of the interface: 0 or -errno. */
type Update = (fields: Cursor<(typeof mmuUpdate)['table']>, owners: Owners) => number;

/** mmu_update(ureqs, count, pdone, foreigndom) for a caller; `extended` is the form of 2004. */
export function mmuUpdateOp(caller: Caller, extended: boolean): Hypercall {
  const { domain, access } = caller;
  const guest = new GuestStruct(access, mmuUpdate[access.abi]);
  const update: Update = extended
    ? (fields, owners) =>
        runExtended(domain, fields, ({ ptr, lo, hi }) => writeEntry(caller, owners, ptr, lo, hi))
    : (fields, owners) => runUpdate(caller, owners, fields);

  /** Does updates up to the first that fails: how many are done, and why it stopped. */
  const run = (ureqs: number, count: number, owners: Owners) => {
    let done = 0;
    let result = 0;
    const read = accessible(() => {
      for (; done < count; done++) {
        if (done > 0 && domain.machine.preemptCheck()) return;
        result = update(guest.read(ureqs + done * guest.size), owners);
        if (result !== 0) return;
      }
    });
    return { done, result: read ? result : -XEN_EFAULT };
  };

  return ([ureqsRegister, countRegister, pdoneRegister, foreigndom]) => {
    const ureqs = word(ureqsRegister, access.abi);
    const pdone = word(pdoneRegister, access.abi);
    const continued = (uint(countRegister) & MMU_UPDATE_PREEMPTED) !== 0;
    const count = uint(countRegister) & ~MMU_UPDATE_PREEMPTED;
    const before = continued && pdone !== 0 ? access.readUint(pdone) : 0;
    if (!access.okay(ureqs, count, guest.size)) return -XEN_EFAULT;
    const owners = ownersOf(caller, extended ? DOMID_SELF : uint(foreigndom));
    if (typeof owners === 'number') return owners;
    const { done, result } = run(ureqs, count, owners);
    domain.count(COUNTER.mmuUpdates, done);
    if (pdone !== 0) access.writeUint(pdone, before + done);
    if (result !== 0 || done === count) return result;
    const left = ((count - done) | MMU_UPDATE_PREEMPTED) >>> 0;
    return new Continuation(ureqs + done * guest.size, left, pdone, foreigndom ?? DOMID_SELF);
  };
}

/** `foreigndom` names two domains: whose frames (low half), and whose page tables (high half, plus one; 0 is the caller). */
function ownersOf({ domain }: Caller, foreigndom: number): Owners | number {
  const { machine } = domain;
  const tableOwner = foreigndom >>> 16;
  const tables = tableOwner === 0 ? domain : machine.domainById(tableOwner - 1);
  if (tables === undefined || tables.translated) return -XEN_EINVAL;
  const frameOwner = foreigndom & 0xffff;
  if (frameOwner === DOMID_SELF) return { tables, frames: domain };
  if (frameOwner === DOMID_IO || frameOwner === DOMID_XEN) return { tables, frames: undefined };
  const frames = machine.domainById(frameOwner);
  // get_pg_owner(): oneself is no foreign domain.
  return frames === undefined || frames === domain ? -XEN_ESRCH : { tables, frames };
}

const COMMAND_MASK = 7;

function runUpdate(
  caller: Caller,
  owners: Owners,
  fields: Cursor<(typeof mmuUpdate)['table']>,
): number {
  const command = fields.ptr_lo & COMMAND_MASK;
  const ptr = wide(fields.ptr_lo, fields.ptr_hi) - command;
  switch (command) {
    case MMU_NORMAL_PT_UPDATE:
      return writeEntry(caller, owners, ptr, fields.val_lo, fields.val_hi);
    case MMU_PT_UPDATE_PRESERVE_AD:
      return writeEntry(caller, owners, ptr, fields.val_lo, fields.val_hi, true);
    case MMU_MACHPHYS_UPDATE:
      if (owners.tables !== caller.domain) return -XEN_EPERM;
      if (owners.frames === undefined || owners.frames.translated) return -XEN_EINVAL;
      if (!mayActOn(caller, owners.frames)) return -XEN_EPERM;
      return machphysUpdate(owners.frames, Math.floor(ptr / PAGE_SIZE), fields.val_lo);
    default:
      return -XEN_ENOSYS;
  }
}

/** Writes the page table entry at machine address `ptr`. */
function writeEntry(
  caller: Caller,
  { tables, frames }: Owners,
  ptr: number,
  lo: number,
  hi: number,
  preserveAd = false,
): number {
  const { machine } = caller.domain;
  if (!mayActOn(caller, tables) || (frames !== undefined && !mayActOn(caller, frames))) {
    return -XEN_EPERM;
  }
  const address = guestPte(tables, ptr);
  if (address < 0) return -XEN_EINVAL;
  if (frames === undefined && (lo & _PAGE_PRESENT) !== 0) return -XEN_EINVAL;
  const kept = preserveAd ? pteLo(machine, address) & (_PAGE_ACCESSED | _PAGE_DIRTY) : 0;
  return writeGuestPte(tables, address, (lo | kept) >>> 0, hi, frames) ? 0 : -XEN_EINVAL;
}

/**
 * update_va_mapping(va, val, flags) for a caller; under i386 `val` takes two registers. There is no TLB to flush, but a set
 * of CPUs that `flags` may point to has to be there.
 */
export function updateVaMappingOp({ domain, access }: Caller): Hypercall {
  return ([vaRegister, ...rest]) => {
    const [low, high, flags] = access.abi === 'i386' ? rest : [rest[0], highHalf(rest[0]), rest[1]];
    const va = word(vaRegister, access.abi);
    const result = updateVaEntry(domain, va, uint(low), uint(high));
    const cpus = word(flags, access.abi);
    const kind = cpus % (UVMF_FLUSHTYPE_MASK + 1);
    const set = cpus - kind;
    if (kind !== UVMF_NONE && set !== UVMF_LOCAL && set !== UVMF_ALL) access.readWord(set);
    return result;
  };
}
