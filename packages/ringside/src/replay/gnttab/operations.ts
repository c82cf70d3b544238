/** The operations of grant_table_op as recordings name them: number, argument struct, and the fields that come back. */
import {
  type Abi,
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
  gnttabCacheFlush,
  gnttabCopy,
  gnttabGetStatusFrames,
  gnttabGetVersion,
  gnttabMapGrantRef,
  gnttabQuerySize,
  gnttabSetupTable,
  gnttabSetVersion,
  gnttabSwapGrantRef,
  gnttabTransfer,
  gnttabUnmapAndReplace,
  gnttabUnmapGrantRef,
  type Initializer,
  type StructByAbi,
  type Table,
} from '@ringside/gnttab-core/abi';
import { type Field, UNTOUCHED } from '../argument-struct.ts';
import { byPresence, either, hex, integer, object, type Reader, text } from '../reader.ts';

/** What an argument needs to know of the machine that it is for. */
export interface Placement {
  /** The number of a handle, by its name in the recording. */
  handle(name: string | number): number;
  /** Guest address of the list of frames. */
  readonly frameList: bigint;
}

/** One element of a batch, as read from the recording. */
export interface Argument {
  /** Elements that the list of frames is to have; 0 where there is no list. */
  readonly nrFrames: number;
  /** Writes the struct; its OUT fields are UNTOUCHED. */
  encode(abi: Abi, view: DataView, offsetBytes: number, placement: Placement): void;
}

/** One operation of grant_table_op. */
export interface Operation {
  readonly number: number;
  readonly readArgument: Reader<Argument>;
  readonly sizeBytes: Readonly<Record<Abi, number>>;
  readonly out: Readonly<Record<Abi, readonly Field[]>>;
  /** Bytes of an entry of its list of frames; absent where it has none. */
  readonly listEntryBytes?: Readonly<Record<Abi, number>>;
}

/** How a row of the table below says it. */
interface Row<T extends Table, A> {
  readonly number: number;
  readonly struct: StructByAbi<T>;
  readonly fields: (argument: A, placement: Placement) => Initializer<T>;
  readonly out: readonly (keyof T & string)[];
  /** What comes back in a field that goes in, too. */
  readonly inOut?: keyof T & string;
  readonly list?: {
    readonly of: (argument: A) => number;
    readonly entryBytes: Operation['listEntryBytes'];
  };
}

function operation<T extends Table, A>(argument: Reader<A>, row: Row<T, A>): Operation {
  const { number, struct, list } = row;
  const fieldsOf = (abi: Abi, names: readonly string[]) =>
    struct[abi].fields.filter(({ path }) => names.includes(path));
  const back = row.inOut === undefined ? row.out : [...row.out, row.inOut];
  return {
    number,
    readArgument: (value, where) => {
      const read = argument(value, where);
      return {
        nrFrames: list?.of(read) ?? 0,
        encode(abi, view, offsetBytes, placement) {
          struct[abi].encode(view, offsetBytes, row.fields(read, placement));
          for (const { offset, size } of fieldsOf(abi, row.out)) {
            const at = view.byteOffset + offsetBytes + offset;
            new Uint8Array(view.buffer, at, size).fill(UNTOUCHED);
          }
        },
      };
    },
    sizeBytes: { x86_64: struct.x86_64.size, i386: struct.i386.size },
    out: { x86_64: fieldsOf('x86_64', back), i386: fieldsOf('i386', back) },
    ...(list?.entryBytes && { listEntryBytes: list.entryBytes }),
  };
}

const handle = either(text, integer);
const frames = { dom: integer, nr_frames: integer };
/** A side of a copy: by reference or by frame. */
const copyPtr = byPresence(
  'ref',
  object({ ref: integer, domid: integer, offset: integer }),
  object({ gmfn: hex, domid: integer, offset: integer }),
);
const sideOf = (side: ReturnType<typeof copyPtr>) => ({
  u: 'ref' in side ? { ref: side.ref } : { gmfn: side.gmfn },
  domid: side.domid,
  offset: side.offset,
});

/** By the name in the recording. */
export const operations: Readonly<Record<string, Operation>> = {
  map_grant_ref: operation(object({ host_addr: hex, flags: integer, ref: integer, dom: integer }), {
    number: GNTTABOP_map_grant_ref,
    struct: gnttabMapGrantRef,
    fields: (argument) => argument,
    out: ['status', 'handle', 'dev_bus_addr'],
  }),
  unmap_grant_ref: operation(object({ host_addr: hex, dev_bus_addr: hex, handle }), {
    number: GNTTABOP_unmap_grant_ref,
    struct: gnttabUnmapGrantRef,
    fields: (argument, at) => ({ ...argument, handle: at.handle(argument.handle) }),
    out: ['status'],
  }),
  setup_table: operation(object(frames), {
    number: GNTTABOP_setup_table,
    struct: gnttabSetupTable,
    fields: (argument, { frameList }) => ({ ...argument, frame_list: frameList }),
    out: ['status'],
    list: { of: ({ nr_frames }) => nr_frames, entryBytes: { x86_64: 8, i386: 4 } },
  }),
  transfer: operation(object({ mfn: hex, domid: integer, ref: integer }), {
    number: GNTTABOP_transfer,
    struct: gnttabTransfer,
    fields: (argument) => argument,
    out: ['status'],
  }),
  copy: operation(object({ source: copyPtr, dest: copyPtr, len: integer, flags: integer }), {
    number: GNTTABOP_copy,
    struct: gnttabCopy,
    fields: ({ source, dest, len, flags }) => ({
      source: sideOf(source),
      dest: sideOf(dest),
      len,
      flags,
    }),
    out: ['status'],
  }),
  query_size: operation(object({ dom: integer }, { pad: integer }), {
    number: GNTTABOP_query_size,
    struct: gnttabQuerySize,
    fields: ({ dom }) => ({ dom }),
    out: ['nr_frames', 'max_nr_frames', 'status'],
  }),
  unmap_and_replace: operation(object({ host_addr: hex, new_addr: hex, handle }), {
    number: GNTTABOP_unmap_and_replace,
    struct: gnttabUnmapAndReplace,
    fields: (argument, at) => ({ ...argument, handle: at.handle(argument.handle) }),
    out: ['status'],
  }),
  set_version: operation(object({ version: integer }), {
    number: GNTTABOP_set_version,
    struct: gnttabSetVersion,
    fields: (argument) => argument,
    out: [],
    inOut: 'version',
  }),
  get_status_frames: operation(object(frames), {
    number: GNTTABOP_get_status_frames,
    struct: gnttabGetStatusFrames,
    fields: (argument, { frameList }) => ({ ...argument, frame_list: frameList }),
    out: ['status'],
    list: { of: ({ nr_frames }) => nr_frames, entryBytes: { x86_64: 8, i386: 8 } },
  }),
  get_version: operation(object({ dom: integer, pad: integer }), {
    number: GNTTABOP_get_version,
    struct: gnttabGetVersion,
    fields: (argument) => argument,
    out: ['version'],
  }),
  swap_grant_ref: operation(object({ ref_a: integer, ref_b: integer }), {
    number: GNTTABOP_swap_grant_ref,
    struct: gnttabSwapGrantRef,
    fields: (argument) => argument,
    out: ['status'],
  }),
  cache_flush: operation(
    object({ dev_bus_addr: hex, offset: integer, length: integer, op: integer }),
    {
      number: GNTTABOP_cache_flush,
      struct: gnttabCacheFlush,
      fields: ({ dev_bus_addr, ...rest }) => ({ a: { dev_bus_addr }, ...rest }),
      out: [],
    },
  ),
};

/** `op: "unknown"`: some number that the header does not have, with nothing to say about its argument. */
export const unknownOperation: Operation = {
  number: NaN,
  readArgument: (value, where) => {
    object({})(value, where);
    return { nrFrames: 0, encode: () => {} };
  },
  sizeBytes: { x86_64: 0, i386: 0 },
  out: { x86_64: [], i386: [] },
};
