/** The format of grant table recordings, version 1: `test/vectors/gnttab`. */
import { BANK_PAGES } from '@ringside/gnttab-core';
import {
  boolean,
  byField,
  byPresence,
  bytes,
  either,
  hex,
  integer,
  integerFrom,
  listOf,
  object,
  oneOf,
  orNull,
  type Read,
  type Reader,
  RecordingError,
  sha256,
  text,
} from '../reader.ts';
import { readTraces, type Trace } from '../traces.ts';
import { headerOf } from './header.ts';
import { operations, unknownOperation } from './operations.ts';

/** A frame of the hypervisor's own, whose number is its own affair: `gt:DOM:INDEX`, `st:DOM:INDEX`. */
export interface TableFrame {
  readonly space: 'gt' | 'st';
  readonly dom: number;
  readonly index: number;
}
const tableFrame: Reader<TableFrame> = (value, where) => {
  const [, space, dom, index] = /^(gt|st):(\d+):(\d+)$/.exec(text(value, where)) ?? [];
  if (space === undefined) throw new RecordingError(`${where}: gt:DOM:INDEX expected`);
  return { space: space as 'gt' | 'st', dom: Number(dom), index: Number(index) };
};
const frame = either(integer, tableFrame);
/** A machine frame, or one that is only named. */
export type Frame = Read<typeof frame>;

const spanOf = { off: integer };
const hashed = { ...spanOf, len: integer, sha256 };
const spelled = { ...spanOf, hex: bytes };
const tableSpan = byPresence(
  'sha256',
  object({ dom: integer, ...hashed }),
  object({ dom: integer, ...spelled }),
);
const ramSpan = byPresence(
  'sha256',
  object({ mfn: integer, ...hashed }),
  object({ mfn: integer, ...spelled }),
);
const value = object({ dom: integer, v: integer });
const pte = object(
  { dom: integer, va: hex, present: boolean },
  { mfn: frame, rw: boolean, app: boolean, avail: integer },
);
/** How recordings call the types of p2m entries. */
export const p2mTypeNames = [
  'invalid',
  'ram_rw',
  'grant_rw',
  'grant_ro',
  'ram_paged',
  'foreign',
  'mmio_direct',
] as const;
const p2mType = oneOf(...p2mTypeNames);
const p2m = object({ dom: integer, gfn: integer, type: p2mType }, { mfn: frame });

/** A span of changed bytes: in full, or as length and digest. */
export type Span = Read<typeof tableSpan> | Read<typeof ramSpan>;
/** A changed page table entry. */
export type PteEffect = Read<typeof pte>;

const effects = object(
  {},
  {
    gt: listOf(tableSpan),
    st: listOf(tableSpan),
    ram: listOf(ramSpan),
    pte: listOf(pte),
    p2m: listOf(p2m),
    own: listOf(object({ mfn: integer, owner: integer })),
    tot: listOf(value),
    ver: listOf(value),
    ngt: listOf(value),
    nst: listOf(value),
    present: listOf(value),
    crash: listOf(integer),
    overlap: integer,
  },
);
/** Every change that a guest could see. */
export type Effects = Read<typeof effects>;

const out = object(
  {},
  {
    status: integer,
    handle: text,
    dev_bus_addr: hex,
    nr_frames: integer,
    max_nr_frames: integer,
    version: integer,
    frame_list: listOf(either(hex, tableFrame)),
  },
);
/** The fields of an argument that were written. */
export type Out = Read<typeof out>;

/** What acts says how it ended and what changed; what changed nothing says nothing. */
const acted = { rc: integer };
const c = text;
const actedWith = { eff: effects, c };
const is = <const T extends string>(t: T) => ({ t: oneOf(t) });

const call = object(
  {
    ...is('hc'),
    dom: integer,
    op: oneOf(...Object.keys(operations), 'unknown'),
    args: listOf((one: unknown) => one),
    rc: either(integer, oneOf('restart')),
    out: listOf(out),
  },
  {
    ...actedWith,
    count: integer,
    cmd: integer,
    vcpu: integer,
    uop: oneOf('bad', 'null'),
    flist: oneOf('bad', 'null'),
    fault_at: integer,
    fl_fault_at: integer,
  },
);
const hypercall = (line: unknown, where: string) => {
  const read = call(line, where);
  const known = operations[read.op];
  if (known === undefined && read.cmd === undefined) {
    throw new RecordingError(`${where}: an unknown operation needs a number, cmd`);
  }
  if (read.out.length !== read.args.length) {
    throw new RecordingError(`${where}: ${read.args.length} args, but ${read.out.length} out`);
  }
  const operation = known ?? unknownOperation;
  const args = read.args.map((one, i) => operation.readArgument(one, `${where}.args[${i}]`));
  return { ...read, operation, args, said: read.args };
};
/** A grant_table_op; `said` has its arguments as they stand in the recording. */
export type Hypercall = ReturnType<typeof hypercall>;

/** Writing and checking, which a guest does without the hypervisor. */
const write = byPresence(
  'mfn',
  object({ ...is('w'), sp: oneOf('ram'), dom: integer, mfn: integer, ...spelled }, { c }),
  object({ ...is('w'), sp: oneOf('gt', 'st'), dom: integer, ...spelled }, { c }),
);
const checkTable = object({ ...is('chk'), sp: oneOf('gt', 'st'), dom: integer, ...spelled }, { c });
const checkRam = object(
  { ...is('chk'), sp: oneOf('ram'), mfn: integer, owner: integer, sha256 },
  { c },
);
const checkWholeTable = object(
  {
    ...is('chk'),
    sp: oneOf('gtall'),
    dom: integer,
    version: integer,
    nr_frames: integer,
    nr_status: integer,
    gt_sha256: sha256,
  },
  { st_sha256: sha256, c },
);
type Check = Read<typeof checkTable> | Read<typeof checkRam> | Read<typeof checkWholeTable>;
const check = byField<Check>('sp', {
  gt: checkTable,
  st: checkTable,
  ram: checkRam,
  gtall: checkWholeTable,
});

/** Bank 0 is a few domains' tables: nobody needs frames far into it. */
const lowFrame = integerFrom(0, BANK_PAGES / 2);

const steps = {
  w: write,
  fill: object({ ...is('fill'), mfn: integer, seed: integer }, { dom: integer, c }),
  hc: hypercall,
  chk: check,
  mmu: object(
    { ...is('mmu'), dom: integer, va: hex, mfn: orNull(frame), rw: boolean, ...acted },
    actedWith,
  ),
  physmap: object({ ...is('physmap'), dom: integer, idx: hex, gfn: integer, ...acted }, actedWith),
  p2mset: object(
    { ...is('p2mset'), dom: integer, gfn: integer, type: p2mType, ...acted },
    actedWith,
  ),
  kill: object({ ...is('kill'), dom: integer, ...acted }, actedWith),
  preempt: object({ ...is('preempt'), every: integer }, { c }),
  oom: object({ ...is('oom'), pages: integer }, { c }),
  low_pages: object({ ...is('low_pages'), n: lowFrame, first_mfn: lowFrame }, { c }),
  note: object({ ...is('note'), text }, { c }),
  end: object({ ...is('end'), steps: integer, hypercalls: integer }, { c }),
};
/** What a line says. */
export type Step = Read<(typeof steps)[keyof typeof steps]>;
/** Steps after which the whole machine is compared. */
export type ActingStep = Extract<Step, { readonly rc: unknown }>;

export type { DomainHeader } from './header.ts';

/** A trace of grant table operations. */
export type GnttabTrace = Trace<ReturnType<typeof headerOf>, Step>;

/** Reads a recording of grant table operations. Throws RecordingError. */
export const readGnttabRecording = (recording: string): GnttabTrace[] =>
  readTraces<ReturnType<typeof headerOf>, Step>(recording, {
    subject: 'grant tables',
    header: headerOf,
    step: byField<Step>('t', steps),
    checkEnd: (end, lines, where) => {
      const calls = lines.filter((one) => one.t === 'hc').length;
      if (end.steps === lines.length && end.hypercalls === calls) return;
      throw new RecordingError(
        `${where}: the trace has ${lines.length} steps and ${calls} hypercalls, not ${end.steps} and ${end.hypercalls}`,
      );
    },
  });
