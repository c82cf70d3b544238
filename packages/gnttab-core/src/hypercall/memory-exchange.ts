/** XENMEM_exchange (memory.h): pages of a domain go back to Xen, and as many others take their places. */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOMEM, XEN_EPERM, XEN_ESRCH } from '../abi/errno.ts';
import { XENMEM_exchange, type xenMemoryReservation, xenMemoryExchange } from '../abi/memory.ts';
import type { Cursor } from '../abi/struct.ts';
import { frameNamed } from '../grant/frames.ts';
import { allocFreePage, assignPage, freeStolenPage, stealPage } from '../machine/frame-table.ts';
import { invariant } from '../machine/errors.ts';
import { INVALID_MFN } from '../machine/layout.ts';
import type { Domain } from '../machine/machine.ts';
import { clearP2m } from '../machine/p2m.ts';
import { type Caller, domainByAnyId, mayActOn } from './caller.ts';
import { accessible, type GuestAccess, GuestStruct, wide } from './guest-handle.ts';
import { continueAt, maxOrder, type MemoryOp } from './memory-op-register.ts';
import { noteReservation, placePage } from './memory-op.ts';

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
export function memoryExchangeOp(caller: Caller): MemoryOp {
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

/** Exchanges one chunk; unless the result is 0 or a fault of the list of places, nothing has changed. */
function exchangeChunk(domain: Domain, access: GuestAccess, what: Chunk): number {
  const { machine } = domain;
  const { from, to, order, chunk } = what;
  const names: number[] = [];
  const stolen: number[] = [];
  const fresh: number[] = [];
  const undo = (result: number): number => {
    for (const frame of fresh) freeStolenPage(machine, frame);
    for (const frame of stolen) invariant(assignPage(domain, frame), 'there was room for the page');
    return result;
  };

  const read = accessible(() => names.push(...pages(access, from, order, chunk)));
  if (!read) return -XEN_EFAULT;
  for (const name of names) {
    const frame = frameNamed(domain, name);
    if (!stealPage(domain, frame)) return undo(-XEN_EINVAL);
    stolen.push(frame);
  }
  // Consecutive machine frames are not to be had: see allocExtent.
  if (to.order > 0 && !domain.translated) return undo(-XEN_ENOMEM);
  while (fresh.length < names.length) {
    const frame = allocFreePage(machine);
    if (frame === INVALID_MFN) return undo(-XEN_ENOMEM);
    fresh.push(frame);
  }

  for (const [i, frame] of stolen.entries()) {
    if (domain.translated) clearP2m(domain, names[i]!);
    freeStolenPage(machine, frame);
  }
  for (const frame of fresh) invariant(assignPage(domain, frame), 'there is room for the page');
  noteReservation(domain, fresh.length, stolen.length);
  let placed = true;
  const told = accessible(() => {
    placed = placeExtents(domain, access, fresh, what);
  });
  if (!told) return -XEN_EFAULT;
  return placed ? 0 : -XEN_EINVAL;
}

/** The pages of a chunk, as the list of extents names them. */
function* pages(access: GuestAccess, extents: ExtentList, order: number, chunk: number) {
  const extentsInChunk = 2 ** (order - extents.order);
  for (let i = 0; i < extentsInChunk; i++) {
    const name = access.readWord(extents.list, chunk * extentsInChunk + i);
    for (let j = 0; j < 1 << extents.order; j++) yield name + j;
  }
}

/**
 * Puts fresh pages behind the gfns that the list names, and tells a PV domain which they are. False if a gfn cannot be.
 */
function placeExtents(
  domain: Domain,
  access: GuestAccess,
  fresh: readonly number[],
  { to, order, chunk }: Chunk,
): boolean {
  const extentPages = 2 ** to.order;
  const first = chunk * 2 ** (order - to.order);
  let placed = true;
  for (let i = 0; i * extentPages < fresh.length; i++) {
    const gfn = access.readWord(to.list, first + i);
    const extent = fresh.slice(i * extentPages, (i + 1) * extentPages);
    for (const [j, frame] of extent.entries()) placed = placePage(domain, gfn + j, frame) && placed;
    if (!domain.translated) access.writeWord(to.list, extent[0]!, first + i);
  }
  return placed;
}
