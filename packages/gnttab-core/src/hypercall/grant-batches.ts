/** The operations of grant_table_op that take an array: each element is done by itself, and has its own status. */
import {
  gnttabCopy,
  type gnttabCopyPtr,
  gnttabMapGrantRef,
  GNTTABOP_copy,
  GNTTABOP_map_grant_ref,
  GNTTABOP_swap_grant_ref,
  GNTTABOP_transfer,
  GNTTABOP_unmap_and_replace,
  GNTTABOP_unmap_grant_ref,
  gnttabSwapGrantRef,
  gnttabTransfer,
  gnttabUnmapAndReplace,
  gnttabUnmapGrantRef,
  GNTST_okay,
} from '../abi/grant-table.ts';
import type { Cursor, i16, Struct, Table } from '../abi/struct.ts';
import {
  copyEnd,
  copyOne,
  GnttabCopy,
  type GnttabCopyPtr,
  GnttabMapGrantRef,
  GnttabSwapGrantRef,
  GnttabTransfer,
  GnttabUnmapAndReplace,
  GnttabUnmapGrantRef,
  mapGrantRef,
  swapGrantRef,
  transfer,
  unmapAndReplace,
  unmapGrantRef,
} from '../grant/index.ts';
import type { Caller } from './caller.ts';
import { GuestStruct, wide } from './guest-handle.ts';

/** One operation on an array. */
export interface Batch {
  readonly elementBytes: number;
  /**
   * Does the elements from `va` on until it is preempted, and returns how many are done. Throws PageFault; the elements
   * before the fault are done.
   */
  readonly run: (va: number, count: number) => number;
}

/** Elements from one look at whether to yield to the next; unmapping makes one of the flush of so many. */
const EACH = 1;
const GNTTAB_UNMAP_BATCH_SIZE = 32;

interface Element<T extends Table> {
  readonly struct: Struct<T>;
  /** Has one element done, and puts the results into its copy; false if it is to be tried again. */
  readonly run: (fields: Cursor<T>) => boolean;
  /** What goes back to the guest: the status, or the whole copy. */
  readonly back?: 'status' | 'all';
  readonly every?: number;
}

function batch<T extends Table & { readonly status: typeof i16 }>(
  { domain, access }: Caller,
  { struct, run, back = 'status', every = EACH }: Element<T>,
): Batch {
  const { machine } = domain;
  const guest = new GuestStruct(access, struct);
  return {
    elementBytes: guest.size,
    run(va, count) {
      for (let i = 0; i < count; i++) {
        if (i > 0 && i % every === 0 && machine.preemptCheck()) return i;
        const at = va + i * guest.size;
        if (!run(guest.read(at))) return i;
        if (back === 'all') guest.write(at);
        else guest.writeField(at, 'status');
      }
      return count;
    },
  };
}

/** The array operations of a caller, by number. */
export function grantBatches(caller: Caller): ReadonlyMap<number, Batch> {
  return new Map([
    [GNTTABOP_map_grant_ref, mapBatch(caller)],
    [GNTTABOP_unmap_grant_ref, unmapBatch(caller)],
    [GNTTABOP_transfer, transferBatch(caller)],
    [GNTTABOP_copy, copyBatch(caller)],
    [GNTTABOP_unmap_and_replace, unmapAndReplaceBatch(caller)],
    [GNTTABOP_swap_grant_ref, swapBatch(caller)],
  ]);
}

function mapBatch(caller: Caller): Batch {
  const op = new GnttabMapGrantRef();
  return batch(caller, {
    struct: gnttabMapGrantRef[caller.access.abi],
    back: 'all',
    run(fields) {
      op.hostAddr = wide(fields.host_addr_lo, fields.host_addr_hi);
      op.flags = fields.flags;
      op.ref = fields.ref;
      op.dom = fields.dom;
      mapGrantRef(caller.domain, op, caller.vcpu);
      fields.status = op.status;
      if (op.status === GNTST_okay) {
        fields.handle = op.handle;
        fields.dev_bus_addr_lo = op.devBusAddr;
        fields.dev_bus_addr_hi = Math.floor(op.devBusAddr / 2 ** 32);
      }
      return true;
    },
  });
}

function unmapBatch(caller: Caller): Batch {
  const op = new GnttabUnmapGrantRef();
  return batch(caller, {
    struct: gnttabUnmapGrantRef[caller.access.abi],
    every: GNTTAB_UNMAP_BATCH_SIZE,
    run(fields) {
      op.hostAddr = wide(fields.host_addr_lo, fields.host_addr_hi);
      op.devBusAddr = wide(fields.dev_bus_addr_lo, fields.dev_bus_addr_hi);
      op.handle = fields.handle;
      unmapGrantRef(caller.domain, op);
      fields.status = op.status;
      return true;
    },
  });
}

function unmapAndReplaceBatch(caller: Caller): Batch {
  const op = new GnttabUnmapAndReplace();
  return batch(caller, {
    struct: gnttabUnmapAndReplace[caller.access.abi],
    every: GNTTAB_UNMAP_BATCH_SIZE,
    run(fields) {
      op.hostAddr = wide(fields.host_addr_lo, fields.host_addr_hi);
      op.newAddr = wide(fields.new_addr_lo, fields.new_addr_hi);
      op.handle = fields.handle;
      unmapAndReplace(caller.domain, op);
      fields.status = op.status;
      return true;
    },
  });
}

function transferBatch(caller: Caller): Batch {
  const op = new GnttabTransfer();
  return batch(caller, {
    struct: gnttabTransfer[caller.access.abi],
    run(fields) {
      op.mfn = wide(fields.mfn_lo, fields.mfn_hi);
      op.domid = fields.domid;
      op.ref = fields.ref;
      transfer(caller.domain, op);
      fields.status = op.status;
      return true;
    },
  });
}

function swapBatch(caller: Caller): Batch {
  const op = new GnttabSwapGrantRef();
  return batch(caller, {
    struct: gnttabSwapGrantRef[caller.access.abi],
    run(fields) {
      op.refA = fields.ref_a;
      op.refB = fields.ref_b;
      swapGrantRef(caller.domain, op);
      fields.status = op.status;
      return true;
    },
  });
}

function copyBatch(caller: Caller): Batch {
  const op = new GnttabCopy();
  const { elementBytes, run } = batch(caller, {
    struct: gnttabCopy[caller.access.abi],
    run(fields) {
      op.len = fields.len;
      op.flags = fields.flags;
      decodeSide(op.source, fields.source);
      decodeSide(op.dest, fields.dest);
      if (!copyOne(caller.domain, op)) return false;
      fields.status = op.status;
      return true;
    },
  });
  return {
    elementBytes,
    run(va, count) {
      // Neighbours share the pages that they name alike, but nothing stays claimed between legs, or after a fault.
      try {
        return run(va, count);
      } finally {
        copyEnd(caller.domain);
      }
    },
  };
}

type SideFields = ReturnType<(typeof gnttabCopyPtr)['x86_64']['cursor']>;

function decodeSide(side: GnttabCopyPtr, fields: SideFields): void {
  const { u } = fields;
  side.ref = u.ref;
  side.gmfn = wide(u.gmfn_lo, u.gmfn_hi);
  side.domid = fields.domid;
  side.offset = fields.offset;
}
