/** The operations of event_channel_op as recordings name them: number, argument struct, and the fields that come back. */
import {
  type Abi,
  evtchnAllocUnbound,
  evtchnBindInterdomain,
  evtchnBindIpi,
  evtchnBindPirq,
  evtchnBindVcpu,
  evtchnBindVirq,
  evtchnClose,
  evtchnExpandArray,
  evtchnInitControl,
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_ipi,
  EVTCHNOP_bind_pirq,
  EVTCHNOP_bind_vcpu,
  EVTCHNOP_bind_virq,
  EVTCHNOP_close,
  EVTCHNOP_expand_array,
  EVTCHNOP_init_control,
  EVTCHNOP_reset,
  EVTCHNOP_send,
  EVTCHNOP_set_priority,
  EVTCHNOP_status,
  EVTCHNOP_unmask,
  evtchnReset,
  evtchnSend,
  evtchnSetPriority,
  evtchnStatus,
  evtchnUnmask,
  type Initializer,
  type StructByAbi,
  type Table,
} from '@ringside/gnttab-core/abi';
import { type Field, UNTOUCHED } from '../argument-struct.ts';
import { hex, integerFrom, object, type Reader } from '../reader.ts';

/** The argument of a call, as read from the recording. */
export interface Argument {
  /** Writes the struct; its OUT fields are UNTOUCHED. */
  encode(abi: Abi, view: DataView): void;
}

/** One operation of event_channel_op. */
export interface Operation {
  readonly number: number;
  readonly readArgument: Reader<Argument>;
  readonly sizeBytes: Readonly<Record<Abi, number>>;
  /** The fields that come back, by their names in recordings. */
  readonly out: Readonly<Record<Abi, readonly Field[]>>;
}

/** `out`: names in recordings, and the fields that they stand for. */
function operation<T extends Table, A extends Initializer<T>>(
  number: number,
  struct: StructByAbi<T>,
  argument: Reader<A>,
  out: Readonly<Record<string, string>> = {},
): Operation {
  const outFields = (abi: Abi): Field[] =>
    Object.entries(out).map(([name, path]) => ({
      ...struct[abi].fields.find((field) => field.path === path)!,
      path: name,
    }));
  const fields = { x86_64: outFields('x86_64'), i386: outFields('i386') };
  return {
    number,
    readArgument: (value, where) => {
      const read = argument(value, where);
      return {
        encode(abi, view) {
          struct[abi].encode(view, 0, read);
          for (const { offset, size } of fields[abi]) {
            new Uint8Array(view.buffer, view.byteOffset + offset, size).fill(UNTOUCHED);
          }
        },
      };
    },
    sizeBytes: { x86_64: struct.x86_64.size, i386: struct.i386.size },
    out: fields,
  };
}

const u16 = integerFrom(0, 0xffff);
const u32 = integerFrom(0, 0xffff_ffff);
const port = object({ port: u32 });
/** Of a union all members come back. */
const status = {
  status: 'status',
  vcpu: 'vcpu',
  u_dom: 'u.unbound.dom',
  u_port: 'u.interdomain.port',
  u_virq: 'u.virq',
};
const reset = object({ dom: u16 });
/** Xen's own command, by which a preempted reset is continued (event_channel.c). */
const EVTCHNOP_reset_cont = 14;

/** By the name in the recording. */
export const operations: Readonly<Record<string, Operation>> = {
  alloc_unbound: operation(
    EVTCHNOP_alloc_unbound,
    evtchnAllocUnbound,
    object({ dom: u16, remote_dom: u16 }),
    { port: 'port' },
  ),
  bind_interdomain: operation(
    EVTCHNOP_bind_interdomain,
    evtchnBindInterdomain,
    object({ remote_dom: u16, remote_port: u32 }),
    { local_port: 'local_port' },
  ),
  bind_virq: operation(EVTCHNOP_bind_virq, evtchnBindVirq, object({ virq: u32, vcpu: u32 }), {
    port: 'port',
  }),
  bind_ipi: operation(EVTCHNOP_bind_ipi, evtchnBindIpi, object({ vcpu: u32 }), { port: 'port' }),
  bind_pirq: operation(EVTCHNOP_bind_pirq, evtchnBindPirq, object({ pirq: u32, flags: u32 }), {
    port: 'port',
  }),
  close: operation(EVTCHNOP_close, evtchnClose, port),
  send: operation(EVTCHNOP_send, evtchnSend, port),
  status: operation(EVTCHNOP_status, evtchnStatus, object({ dom: u16, port: u32 }), status),
  bind_vcpu: operation(EVTCHNOP_bind_vcpu, evtchnBindVcpu, object({ port: u32, vcpu: u32 })),
  unmask: operation(EVTCHNOP_unmask, evtchnUnmask, port),
  reset: operation(EVTCHNOP_reset, evtchnReset, reset),
  reset_cont: operation(EVTCHNOP_reset_cont, evtchnReset, reset),
  init_control: operation(
    EVTCHNOP_init_control,
    evtchnInitControl,
    object({ control_gfn: hex, offset: u32, vcpu: u32 }),
    { link_bits: 'link_bits' },
  ),
  expand_array: operation(EVTCHNOP_expand_array, evtchnExpandArray, object({ array_gfn: hex })),
  set_priority: operation(
    EVTCHNOP_set_priority,
    evtchnSetPriority,
    object({ port: u32, priority: u32 }),
  ),
};

/** `op: "unknown"`: some number that the header does not have, with nothing to say about its argument. */
export const unknownOperation: Operation = {
  number: NaN,
  readArgument: (value, where) => {
    object({})(value, where);
    return { encode: () => {} };
  },
  sizeBytes: { x86_64: 0, i386: 0 },
  out: { x86_64: [], i386: [] },
};
