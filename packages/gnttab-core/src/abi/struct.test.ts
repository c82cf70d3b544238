import fc from 'fast-check';
import { describe, expect, expectTypeOf, it } from 'vitest';
import {
  array,
  i16,
  i32,
  i64,
  i8,
  pointer,
  struct,
  structs,
  u16,
  u32,
  u64,
  u8,
  ulong,
  union,
  unions,
} from './struct.ts';
import type { Cursor, Initializer, Plain, ScalarArray } from './struct.ts';

const memory = (size = 256) => new DataView(new ArrayBuffer(size));

const segment = struct('segment', { gref: u32, first_sect: u8, last_sect: u8 }, { size: 8 });
const request = structs(
  'request',
  {
    operation: u8,
    nr_segments: u8,
    handle: u16,
    id: u64,
    sector_number: u64,
    seg: array(segment, 11),
  },
  { x86_64: 112, i386: 108 },
);

describe('layout', () => {
  it('aligns 64-bit integers to 8 on x86-64 and to 4 on i386', () => {
    expect(request.x86_64.offset).toEqual({
      operation: 0,
      nr_segments: 1,
      handle: 2,
      id: 8,
      sector_number: 16,
      seg: 24,
    });
    expect(request.i386.offset).toEqual({
      operation: 0,
      nr_segments: 1,
      handle: 2,
      id: 4,
      sector_number: 12,
      seg: 20,
    });
    expect([request.x86_64.align, request.i386.align]).toEqual([8, 4]);
  });

  it('gives unsigned long and pointers the width of the ABI', () => {
    const s = structs(
      's',
      { a: u8, long: ulong, handle: pointer, b: u8 },
      { x86_64: 32, i386: 16 },
    );
    expect(s.x86_64.offset).toEqual({ a: 0, long: 8, handle: 16, b: 24 });
    expect(s.i386.offset).toEqual({ a: 0, long: 4, handle: 8, b: 12 });
  });

  it('puts every member of a union at 0 and pads to the widest alignment', () => {
    const u = union('u', { wide: u64, bytes: array(u8, 9) });
    expect(u.offset).toEqual({ wide: 0, bytes: 0 });
    expect([u.size, u.align]).toEqual([16, 8]);
  });

  it('lays a nested struct out for the ABI of what contains it', () => {
    const inner = struct('inner', { a: u32, b: u64 });
    expect(struct('outer', { inner, tail: u8 }, { abi: 'i386' }).size).toBe(16);
    expect(struct('outer', { inner, tail: u8 }).size).toBe(24);
  });

  it('takes an array length by ABI', () => {
    const pending = array(ulong, { x86_64: 64, i386: 32 });
    expect(structs('s', { pending }, { x86_64: 512, i386: 128 }).i386.cursor().pending.length).toBe(
      32,
    );
  });

  it('flattens nested fields by C designator, element 0 of an array of structs', () => {
    const s = struct('s', { tag: u8, u: union('', { one: i64, ring: array(segment, 2) }) });
    expect(s.fields.map(({ path, offset, size, kind }) => [path, offset, size, kind])).toEqual([
      ['tag', 0, 1, 'uint'],
      ['u', 8, 16, 'union'],
      ['u.one', 8, 8, 'int'],
      ['u.ring', 8, 16, 'array'],
      ['u.ring[0]', 8, 8, 'struct'],
      ['u.ring[0].gref', 8, 4, 'uint'],
      ['u.ring[0].first_sect', 12, 1, 'uint'],
      ['u.ring[0].last_sect', 13, 1, 'uint'],
    ]);
  });

  it('refuses a table that does not make the declared size', () => {
    expect(() => struct('short', { a: u32 }, { size: 8 })).toThrow(
      'struct short (x86_64): the table makes 4 bytes, not 8',
    );
    expect(() => unions('both', { a: u64 }, { x86_64: 8, i386: 4 })).toThrow('union both (i386)');
  });
});

describe('cursor', () => {
  it('reads and writes every scalar type little-endian, at any offset', () => {
    const s = struct('s', {
      a: u8,
      b: i8,
      c: u16,
      d: i16,
      e: u32,
      f: i32,
      g: u64,
      h: i64,
      i: ulong,
      j: pointer,
    });
    const value = {
      a: 0xfe,
      b: -2,
      c: 0xfffd,
      d: -3,
      e: 0xffff_fffc,
      f: -4,
      g: 0xffff_ffff_ffff_fffbn,
      h: -5n,
      i: 6n,
      j: 7n,
    };
    const view = memory();
    Object.assign(s.cursor().at(view, 40), value);
    expect(s.decode(view, 40)).toEqual(value);
    expect([...new Uint8Array(view.buffer, 42, 4)]).toEqual([0xfd, 0xff, 0xfd, 0xff]);
    expect(view.getBigInt64(40 + s.offset.h, true)).toBe(-5n);
  });

  it('reaches nested structs and arrays of structs in place', () => {
    const view = memory();
    const c = request.x86_64.cursor().at(view, 16);
    c.seg(10).gref = 77;
    expect(view.getUint32(16 + 24 + 80, true)).toBe(77);
    expect(c.seg(10).gref).toBe(77);
    expect(c.seg(0)).toBe(c.seg(10)); // reused
    const outer = struct('outer', { pad: u32, inner: segment }).cursor().at(view, 0);
    outer.inner.last_sect = 9;
    expect(view.getUint8(9)).toBe(9);
  });

  it('gives nested fields of two cursors of one type their own places', () => {
    const view = memory();
    const pair = struct('pair', { a: segment, b: segment }).cursor().at(view, 0);
    pair.a.gref = 1;
    pair.b.gref = 2;
    expect([pair.a.gref, pair.b.gref]).toEqual([1, 2]);
  });

  it('refuses an index outside the array', () => {
    const c = struct('s', { seg: array(segment, 2), words: array(u32, 2) })
      .cursor()
      .at(memory(), 0);
    for (const index of [-1, 2, 0.5, 2 ** 32]) {
      expect(() => c.seg(index)).toThrow(`seg[${index}]: the array has 2 elements`);
      expect(() => c.words.get(index)).toThrow(RangeError);
      expect(() => c.words.set(index, 0)).toThrow(RangeError);
    }
  });

  it('splits a 64-bit field into unsigned halves', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
        const c = request.x86_64.cursor().at(memory(), 0);
        c.id = value;
        expect((BigInt(c.id_hi) << 32n) | BigInt(c.id_lo)).toBe(value);
        [c.sector_number_lo, c.sector_number_hi] = [c.id_lo, c.id_hi];
        expect(c.sector_number).toBe(value);
      }),
    );
  });

  it('truncates to 32 bits where unsigned long is 4 bytes', () => {
    const s = struct('s', { long: ulong, next: u32 }, { abi: 'i386', size: 8 });
    const c = s.cursor().at(memory(), 0);
    c.next = 5;
    c.long = 0x1_ffff_fffen;
    c.long_hi = 3;
    expect([c.long, c.long_lo, c.long_hi, c.next]).toEqual([0xffff_fffen, 0xffff_fffe, 0, 5]);
  });

  it('refuses field names that a cursor uses itself', () => {
    expect(() => struct('s', { view: u8 })).toThrow('s: a cursor cannot have a field named view');
    expect(() => struct('s', { at: u8 })).toThrow(TypeError);
    expect(() => struct('s', { id: u64, id_lo: u32 })).toThrow(TypeError);
  });
});

describe('encode and decode', () => {
  const entry = unions(
    'entry',
    { req: struct('req', { id: u16, gref: u32 }), rsp: struct('rsp', { id: u16, status: i16 }) },
    8,
  );

  it('zeroes padding and what the value does not name', () => {
    const view = memory(24);
    new Uint8Array(view.buffer).fill(0xa5);
    entry.x86_64.encode(view, 8, { req: { gref: 0x0403_0201 } });
    expect([...new Uint8Array(view.buffer)]).toEqual([
      ...Array<number>(8).fill(0xa5),
      0,
      0,
      0,
      0,
      1,
      2,
      3,
      4,
      ...Array<number>(8).fill(0xa5),
    ]);
  });

  it('decodes a union as the same bytes read in each way', () => {
    const view = memory();
    view.setInt16(2, -1, true);
    expect(entry.i386.decode(view, 0)).toEqual({
      req: { id: 0, gref: 0 },
      rsp: { id: 0, status: -1 },
    });
  });

  it('refuses more elements than the array has', () => {
    const s = struct('s', { a: array(u8, 2) });
    expect(() => s.encode(memory(), 0, { a: [1, 2, 3] })).toThrow('3 elements for an array of 2');
  });

  it('decode after encode is the value, under both ABIs', () => {
    const seg = fc.record({
      gref: fc.nat(0xffff_ffff),
      first_sect: fc.nat(255),
      last_sect: fc.nat(255),
    });
    const wide = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    const value = fc.record({
      operation: fc.nat(255),
      nr_segments: fc.nat(255),
      handle: fc.nat(65535),
      id: wide,
      sector_number: wide,
      seg: fc.array(seg, { minLength: 11, maxLength: 11 }),
    });
    fc.assert(
      fc.property(
        fc.constantFrom('x86_64' as const, 'i386' as const),
        value,
        fc.nat(100),
        (abi, plain, at) => {
          const view = memory();
          request[abi].encode(view, at, plain);
          expect(request[abi].decode(view, at)).toEqual(plain);
        },
      ),
    );
  });
});

describe('types', () => {
  it('are inferred from the table', () => {
    type Table = {
      a: typeof u16;
      wide: typeof u64;
      words: ReturnType<typeof array<typeof u32>>;
      seg: ReturnType<typeof array<typeof segment>>;
      one: typeof segment;
    };
    expectTypeOf<Plain<Table>>().toExtend<{
      a: number;
      wide: bigint;
      words: number[];
      seg: { gref: number }[];
      one: { gref: number };
    }>();
    expectTypeOf<Cursor<Table>['wide']>().toEqualTypeOf<bigint>();
    expectTypeOf<Cursor<Table>['wide_hi']>().toEqualTypeOf<number>();
    expectTypeOf<Cursor<Table>['words']>().toEqualTypeOf<ScalarArray<number>>();
    expectTypeOf<Cursor<Table>['one']['gref']>().toEqualTypeOf<number>();
    expectTypeOf<ReturnType<Cursor<Table>['seg']>['last_sect']>().toEqualTypeOf<number>();
    expectTypeOf<keyof Cursor<Table>>().toEqualTypeOf<
      'view' | 'offsetBytes' | 'at' | 'a' | 'wide' | 'wide_lo' | 'wide_hi' | 'words' | 'seg' | 'one'
    >();
    expectTypeOf<Initializer<Table>>().toExtend<{ readonly a?: number; readonly wide?: bigint }>();
    expectTypeOf(request.x86_64.offset.seg).toEqualTypeOf<number>();
    // @ts-expect-error a field that the struct does not have
    expectTypeOf(request.x86_64.offset.nothing).toBeAny();
  });
});
