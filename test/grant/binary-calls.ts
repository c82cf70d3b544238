/** Grant table operations through the binary door: see two-doors.ts. */
import {
  __HYPERVISOR_grant_table_op,
  gnttabCacheFlush,
  gnttabCopy,
  gnttabGetStatusFrames,
  gnttabGetVersion,
  gnttabMapGrantRef,
  GNTTABOP_cache_flush,
  GNTTABOP_copy,
  GNTTABOP_get_status_frames,
  GNTTABOP_get_version,
  GNTTABOP_map_grant_ref,
  GNTTABOP_query_size,
  GNTTABOP_set_version,
  GNTTABOP_setup_table,
  GNTTABOP_swap_grant_ref,
  GNTTABOP_transfer,
  GNTTABOP_unmap_and_replace,
  GNTTABOP_unmap_grant_ref,
  gnttabQuerySize,
  gnttabSetupTable,
  gnttabSetVersion,
  gnttabSwapGrantRef,
  gnttabTransfer,
  gnttabUnmapAndReplace,
  gnttabUnmapGrantRef,
  type i16,
  type Initializer,
  type Plain,
  type StructByAbi,
  type Table,
} from '@ringside/gnttab-core/abi';
import type { BinaryGuest } from '../hypercall/binary-guest.ts';
import type { Operation, Outcome } from './door-operations.ts';
import { copyOp, type Side } from './world.ts';

const call = (guest: BinaryGuest, op: number, va: number, count: number): number =>
  guest.hypercall(__HYPERVISOR_grant_table_op, op, va, count);

/** An operation on an array of structs, and what comes back of each: its status, if not told otherwise. */
function onArray<T extends Table & { readonly status: typeof i16 }>(
  guest: BinaryGuest,
  op: number,
  by: StructByAbi<T>,
  elements: readonly Initializer<T>[],
  back?: (element: Plain<T>) => object,
): Outcome {
  const va = guest.array(by, elements);
  const result = call(guest, op, va, elements.length);
  const read = elements.map((_, i) => guest.at(by, va, i));
  return { result, elements: read.map(back ?? (({ status }) => ({ status }))) };
}

/** setup_table and get_status_frames, with a list of frame numbers of so many bytes each. */
function frameList(
  guest: BinaryGuest,
  op: number,
  by: typeof gnttabSetupTable | typeof gnttabGetStatusFrames,
  { nrFrames, dom }: { nrFrames: number; dom: number },
  bytes: number,
): Outcome {
  const list = guest.bytes(new Uint8Array(nrFrames * bytes));
  const va = guest.struct(by, { dom, nr_frames: nrFrames, frame_list: BigInt(list) });
  const result = call(guest, op, va, 1);
  const { status } = guest.at(by, va);
  const view = new DataView(guest.read(list, nrFrames * bytes).buffer);
  const frames = Array.from({ length: status === 0 ? nrFrames : 0 }, (_, i) =>
    bytes === 4 ? view.getInt32(i * 4, true) : Number(view.getBigInt64(i * 8, true)),
  );
  return { result, elements: [{ status }], frames };
}

const side = ({ ref, gmfn, domid, offset }: ReturnType<typeof copyOp>['source'], named: Side) => ({
  u: 'ref' in named ? { ref } : { gmfn: BigInt(gmfn) },
  domid,
  offset,
});

export function binaryCall(guest: BinaryGuest, operation: Operation): Outcome {
  switch (operation.op) {
    case 'map':
      return onArray(
        guest,
        GNTTABOP_map_grant_ref,
        gnttabMapGrantRef,
        operation.elements.map(({ hostAddr, flags, ref, dom }) => ({
          host_addr: BigInt(hostAddr),
          flags,
          ref,
          dom,
        })),
        ({ status, handle, dev_bus_addr: address }) => ({
          status,
          handle,
          devBusAddr: status === 0 ? Number(address) : Number(address & 0xffff_ffffn),
        }),
      );
    case 'unmap':
      return onArray(
        guest,
        GNTTABOP_unmap_grant_ref,
        gnttabUnmapGrantRef,
        operation.elements.map(({ hostAddr, devBusAddr, handle }) => ({
          host_addr: BigInt(hostAddr),
          dev_bus_addr: BigInt(devBusAddr),
          handle,
        })),
      );
    case 'replace':
      return onArray(
        guest,
        GNTTABOP_unmap_and_replace,
        gnttabUnmapAndReplace,
        operation.elements.map(({ hostAddr, newAddr, handle }) => ({
          host_addr: BigInt(hostAddr),
          new_addr: BigInt(newAddr),
          handle,
        })),
      );
    case 'transfer':
      return onArray(
        guest,
        GNTTABOP_transfer,
        gnttabTransfer,
        operation.elements.map(({ mfn, domid, ref }) => ({ mfn: BigInt(mfn), domid, ref })),
      );
    case 'swap':
      return onArray(
        guest,
        GNTTABOP_swap_grant_ref,
        gnttabSwapGrantRef,
        operation.elements.map(({ refA, refB }) => ({ ref_a: refA, ref_b: refB })),
      );
    case 'copy':
      return onArray(
        guest,
        GNTTABOP_copy,
        gnttabCopy,
        operation.elements.map(({ source, dest, len }) => {
          const { source: from, dest: to, flags } = copyOp(source, dest, len);
          return { source: side(from, source), dest: side(to, dest), len, flags };
        }),
      );
    case 'flush': {
      const elements = operation.elements.map(({ devBusAddr, offset, length, op }) => ({
        a: { dev_bus_addr: BigInt(devBusAddr) },
        offset,
        length,
        op,
      }));
      const va = guest.array(gnttabCacheFlush, elements);
      return { result: call(guest, GNTTABOP_cache_flush, va, elements.length) };
    }
    case 'setup':
      return frameList(guest, GNTTABOP_setup_table, gnttabSetupTable, operation, guest.wordBytes);
    case 'status':
      return frameList(guest, GNTTABOP_get_status_frames, gnttabGetStatusFrames, operation, 8);
    case 'size': {
      const va = guest.struct(gnttabQuerySize, { dom: operation.dom });
      const result = call(guest, GNTTABOP_query_size, va, 1);
      const {
        status,
        nr_frames: nrFrames,
        max_nr_frames: maxNrFrames,
      } = guest.at(gnttabQuerySize, va);
      return { result, elements: [status === 0 ? { status, nrFrames, maxNrFrames } : { status }] };
    }
    case 'version': {
      const va = guest.struct(gnttabGetVersion, { dom: operation.dom });
      const result = call(guest, GNTTABOP_get_version, va, 1);
      const { version } = guest.at(gnttabGetVersion, va);
      return result < 0 ? { result } : { result, elements: [{ version }] };
    }
    case 'set': {
      const va = guest.struct(gnttabSetVersion, { version: operation.version });
      const result = call(guest, GNTTABOP_set_version, va, 1);
      return { result, elements: [{ version: guest.at(gnttabSetVersion, va).version }] };
    }
  }
}
