/** One recorded event_channel_op, made through the binary door, and what came back compared with the recording. */
import { Continuation } from '@ringside/gnttab-core';
import { __HYPERVISOR_event_channel_op, type Abi } from '@ringside/gnttab-core/abi';
import { badPointer } from '../argument-memory.ts';
import {
  compareStruct,
  type Field,
  isUntouched,
  PlacedArray,
  putField,
} from '../argument-struct.ts';
import type { Report } from '../difference.ts';
import { RecordingError } from '../reader.ts';
import { hexNumber, resultName } from '../words.ts';
import type { Hypercall } from './recording.ts';
import type { World } from './world.ts';

/** No port, domain or virtual CPU has such a number. */
const LARGE = 1n << 17n;

/** Makes the call, and reports what is not as recorded. `stop`: what is left of a preempted call is not done. */
export function performCall(world: World, step: Hypercall, stop: boolean, report: Report): void {
  const { dom, vcpu, operation, argument, uop, cmd = operation.number } = step;
  const guest = world.guest(dom);
  const { abi } = guest;
  const memory = uop === 'ro' ? guest.constant : guest.argument;
  const struct = new PlacedArray(memory, 1, operation.sizeBytes[abi]);
  argument.encode(abi, struct.view);
  struct.write();

  const door = world.door(dom, vcpu);
  const number = __HYPERVISOR_event_channel_op;
  const pointer = uop === 'bad' ? badPointer(abi, 'bad') : struct.va;
  const outcome = stop
    ? door.hypercallLeg(number, cmd, pointer)
    : door.hypercall(number, cmd, pointer);
  const result = outcome instanceof Continuation ? 'preempted' : outcome;
  if (result !== step.rc) report('result', resultName(step.rc), resultName(result));
  compareOut(step, abi, struct, report);
}

function compareOut(step: Hypercall, abi: Abi, struct: PlacedArray, report: Report): void {
  const known = step.operation.out[abi];
  const expected = new DataView(struct.bytes.slice().buffer);
  const recorded = Object.entries(step.out ?? {}).map(([name, value]) => {
    const field = known.find(({ path }) => path === name);
    if (field === undefined) throw new RecordingError(`out: ${step.op} has no ${name}`);
    putField(expected, 0, field, value);
    return field;
  });
  // Members of a union lie on each other: the recorded one gives a byte its name.
  const fields = [...recorded, ...known.filter((field) => !recorded.includes(field))];
  compareStruct('out', { fields, expected, got: struct.read(), words }, report);
}

function words(field: Field, value: bigint): string {
  if (isUntouched(value, field)) return 'untouched';
  return value < LARGE ? String(value) : hexNumber(value);
}
