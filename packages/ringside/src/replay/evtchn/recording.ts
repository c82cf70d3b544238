/** The format of event channel recordings: `test/vectors/evtchn`. */
import {
  boolean,
  byField,
  bytes,
  either,
  hex,
  integer,
  integerFrom,
  listOf,
  object,
  oneOf,
  type Read,
  type Reader,
  RecordingError,
  sha256,
  text,
} from '../reader.ts';
import { readTraces, type Trace } from '../traces.ts';
import { type EvtchnHeader, headerOf } from './header.ts';
import { operations, unknownOperation } from './operations.ts';

export type { DomainHeader } from './header.ts';

/** So many whole numbers. */
const integers =
  (count: number): Reader<readonly number[]> =>
  (value, where) => {
    const read = listOf(integer)(value, where);
    if (read.length === count) return read;
    throw new RecordingError(`${where}: ${count} numbers expected, not ${read.length}`);
  };

const u32 = integerFrom(0, 0xffff_ffff);
const domainSpan = { dom: integer, off: integer, hex: bytes };
const frameSpan = { mfn: integer, off: integer, hex: bytes };
const effects = object(
  {},
  {
    /** Bytes of shared info pages. */
    si: listOf(object(domainSpan)),
    ram: listOf(object(frameSpan)),
    /** Domain and virtual CPU of each upcall, in order. */
    up: listOf(integers(2)),
    /** Domain and virtual CPU of those that had blocked and run again. */
    wake: listOf(integers(2)),
    /** Domain, virtual CPU and port of each call of a handler of Xen's. */
    xen: listOf(integers(3)),
    /** Writable type references that are now held on a frame. */
    pin: listOf(object({ mfn: integer, n: integer })),
  },
);
/** Every change that a guest could see. */
export type Effects = Read<typeof effects>;

const c = text;
/** What acts says what changed; what changed nothing says nothing. */
const acted = { eff: effects, c };
const is = <const T extends string>(t: T) => ({ t: oneOf(t) });

const out = object(
  {},
  {
    port: u32,
    local_port: u32,
    status: u32,
    vcpu: u32,
    u_dom: u32,
    u_port: u32,
    u_virq: u32,
    link_bits: u32,
  },
);

const call = object(
  {
    ...is('hc'),
    dom: integer,
    op: oneOf(...Object.keys(operations), 'unknown'),
    args: (one: unknown) => one,
    rc: either(integer, oneOf('preempted')),
  },
  { ...acted, vcpu: integer, out, uop: oneOf('bad', 'ro'), cmd: integer },
);
const hypercall = (line: unknown, where: string) => {
  const read = call(line, where);
  const operation = operations[read.op] ?? unknownOperation;
  if (operation === unknownOperation && read.cmd === undefined) {
    throw new RecordingError(`${where}: an unknown operation needs a number, cmd`);
  }
  const argument = operation.readArgument(read.args, `${where}.args`);
  return { ...read, operation, argument, said: read.args };
};
/** An event_channel_op; `said` has its argument as it stands in the recording. */
export type Hypercall = ReturnType<typeof hypercall>;

/** What the guest does without the hypervisor, and what is looked at. */
const writeShared = object({ ...is('w'), sp: oneOf('si'), ...domainSpan }, { c });
const writeRam = object({ ...is('w'), sp: oneOf('ram'), ...frameSpan }, { c });
const checkShared = object({ ...is('chk'), sp: oneOf('si'), ...domainSpan }, { c });
const checkAll = object(
  { ...is('chk'), sp: oneOf('all'), dom: integer, si_sha256: sha256, ram_sha256: sha256 },
  { c },
);

const ofDomain = { dom: integer };
const ofVcpu = { dom: integer, vcpu: integer };

const steps = {
  w: byField<Read<typeof writeShared> | Read<typeof writeRam>>('sp', {
    si: writeShared,
    ram: writeRam,
  }),
  chk: byField<Read<typeof checkShared> | Read<typeof checkAll>>('sp', {
    si: checkShared,
    all: checkAll,
  }),
  hc: hypercall,
  poll: object(
    { ...is('poll'), ...ofVcpu, ports: listOf(u32), rc: integer, blocked: boolean },
    { ...acted, uop: oneOf('bad') },
  ),
  block: object({ ...is('block'), ...ofVcpu, rc: integer, blocked: boolean }, acted),
  unblock: object({ ...is('unblock'), ...ofVcpu }, acted),
  vcpu_info: object(
    { ...is('vcpu_info'), ...ofVcpu, target: u32, frame: hex, offset: u32, rc: integer },
    acted,
  ),
  vvirq: object({ ...is('vvirq'), ...ofVcpu, virq: integer }, acted),
  dvirq: object({ ...is('dvirq'), ...ofDomain, virq: integer }, acted),
  gvirq: object({ ...is('gvirq'), virq: integer }, acted),
  virq_enabled: object({ ...is('virq_enabled'), ...ofVcpu, virq: u32, rc: integer }, acted),
  set_virq: object({ ...is('set_virq'), by: integer, ...ofDomain, virq: u32, rc: integer }, acted),
  xen_alloc: object(
    { ...is('xen_alloc'), by: integer, ...ofVcpu, remote: integer, rc: integer },
    acted,
  ),
  xen_free: object({ ...is('xen_free'), ...ofDomain, port: u32 }, acted),
  xen_notify: object({ ...is('xen_notify'), ...ofDomain, port: u32 }, acted),
  pause: object({ ...is('pause'), ...ofDomain, n: integer }, acted),
  kill: object({ ...is('kill'), by: integer, ...ofDomain, rc: integer }, acted),
  reap: object({ ...is('reap'), ...ofDomain, rc: integer }, acted),
  preempt: object({ ...is('preempt'), every: integerFrom(0, 0xffff), stop: boolean }, { c }),
  note: object({ ...is('note') }, { c, text }),
  end: object({ ...is('end'), steps: integer }, { c }),
};
/** What a line says. */
export type Step = Read<(typeof steps)[keyof typeof steps]>;
/** The lines of one kind. */
export type StepOf<T extends string> = Extract<Step, { readonly t: T }>;
/** Steps after which the whole machine is compared. */
export type ActingStep = Exclude<Step, StepOf<'w' | 'chk' | 'preempt' | 'note' | 'end'>>;
/** Those that are not event_channel_op. */
export type OtherStep = Exclude<ActingStep, Hypercall>;

/** A trace of event channel operations. */
export type EvtchnTrace = Trace<EvtchnHeader, Step>;

/** Reads a recording of event channel operations. Throws RecordingError. */
export const readEvtchnRecording = (recording: string): EvtchnTrace[] =>
  readTraces<EvtchnHeader, Step>(recording, {
    subject: 'event channels',
    header: headerOf,
    step: byField<Step>('t', steps),
    checkEnd: (end, lines, where) => {
      if (end.steps === lines.length) return;
      throw new RecordingError(`${where}: the trace has ${lines.length} steps, not ${end.steps}`);
    },
  });
