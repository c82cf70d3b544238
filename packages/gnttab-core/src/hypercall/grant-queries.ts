/** The operations of grant_table_op that take one struct: about a table as a whole. */
import { XEN_EFAULT, XEN_EINVAL } from '../abi/errno.ts';
import {
  GNTST_bad_virt_addr,
  GNTST_okay,
  gnttabGetStatusFrames,
  gnttabGetVersion,
  GNTTABOP_get_status_frames,
  GNTTABOP_get_version,
  GNTTABOP_query_size,
  GNTTABOP_set_version,
  GNTTABOP_setup_table,
  gnttabQuerySize,
  gnttabSetupTable,
  gnttabSetVersion,
} from '../abi/grant-table.ts';
import {
  type FrameList,
  getStatusFrames,
  getVersion,
  querySize,
  setupTable,
  setVersion,
} from '../grant/index.ts';
import type { Domain } from '../machine/machine.ts';
import type { Caller } from './caller.ts';
import { accessible, type GuestAccess, GuestStruct, wide } from './guest-handle.ts';

/** Runs the operation on the struct at `va`: 0 or -errno. Throws PageFault. */
export type Query = (va: number, count: number) => number;

/** These operations of a caller, by number. */
export function grantQueries(caller: Caller): ReadonlyMap<number, Query> {
  const { access } = caller;
  const setup = new GuestStruct(access, gnttabSetupTable[access.abi]);
  const statusFrames = new GuestStruct(access, gnttabGetStatusFrames[access.abi]);
  // setup_table's list is of xen_pfn_t, get_status_frames' of uint64_t in either ABI.
  return new Map([
    [GNTTABOP_setup_table, frameListQuery(caller, setup, access.wordBytes, setupTable)],
    [GNTTABOP_query_size, sizeQuery(caller)],
    [GNTTABOP_set_version, setVersionQuery(caller)],
    [GNTTABOP_get_status_frames, frameListQuery(caller, statusFrames, 8, getStatusFrames)],
    [GNTTABOP_get_version, getVersionQuery(caller)],
  ]);
}

/** A private copy of what setup_table and get_status_frames take, as far as they are alike. */
interface FrameListStruct {
  read(va: number): {
    readonly dom: number;
    readonly nr_frames: number;
    readonly frame_list_lo: number;
    readonly frame_list_hi: number;
    status: number;
  };
  writeField(va: number, name: 'status'): void;
}

function frameListQuery(
  { domain, access }: Caller,
  guest: FrameListStruct,
  frameBytes: number,
  run: (caller: Domain, op: FrameList) => void,
): Query {
  return (va, count) => {
    if (count !== 1) return -XEN_EINVAL;
    const fields = guest.read(va);
    const list = wide(fields.frame_list_lo, fields.frame_list_hi);
    if (!access.okay(list, fields.nr_frames, frameBytes)) return -XEN_EFAULT;
    const op: FrameList = { dom: fields.dom, nrFrames: fields.nr_frames, status: 0, frames: [] };
    run(domain, op);
    fields.status =
      op.status === GNTST_okay ? writeFrames(access, list, op.frames, frameBytes) : op.status;
    guest.writeField(va, 'status');
    return 0;
  };
}

/** A list that cannot be written is the status's affair, not the call's: the table stays as it has become. */
function writeFrames(
  access: GuestAccess,
  list: number,
  frames: readonly number[],
  frameBytes: number,
): number {
  const written = accessible(() => {
    for (const [i, frame] of frames.entries()) access.writeWord(list, frame, i, frameBytes);
  });
  return written ? GNTST_okay : GNTST_bad_virt_addr;
}

function sizeQuery({ domain, access }: Caller): Query {
  const guest = new GuestStruct(access, gnttabQuerySize[access.abi]);
  return (va, count) => {
    if (count !== 1) return -XEN_EINVAL;
    const fields = guest.read(va);
    const op = { dom: fields.dom, nrFrames: 0, maxNrFrames: 0, status: 0 };
    querySize(domain, op);
    if (op.status === GNTST_okay) {
      fields.nr_frames = op.nrFrames;
      fields.max_nr_frames = op.maxNrFrames;
    }
    fields.status = op.status;
    guest.write(va);
    return 0;
  };
}

/** The version in force comes back even where the change is refused. */
function setVersionQuery({ domain, access }: Caller): Query {
  const guest = new GuestStruct(access, gnttabSetVersion[access.abi]);
  return (va) => {
    const fields = guest.read(va);
    const op = { version: fields.version };
    const result = setVersion(domain, op);
    fields.version = op.version;
    guest.write(va);
    return result;
  };
}

function getVersionQuery({ domain, access }: Caller): Query {
  const guest = new GuestStruct(access, gnttabGetVersion[access.abi]);
  return (va) => {
    const fields = guest.read(va);
    const op = { dom: fields.dom, version: 0 };
    const result = getVersion(domain, op);
    if (result !== 0) return result;
    fields.version = op.version;
    guest.writeField(va, 'version');
    return 0;
  };
}
