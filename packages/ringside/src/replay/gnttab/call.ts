/** One recorded grant_table_op, made through the binary door, and what came back compared with the recording. */
import { EndlessContinuation } from '@ringside/gnttab-core';
import {
  __HYPERVISOR_grant_table_op,
  GNTST_general_error,
  XEN_EFAULT,
} from '@ringside/gnttab-core/abi';
import { badPointer, type BadPointer } from '../argument-memory.ts';
import {
  compareStruct,
  type Field,
  isUntouched,
  PlacedArray,
  putField,
  takeField,
} from '../argument-struct.ts';
import type { Report } from '../difference.ts';
import { RecordingError } from '../reader.ts';
import { hexNumber, resultName } from '../words.ts';
import { mapHint } from './describe-call.ts';
import { statusName } from './names.ts';
import type { Placement } from './operations.ts';
import type { Frame, Hypercall, Out } from './recording.ts';
import type { World } from './world.ts';

/** No map track entry has this number. */
const NO_HANDLE = 0xffff_fffe;
const UNTOUCHED_HANDLE = 0xa5a5_a5a5;

/** The numbers of handles, by their names in the trace. */
export type Handles = Map<string, number>;

/** Makes the call, binds the handles that it names, and reports what is not as recorded. */
export function performCall(world: World, handles: Handles, step: Hypercall, report: Report): void {
  const { operation, args, dom, vcpu, cmd = operation.number, count = args.length } = step;
  const { abi } = world;
  const { array, list } = world.guest(dom);
  const frames = new PlacedArray(
    list,
    args[0]?.nrFrames ?? 0,
    operation.listEntryBytes?.[abi] ?? 0,
    step.fl_fault_at,
  );
  const elements = new PlacedArray(array, args.length, operation.sizeBytes[abi], step.fault_at);
  const placement: Placement = {
    handle: (name) => (typeof name === 'number' ? name : (handles.get(name) ?? NO_HANDLE)),
    frameList: pointer(world, step.flist, frames.va),
  };
  for (const [i, argument] of args.entries()) {
    argument.encode(abi, elements.view, i * elements.elementBytes, placement);
  }
  elements.write();
  frames.write();
  const { rc, out } = isListTooLong(world, step) ? refused(step) : step;

  const door = world.door(dom, vcpu);
  const uop = pointer(world, step.uop, elements.va);
  const result = completed(() => door.hypercall(__HYPERVISOR_grant_table_op, cmd, uop, count));
  if (result !== rc) report('result', resultName(rc), resultName(result));

  const fields = operation.out[abi];
  const got = elements.read();
  for (const [i, element] of out.entries()) {
    const at = i * elements.elementBytes;
    bindHandle(handles, element, fields, got, at);
    const compared = { out: element, fields, handles, at, before: elements, got };
    const statuses = [element.status, statusIn(fields, got, at)];
    const hint = statuses.includes(GNTST_general_error) ? mapHint(world, step, i) : undefined;
    compareElement(`out[${i}]`, compared, (what, wanted, found) =>
      report(what, wanted, found, { element: i, hint }),
    );
  }
  compareFrames(world, out, frames, report);
}

/**
 * The one thing that a recording of x86_64 cannot tell of i386: a list of so many frames that it would not fit a PV
 * guest's 4 GiB. guest_handle_okay() refuses it, before anything is looked at.
 */
function isListTooLong(world: World, { operation, args, dom }: Hypercall): boolean {
  const bytes = (args[0]?.nrFrames ?? 0) * (operation.listEntryBytes?.i386 ?? 0);
  return world.abi === 'i386' && bytes >= 2 ** 32 && world.guest(dom).header.type === 'pv';
}

const refused = ({ out }: Hypercall): Pick<Hypercall, 'rc' | 'out'> => ({
  rc: -XEN_EFAULT,
  out: out.map(() => ({})),
});

const pointer = (world: World, kind: BadPointer | undefined, va: number): bigint =>
  kind === undefined ? BigInt(va) : badPointer(world.abi, kind);

function completed(call: () => number): number | 'restart' {
  try {
    return call();
  } catch (error) {
    if (error instanceof EndlessContinuation) return 'restart';
    throw error;
  }
}

function bindHandle(
  handles: Handles,
  out: Out,
  fields: readonly Field[],
  got: DataView,
  at: number,
): void {
  const field = fields.find(({ path }) => path === 'handle');
  if (out.handle === undefined || field === undefined) return;
  const handle = got.getUint32(at + field.offset, true);
  handles.set(out.handle, handle === UNTOUCHED_HANDLE ? NO_HANDLE : handle);
}

function statusIn(fields: readonly Field[], got: DataView, at: number): number | undefined {
  const field = fields.find(({ path }) => path === 'status');
  return field && got.getInt16(at + field.offset, true);
}

interface Element {
  readonly out: Out;
  readonly fields: readonly Field[];
  readonly handles: Handles;
  readonly at: number;
  /** The array as it was passed. */
  readonly before: PlacedArray;
  readonly got: DataView;
}

/** Reports what of an element is not as it should be. */
function compareElement(what: string, element: Element, report: Report): void {
  const { out, fields, handles, at, before, got } = element;
  const { elementBytes } = before;
  const expected = new DataView(before.bytes.slice(at, at + elementBytes).buffer);
  for (const [name, value] of Object.entries(out)) {
    if (name === 'frame_list') continue;
    const field = fields.find(({ path }) => path === name);
    if (field === undefined) throw new RecordingError(`${what}: the operation has no ${name}`);
    if (typeof value === 'object') throw new RecordingError(`${what}.${name} is a list`);
    putField(expected, 0, field, typeof value === 'string' ? handles.get(value)! : value);
  }
  const isNamed = ({ path }: Field) => path === 'handle' && out.handle !== undefined;
  const returned = {
    fields,
    expected,
    got: new DataView(got.buffer, at, elementBytes),
    words: (field: Field, value: bigint, isExpected: boolean) =>
      isExpected && isNamed(field) ? out.handle! : written(field, value),
    isWrong: (field: Field, value: bigint) => isNamed(field) && isUntouched(value, field),
  };
  compareStruct(what, returned, report);
}

function written(field: Field, value: bigint): string {
  if (isUntouched(value, field)) return 'untouched';
  if (field.path === 'status') return statusName(Number(BigInt.asIntN(16, value)));
  return field.size === 8 ? hexNumber(value) : String(value);
}

/** The list of frames: those that are recorded, and nothing after them. */
function compareFrames(world: World, out: readonly Out[], list: PlacedArray, report: Report): void {
  const { elementBytes, view } = list;
  const names = out[0]?.frame_list ?? [];
  if (names.length * elementBytes > view.byteLength || out.some(isLaterList)) {
    throw new RecordingError('frame_list is longer than what was asked for');
  }
  if (elementBytes === 0) return;
  const got = list.read();
  for (const [i, name] of names.entries())
    putField(view, 0, entry(i, elementBytes), numberOf(world, name));
  const words = (of: DataView) => {
    const entries = Array.from({ length: view.byteLength / elementBytes }, (_, i) =>
      written(entry(i, elementBytes), takeField(of, 0, entry(i, elementBytes))),
    );
    return entries.join(' ');
  };
  const [wanted, found] = [words(view), words(got)];
  if (wanted !== found) report('frame_list', wanted, found);
}

const isLaterList = ({ frame_list = [] }: Out, index: number): boolean =>
  index > 0 && frame_list.length > 0;

const entry = (index: number, size: number): Field => ({
  path: 'frame',
  offset: index * size,
  size,
});

const numberOf = (world: World, name: bigint | Exclude<Frame, number>): number | bigint =>
  typeof name === 'bigint' ? name : world.frameOf(name);
