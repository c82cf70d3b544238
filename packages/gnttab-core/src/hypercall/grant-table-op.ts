/** HYPERVISOR_grant_table_op (grant_table.h): the call with its batches, their continuation and their faults. */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EOPNOTSUPP } from '../abi/errno.ts';
import { gnttabCacheFlush, GNTTABOP_cache_flush, GNTTABOP_transfer } from '../abi/grant-table.ts';
import {
  cacheFlush,
  cacheFlushEnabled,
  GnttabCacheFlush,
  transferEnabled,
} from '../grant/index.ts';
import type { Caller } from './caller.ts';
import { grantBatches } from './grant-batches.ts';
import { grantQueries } from './grant-queries.ts';
import { GuestStruct, wide } from './guest-handle.ts';
import { Continuation, type Hypercall, type Registers, uint, word } from './registers.ts';

/** grant_table_op's first register: the operation, and above it what a continued cache_flush has to remember. */
const CMD_MASK = 0xfff;
const INT_MAX = 0x7fff_ffff;

/** grant_table_op(cmd, uop, count) for a caller. */
export function grantTableOp(caller: Caller): Hypercall {
  const { domain, access } = caller;
  const batches = grantBatches(caller);
  const queries = grantQueries(caller);
  const flush = flushBatch(caller);

  return ([cmdRegister, uopRegister, countRegister]: Registers) => {
    const cmd = uint(cmdRegister);
    const count = uint(countRegister);
    const op = cmd & CMD_MASK;
    const uop = word(uopRegister, access.abi);
    if (count > INT_MAX) return -XEN_EINVAL;
    if (op === GNTTABOP_cache_flush) {
      return cacheFlushEnabled(domain.machine) ? flush(cmd, uop, count) : -XEN_ENOSYS;
    }
    if (cmd !== op) return -XEN_EINVAL;
    const query = queries.get(op);
    if (query !== undefined) return query(uop, count);
    const batch = batches.get(op);
    if (batch === undefined) return -XEN_ENOSYS;
    if (!access.okay(uop, count, batch.elementBytes)) return -XEN_EFAULT;
    if (op === GNTTABOP_transfer && !transferEnabled(domain.machine)) return -XEN_EOPNOTSUPP;
    const done = batch.run(uop, count);
    if (done === count) return 0;
    return new Continuation(cmd, uop + done * batch.elementBytes, count - done);
  };
}

/**
 * GNTTABOP_cache_flush alone stops at its first error. An element that names another domain's frame may have its table
 * searched in several legs; the reference to go on from, a multiple of 4096, is kept in the upper bits of `cmd`.
 */
function flushBatch({ domain, access }: Caller) {
  const { machine } = domain;
  const guest = new GuestStruct(access, gnttabCacheFlush[access.abi]);
  const op = new GnttabCacheFlush();

  return (cmd: number, uop: number, count: number): number | Continuation => {
    if (!access.okay(uop, count, guest.size)) return -XEN_EFAULT;
    const from = (ref: number, i: number) =>
      new Continuation((GNTTABOP_cache_flush | ref) >>> 0, uop + i * guest.size, count - i);
    let ref = (cmd & ~CMD_MASK) >>> 0;
    for (let i = 0; i < count; i++, ref = 0) {
      if (i > 0 && machine.preemptCheck()) return from(0, i);
      const fields = guest.read(uop + i * guest.size);
      op.devBusAddr = wide(fields.a.dev_bus_addr_lo, fields.a.dev_bus_addr_hi);
      op.offset = fields.offset;
      op.length = fields.length;
      op.op = fields.op;
      const result = cacheFlush(domain, op, ref);
      if (result < 0) return result;
      if (result > 0) return from(result, i);
    }
    return 0;
  };
}
