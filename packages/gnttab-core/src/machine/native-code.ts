/**
 * The atomic steps of locks and reference counts as one small WebAssembly module, assembled here. V8 compiles
 * `Atomics.*` to calls of about 8 ns each; a step made of two or three of them costs about 5 ns in one wasm function.
 * Everything works on unshared memory too.
 */

import { pageInfo, PGC_count_mask, PGT_count_mask, PGT_type_mask } from './layout.ts';

/** Opcodes, by their names in the WebAssembly specification and its threads proposal. */
const LOOP = [0x03, 0x40];
const IF = [0x04, 0x40];
const END = [0x0b];
const br_if = (depth: number) => [0x0d, depth];
const RETURN = [0x0f];
const DROP = [0x1a];
const get = (local: number) => [0x20, local];
const tee = (local: number) => [0x22, local];
const i32_const = (value: number) => [0x41, ...signedLeb(value)];
const i32_load16_u = (offset: number) => [0x2f, 1, ...leb(offset)];
const i32_eqz = [0x45];
const i32_eq = [0x46];
const i32_ne = [0x47];
const i32_lt_s = [0x48];
const i32_add = [0x6a];
const i32_and = [0x71];
const i32_or = [0x72];
const memory_copy = [0xfc, 0x0a, 0, 0];
const memory_fill = [0xfc, 0x0b, 0];
const atomic = (code: number, log2Bytes: number) => (offset: number) => [
  0xfe,
  code,
  log2Bytes,
  ...leb(offset),
];
const i32_atomic_load = atomic(0x10, 2);
const i32_atomic_store = atomic(0x17, 2);
const i32_atomic_rmw_add = atomic(0x1e, 2);
const i32_atomic_rmw_sub = atomic(0x25, 2);
const i32_atomic_rmw_and = atomic(0x2c, 2);
const i32_atomic_rmw16_and_u = atomic(0x2f, 1);
const i32_atomic_rmw_or = atomic(0x33, 2);
const i32_atomic_rmw16_or_u = atomic(0x36, 1);
const i32_atomic_rmw_cmpxchg = atomic(0x48, 2);

function leb(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...leb(value >>> 7)];
}

function signedLeb(value: number): number[] {
  const done = value >> 6 === value >> 31;
  return done ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signedLeb(value >> 7)];
}

/** Instructions that belong on one line. */
const seq = (...instructions: number[][]): number[] => instructions.flat();

interface Code {
  readonly params: number;
  readonly result: boolean;
  /** i32 locals besides the parameters. */
  readonly locals: number;
  readonly body: readonly number[];
}
const code = (params: number, result: boolean, locals: number, ...body: number[][]): Code => ({
  params,
  result,
  locals,
  body: body.flat(),
});

const { count_info: COUNT, type_info: TYPE, owner: OWNER } = pageInfo.offset;

/** A rwlock's word counts readers; its sign bit is the writer, whose claim keeps new readers out. */
const WRITER = -0x8000_0000;

const spinLock = (lock: number) => [
  LOOP,
  seq(get(lock), i32_const(0), i32_const(1), i32_atomic_rmw_cmpxchg(0), br_if(0)),
  END,
];
const spinUnlock = (lock: number) => [get(lock), i32_const(0), i32_atomic_store(0)];
const readLock = (lock: number) => [
  LOOP,
  seq(get(lock), i32_const(1), i32_atomic_rmw_add(0), i32_const(0), i32_lt_s),
  IF,
  seq(get(lock), i32_const(1), i32_atomic_rmw_sub(0), DROP),
  [0x0c, 1], // br to the loop
  END,
  END,
];
const readUnlock = (lock: number) => [get(lock), i32_const(1), i32_atomic_rmw_sub(0), DROP];

/** One more reference to a frame; the function returns 0 if it has none (it is free), or as many as can be. */
const countUp = (info: number, seen: number) => [
  LOOP,
  seq(get(info), i32_atomic_load(COUNT), tee(seen), i32_const(PGC_count_mask), i32_and, i32_eqz),
  seq(IF, i32_const(0), RETURN, END),
  seq(get(seen), i32_const(PGC_count_mask), i32_and, i32_const(PGC_count_mask), i32_eq),
  seq(IF, i32_const(0), RETURN, END),
  seq(get(info), get(seen), get(seen), i32_const(1), i32_add, i32_atomic_rmw_cmpxchg(COUNT)),
  seq(get(seen), i32_ne, br_if(0)),
  END,
];

/** One more use of a frame as `type`; the function returns 3 if it is in use as another, or as often as can be. */
const typeUp = (info: number, type: number, seen: number) => [
  LOOP,
  seq(get(info), i32_atomic_load(TYPE), tee(seen), i32_const(PGT_count_mask), i32_and),
  IF,
  seq(get(seen), i32_const(PGT_type_mask), i32_and, get(type), i32_ne),
  seq(IF, i32_const(3), RETURN, END),
  seq(get(seen), i32_const(PGT_count_mask), i32_and, i32_const(PGT_count_mask), i32_eq),
  seq(IF, i32_const(3), RETURN, END),
  END,
  seq(get(info), get(seen), get(type), get(seen), i32_const(PGT_count_mask), i32_and),
  seq(i32_const(1), i32_add, i32_or, i32_atomic_rmw_cmpxchg(TYPE)),
  seq(get(seen), i32_ne, br_if(0)),
  END,
];

/** The functions of the module. Addresses are byte offsets in bank 0. */
export interface Native {
  /** memmove. */
  copy(this: void, to: number, from: number, lengthBytes: number): void;
  /** memset to zero. */
  zero(this: void, at: number, lengthBytes: number): void;
  /** Compare and exchange; returns what was there. */
  cas(at: number, expected: number, replacement: number): number;
  /** A load that no later step comes before, and that comes before no earlier one. */
  load(at: number): number;
  /** Sets bits of a word; returns what was there. */
  or(at: number, bits: number): number;
  /** Clears bits of a word: and with `mask`; returns what was there. */
  and(at: number, mask: number): number;
  /** Clears bits of a 16-bit word: and with `mask`. */
  and16(at: number, mask: number): void;
  /** Sets bits of a 16-bit word. */
  or16(at: number, bits: number): void;
  spinLock(lock: number): void;
  spinUnlock(lock: number): void;
  readLock(lock: number): void;
  readUnlock(lock: number): void;
  writeLock(lock: number): void;
  writeUnlock(lock: number): void;
  /** Adds a reference: 0 if there is none yet (a free frame), 1 if `owner` owns it, 2 if another does (it is taken). */
  getPage(info: number, owner: number): number;
  /** Drops a reference; returns the word as it is now. */
  putPage(info: number): number;
  /** A reference and a use of a type: 0, 1 and 2 as getPage; 3 if the frame is in use as another type (it is taken). */
  getPageAndType(info: number, owner: number, type: number): number;
  /** Drops a use of the type and a reference; returns the count word as it is now. */
  putPageAndType(info: number): number;
}

const program: Record<keyof Native, Code> = {
  copy: code(3, false, 0, get(0), get(1), get(2), memory_copy),
  zero: code(2, false, 0, get(0), i32_const(0), get(1), memory_fill),
  cas: code(3, true, 0, get(0), get(1), get(2), i32_atomic_rmw_cmpxchg(0)),
  load: code(1, true, 0, get(0), i32_atomic_load(0)),
  or: code(2, true, 0, get(0), get(1), i32_atomic_rmw_or(0)),
  and: code(2, true, 0, get(0), get(1), i32_atomic_rmw_and(0)),
  and16: code(2, false, 0, get(0), get(1), i32_atomic_rmw16_and_u(0), DROP),
  or16: code(2, false, 0, get(0), get(1), i32_atomic_rmw16_or_u(0), DROP),
  spinLock: code(1, false, 0, ...spinLock(0)),
  spinUnlock: code(1, false, 0, ...spinUnlock(0)),
  readLock: code(1, false, 0, ...readLock(0)),
  readUnlock: code(1, false, 0, ...readUnlock(0)),
  writeLock: code(
    1,
    false,
    0,
    seq(
      LOOP,
      get(0),
      i32_const(WRITER),
      i32_atomic_rmw_or(0),
      i32_const(0),
      i32_lt_s,
      br_if(0),
      END,
    ),
    // The claim is ours; wait for the readers to leave.
    seq(LOOP, get(0), i32_atomic_load(0), i32_const(WRITER), i32_ne, br_if(0), END),
  ),
  writeUnlock: code(1, false, 0, seq(get(0), i32_const(~WRITER), i32_atomic_rmw_and(0), DROP)),
  getPage: code(
    2,
    true,
    1,
    ...countUp(0, 2),
    seq(get(0), i32_load16_u(OWNER), get(1), i32_ne, i32_const(1), i32_add),
  ),
  putPage: code(
    1,
    true,
    0,
    seq(get(0), i32_const(1), i32_atomic_rmw_sub(COUNT), i32_const(-1), i32_add),
  ),
  getPageAndType: code(
    3,
    true,
    1,
    ...countUp(0, 3),
    seq(get(0), i32_load16_u(OWNER), get(1), i32_ne, IF, i32_const(2), RETURN, END),
    ...typeUp(0, 2, 3),
    i32_const(1),
  ),
  putPageAndType: code(
    1,
    true,
    0,
    seq(get(0), i32_const(1), i32_atomic_rmw_sub(TYPE), DROP),
    seq(get(0), i32_const(1), i32_atomic_rmw_sub(COUNT), i32_const(-1), i32_add),
  ),
};

const bytesOf = (text: string) => [text.length, ...Array.from(text, (c) => c.charCodeAt(0))];
const vector = (items: readonly number[][]) => [...leb(items.length), ...items.flat()];
const section = (id: number, content: number[]) => [id, ...leb(content.length), ...content];
const I32 = 0x7f;

/** Assembles the module for shared or unshared memory of at most 4 GiB, imported as `m.m`. */
function assemble(functions: Record<string, Code>, shared: boolean): Uint8Array<ArrayBuffer> {
  const codes = Object.values(functions);
  const memoryLimits = [shared ? 0x03 : 0x01, ...leb(1), ...leb(65_536)];
  return new Uint8Array([
    0x00,
    0x61,
    0x73,
    0x6d,
    0x01,
    0x00,
    0x00,
    0x00,
    ...section(
      1,
      vector(
        codes.map(({ params, result }) => [
          0x60,
          ...vector(Array.from({ length: params }, () => [I32])),
          ...vector(result ? [[I32]] : []),
        ]),
      ),
    ),
    ...section(2, vector([[...bytesOf('m'), ...bytesOf('m'), 0x02, ...memoryLimits]])),
    ...section(3, vector(codes.map((_, type) => leb(type)))),
    ...section(
      7,
      vector(Object.keys(functions).map((name, index) => [...bytesOf(name), 0x00, ...leb(index)])),
    ),
    ...section(
      10,
      vector(
        codes.map(({ locals, body }) => {
          const bytes = [...vector(locals > 0 ? [[locals, I32]] : []), ...body, ...END];
          return [...leb(bytes.length), ...bytes];
        }),
      ),
    ),
  ]);
}

const compiled = new Map<boolean, WebAssembly.Module>();

/** Instantiates the module on a memory. */
export function nativeCode(memory: WebAssembly.Memory): Native {
  const shared =
    typeof SharedArrayBuffer !== 'undefined' && memory.buffer instanceof SharedArrayBuffer;
  let module = compiled.get(shared);
  if (module === undefined) {
    module = new WebAssembly.Module(assemble(program, shared));
    compiled.set(shared, module);
  }
  const { exports } = new WebAssembly.Instance(module, { m: { m: memory } });
  // A plain object: V8 knows its functions as constants.
  return { ...(exports as unknown as Native) };
}
