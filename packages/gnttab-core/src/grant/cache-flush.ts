/**
 * GNTTABOP_cache_flush (grant_table.h), as x86 has it up to Xen 4.20: memory here has no caches to clean, so what remains
 * is who may ask for it.
 */
import { XEN_EILSEQ, XEN_EINVAL, XEN_EOPNOTSUPP, XEN_EPERM } from '../abi/errno.ts';
import { GNTTAB_CACHE_CLEAN, GNTTAB_CACHE_INVAL } from '../abi/grant-table.ts';
import { DOMID_INVALID } from '../abi/xen.ts';
import { ownerOf } from '../machine/frame-table.ts';
import type { Domain } from '../machine/machine.ts';
import { PAGE_SIZE } from '../machine/page.ts';
import { ACT } from './active.ts';
import { GT } from './structs.ts';
import { activeEntryOf, nrGrantEntries } from './table.ts';

/** struct gnttab_cache_flush; `a` is always a bus address. */
export class GnttabCacheFlush {
  devBusAddr = 0;
  offset = 0;
  length = 0;
  /** GNTTAB_CACHE_* */
  op = 0;
}

/** References looked at before the preemption check. The one to go on from has to fit above the operation, in `cmd`. */
const STRIDE = 4096;

/**
 * One range: 0, -errno, or the reference to go on from after a pause. A page of another domain's takes a grant that
 * the caller has pinned, which is searched from `startRef` on.
 */
export function cacheFlush(caller: Domain, op: GnttabCacheFlush, startRef: number): number {
  const { machine } = caller;
  const { offset, length } = op;
  const outside = offset >= PAGE_SIZE || length > PAGE_SIZE || offset + length > PAGE_SIZE;
  if (outside || (op.op & ~(GNTTAB_CACHE_INVAL | GNTTAB_CACHE_CLEAN)) !== 0) return -XEN_EINVAL;
  if (length === 0 || op.op === 0) return startRef === 0 ? 0 : -XEN_EILSEQ;
  const frame = Math.floor(op.devBusAddr / PAGE_SIZE);
  if (machine.pageInfo(frame) === 0) return -XEN_EINVAL;
  const dom = ownerOf(machine, frame);
  const owner = machine.domainById(dom);
  if (dom === DOMID_INVALID || owner === undefined) return -XEN_EPERM;
  if (owner !== caller) {
    const found = findPinned(caller, owner, frame, startRef);
    if (found !== 0) return found;
  }
  return op.op === GNTTAB_CACHE_INVAL ? -XEN_EOPNOTSUPP : 0;
}

/** grant_map_exists(): 0 if a grant of `owner`'s of this frame is pinned by `user`. */
function findPinned(user: Domain, owner: Domain, frame: number, startRef: number): number {
  const { machine } = user;
  const { native, heap, preemptCheck } = machine;
  const { u16, u32 } = heap;
  native.readLock(owner.base + GT.lock);
  let result = -XEN_EINVAL;
  for (let ref = startRef; ref < nrGrantEntries(owner); ref++) {
    if (ref > startRef && ref % STRIDE === 0 && preemptCheck()) {
      result = ref;
      break;
    }
    const active = activeEntryOf(owner, ref);
    const pinned =
      u32[(active + ACT.pin) >>> 2] !== 0 && u16[(active + ACT.domid) >>> 1] === user.id;
    if (pinned && u32[(active + ACT.frame) >>> 2] === frame) {
      result = 0;
      break;
    }
  }
  native.readUnlock(owner.base + GT.lock);
  return result;
}
