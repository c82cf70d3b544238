/** XENMEM_exchange (memory.h): the lists of extents, as a guest lays them out. */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOMEM, XEN_EPERM, XEN_ESRCH } from '../abi/errno.ts';
import { XENMEM_exchange, type xenMemoryReservation, xenMemoryExchange } from '../abi/memory.ts';
import type { Cursor } from '../abi/struct.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { type Caller, domainByAnyId, mayActOn } from './caller.ts';
import { exchangePages } from './exchange.ts';
import { accessible, type GuestAccess, GuestStruct, wide } from './guest-handle.ts';
import { continueAt, maxOrder, type MemoryOp } from './memory-op-register.ts';

/** A list of extents, of 2^order pages each. */
interface ExtentList {
  readonly list: number;
  readonly count: number;
  readonly order: number;
}

const extentList = (fields: Cursor<(typeof xenMemoryReservation)['table']>): ExtentList => ({
  list: wide(fields.extent_start_lo, fields.extent_start_hi),
  count: wide(fields.nr_extents_lo, fields.nr_extents_hi),
  order: fields.extent_order,
});
const pagesOf = ({ count, order }: ExtentList): number => count * 2 ** order;

/** XENMEM_exchange for a caller. `nr_exchanged` comes back whatever happens. */
export function exchangeOp(caller: Caller): MemoryOp {
  const { access } = caller;
  const { machine } = caller.domain;
  const guest = new GuestStruct(access, xenMemoryExchange[access.abi]);

  return (arg, start) => {
    if (start !== 0) return -XEN_EINVAL;
    const fields = guest.read(arg);
    const from = extentList(fields.in);
    const to = extentList(fields.out);
    let exchanged = wide(fields.nr_exchanged_lo, fields.nr_exchanged_hi);
    const ends = (result: number): number => {
      fields.nr_exchanged_lo = exchanged;
      fields.nr_exchanged_hi = Math.floor(exchanged / 2 ** 32);
      guest.writeField(arg, 'nr_exchanged');
      return result;
    };

    if (Math.max(from.order, to.order) > maxOrder(caller.domain)) return ends(-XEN_EPERM);
    const sound =
      exchanged <= from.count &&
      fields.in.domid === fields.out.domid &&
      pagesOf(from) <= 0xffff_ffff &&
      pagesOf(from) === pagesOf(to);
    if (!sound) return ends(-XEN_EINVAL);
    if (exchanged === from.count) return 0;
    for (const { list, count } of [from, to]) {
      if (!access.okay(list, count, access.wordBytes)) return ends(-XEN_EFAULT);
    }
    const domain = domainByAnyId(caller, fields.in.domid);
    if (domain === undefined) return ends(-XEN_ESRCH);
    if (!mayActOn(caller, domain)) return ends(-XEN_EPERM);
    // Consecutive machine frames are not to be had: see allocExtent.
    if (to.order > 0 && !domain.translated) return ends(-XEN_ENOMEM);

    // The smallest piece that has whole extents on both sides.
    const order = Math.max(from.order, to.order);
    const extentsIn = 2 ** (order - from.order);
    const first = Math.floor(exchanged / extentsIn);
    const last = Math.floor(from.count / extentsIn);
    for (let chunk = first; chunk < last; chunk++) {
      exchanged = chunk * extentsIn;
      if (chunk > first && machine.preemptCheck()) {
        ends(0);
        return continueAt(XENMEM_exchange, 0, arg);
      }
      const result = exchangeChunk(domain, access, { from, to, order, chunk });
      if (result !== 0) return ends(result);
    }
    exchanged = from.count;
    return ends(0);
  };
}

interface Chunk {
  readonly from: ExtentList;
  readonly to: ExtentList;
  /** The chunk is 2^order pages. */
  readonly order: number;
  readonly chunk: number;
}

/**
 * Exchanges one chunk. Both lists are read before anything changes; what follows them is a PV domain's list of places
 * becoming the list of its frames, where a fault comes too late for the exchange.
 */
function exchangeChunk(domain: Domain, access: GuestAccess, what: Chunk): number {
  const { from, to, order, chunk } = what;
  const gmfns: number[] = [];
  const gfns: number[] = [];
  const read = accessible(() => {
    readPages(access, from, order, chunk, gmfns);
    readPages(access, to, order, chunk, gfns);
  });
  if (!read) return -XEN_EFAULT;
  const { result, mfns } = exchangePages(domain, gmfns, gfns);
  if (domain.translated) return result;
  const told = accessible(() => {
    for (const [i, mfn] of mfns.entries()) {
      const extent = chunk * 2 ** order + i;
      if (mfn !== INVALID_MFN) access.writeWord(to.list, mfn, extent);
    }
  });
  return told ? result : -XEN_EFAULT;
}

/** Reads which pages a chunk's extents name. */
function readPages(
  access: GuestAccess,
  extents: ExtentList,
  order: number,
  chunk: number,
  into: number[],
): void {
  const count = 2 ** (order - extents.order);
  for (let i = 0; i < count; i++) {
    const name = access.readWord(extents.list, chunk * count + i);
    for (let j = 0; j < 2 ** extents.order; j++) into.push(name + j);
  }
}
