import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CaptureError, captureFaults } from './capture.ts';
import type { CapturedFrame, CaptureFault } from './capture.ts';
import { CaptureReader, parseCapture } from './reader.ts';
import { encodePcapng } from './writer.ts';

/** Bytes of a sequence of fields: numbers are u32, `[n]` is u16, bigint is i64, arrays of bytes as they are. */
function build(littleEndian: boolean, ...fields: (number | [number] | bigint | Uint8Array)[]) {
  const bytes: number[] = [];
  const put = (value: bigint, lengthBytes: number) => {
    const one = Array.from({ length: lengthBytes }, (_, i) =>
      Number((value >> BigInt(8 * i)) & 255n),
    );
    bytes.push(...(littleEndian ? one : one.reverse()));
  };
  for (const field of fields) {
    if (field instanceof Uint8Array) bytes.push(...field);
    else if (typeof field === 'bigint') put(field, 8);
    else if (typeof field === 'number') put(BigInt(field >>> 0), 4);
    else put(BigInt(field[0]), 2);
  }
  return Uint8Array.from(bytes);
}

const join = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));
const frame = (lengthBytes: number) => Uint8Array.from({ length: lengthBytes }, (_, i) => i);

function pcapHeader(littleEndian = true, magic = 0xa1b2c3d4, linktype = 1, major = 2) {
  return build(littleEndian, magic, [major], [4], 0, 0, 65535, linktype);
}

function block(littleEndian: boolean, type: number, ...body: Parameters<typeof build>[1][]) {
  const bytes = build(littleEndian, ...body);
  const padding = new Uint8Array(-bytes.length & 3);
  const lengthBytes = bytes.length + padding.length + 12;
  return build(littleEndian, type, lengthBytes, bytes, padding, lengthBytes);
}

const shb = (littleEndian = true, major = 1) =>
  block(littleEndian, 0x0a0d0d0a, 0x1a2b3c4d, [major], [0], -1n);
const idb = (
  littleEndian = true,
  snapBytes = 0,
  linktype = 1,
  ...opts: Parameters<typeof build>[1][]
) => block(littleEndian, 1, [linktype], [0], snapBytes, ...opts);
const epb = (littleEndian: boolean, ticks: bigint, bytes: Uint8Array, interfaceId = 0) =>
  block(
    littleEndian,
    6,
    interfaceId,
    Number(ticks >> 32n),
    Number(ticks & 0xffffffffn),
    bytes.length,
    100,
    bytes,
  );

describe.each([
  ['little-endian', true],
  ['big-endian', false],
])('pcap, %s', (_, littleEndian) => {
  test.each([
    ['microseconds', 0xa1b2c3d4, 7_000_005_000n],
    ['nanoseconds', 0xa1b23c4d, 7_000_000_005n],
  ])('%s', (_unit, magic, timestampNs) => {
    const file = join(pcapHeader(littleEndian, magic), build(littleEndian, 7, 5, 3, 60, frame(3)));
    expect(parseCapture(file)).toEqual([
      { bytes: frame(3), originalBytes: 60, timestampNs, interfaceId: 0 },
    ]);
  });

  test('a header alone is a capture without frames', () => {
    expect(parseCapture(pcapHeader(littleEndian))).toEqual([]);
  });
});

describe.each([
  ['little-endian', true],
  ['big-endian', false],
])('pcapng, %s', (_, littleEndian) => {
  const first = (...blocks: Uint8Array[]) => parseCapture(join(shb(littleEndian), ...blocks))[0];

  test.each<[string, Parameters<typeof build>[1][], bigint, bigint]>([
    ['microseconds unless said otherwise', [], 5n, 5_000n],
    ['if_tsresol 10^-9', [[9], [1], Uint8Array.of(9, 0, 0, 0)], (7n << 32n) | 5n, (7n << 32n) | 5n],
    ['if_tsresol 10^-12', [[9], [1], Uint8Array.of(12, 0, 0, 0)], 5_999n, 5n],
    ['if_tsresol 2^-10', [[9], [1], Uint8Array.of(0x8a, 0, 0, 0)], 1536n, 1_500_000_000n],
    ['if_tsoffset', [[14], [8], 2n], 1n, 2_000_001_000n],
    [
      'options after the last are not looked at',
      [[0], [0], [9], [1], Uint8Array.of(0, 0, 0, 0)],
      5n,
      5_000n,
    ],
    [
      'other options',
      [[2], [3], Uint8Array.of(97, 98, 99, 0), [9], [1], Uint8Array.of(3, 0, 0, 0)],
      5n,
      5_000_000n,
    ],
  ])('%s', (_name, opts, ticks, timestampNs) => {
    expect(first(idb(littleEndian, 0, 1, ...opts), epb(littleEndian, ticks, frame(5)))).toEqual({
      bytes: frame(5),
      originalBytes: 100,
      timestampNs,
      interfaceId: 0,
    });
  });

  test.each([
    ['whole', 0, 5, 5],
    ['cut at the snap length', 4, 60, 4],
    ['shorter than the snap length', 64, 5, 5],
  ])('a simple packet block, %s', (_name, snapBytes, originalBytes, lengthBytes) => {
    const spb = block(littleEndian, 3, originalBytes, frame(lengthBytes));
    expect(first(idb(littleEndian, snapBytes), spb)).toEqual({
      bytes: frame(lengthBytes),
      originalBytes,
      timestampNs: undefined,
      interfaceId: 0,
    });
  });

  test('an obsolete packet block', () => {
    const pb = block(littleEndian, 2, [0], [0xffff], 0, 5, 3, 60, frame(3));
    expect(first(idb(littleEndian), pb)).toMatchObject({ bytes: frame(3), timestampNs: 5_000n });
  });

  test('unknown blocks are skipped', () => {
    const unknown = block(littleEndian, 0xbad, 1, 2, 3);
    expect(
      first(unknown, idb(littleEndian), unknown, epb(littleEndian, 0n, frame(1))),
    ).toMatchObject({
      bytes: frame(1),
    });
  });

  test('a new section forgets the interfaces and may have the other byte order', () => {
    const section = (le: boolean, n: number) => join(shb(le), idb(le), epb(le, 0n, frame(n)));
    const frames = parseCapture(join(section(littleEndian, 1), section(!littleEndian, 2)));
    expect(frames.map((f) => f.bytes.length)).toEqual([1, 2]);
    expect(faultOf(join(section(littleEndian, 1), shb(), epb(true, 0n, frame(1))))).toMatchObject({
      reason: 'unknown interface',
    });
  });
});

function faultOf(file: Uint8Array): CaptureError {
  try {
    parseCapture(file);
  } catch (error) {
    if (error instanceof CaptureError) return error;
    throw error;
  }
  throw new Error('the capture was accepted');
}

const record = build(true, 7, 5, 3, 60, frame(3));
const goodNg = join(shb(), idb());

test.each<[string, Uint8Array, CaptureFault, number]>([
  ['nothing', new Uint8Array(), 'empty', 0],
  ['less than a magic', Uint8Array.of(0xd4, 0xc3), 'truncated header', 0],
  ['something else', new TextEncoder().encode('GIF89a and more'), 'unknown magic', 0],
  ['pcap 3', pcapHeader(true, 0xa1b2c3d4, 1, 3), 'unsupported version', 0],
  ['pcap of raw IP', pcapHeader(true, 0xa1b2c3d4, 101), 'unsupported linktype', 0],
  ['half a pcap header', pcapHeader().subarray(0, 10), 'truncated header', 0],
  ['half a record header', join(pcapHeader(), record.subarray(0, 7)), 'truncated record', 24],
  ['half a frame', join(pcapHeader(), record, record.subarray(0, 18)), 'truncated record', 43],
  ['a frame of 2 GiB', join(pcapHeader(), build(true, 0, 0, 2 ** 31, 60)), 'absurd length', 24],
  ['pcapng without byte order', build(true, 0x0a0d0d0a, 28, 0x12345678), 'unknown magic', 0],
  ['pcapng 2', shb(true, 2), 'unsupported version', 0],
  ['half a section header', shb().subarray(0, 20), 'truncated header', 0],
  ['pcapng of 802.11', join(shb(), idb(true, 0, 105)), 'unsupported linktype', 28],
  ['half a block', join(goodNg, epb(true, 0n, frame(9)).subarray(0, 15)), 'truncated record', 48],
  ['a block of 8 bytes', join(goodNg, build(true, 6, 8, 0)), 'absurd length', 48],
  ['a block of 13 bytes', join(goodNg, build(true, 6, 13, 0)), 'absurd length', 48],
  ['a block of 2 GiB', join(goodNg, build(true, 6, 2 ** 31, 0)), 'absurd length', 48],
  ['two lengths that differ', join(goodNg, build(true, 99, 16, 0, 20)), 'absurd length', 48],
  [
    'a frame longer than its block',
    join(goodNg, block(true, 6, 0, 0, 0, 99, 99, frame(8))),
    'absurd length',
    48,
  ],
  ['a packet block without a body', join(goodNg, block(true, 6)), 'absurd length', 48],
  ['an option longer than its block', join(shb(), idb(true, 0, 1, [2], [99])), 'absurd length', 28],
  [
    'an interface nobody described',
    join(goodNg, epb(true, 0n, frame(1), 1)),
    'unknown interface',
    48,
  ],
])('refused: %s', (_name, file, reason, offsetBytes) => {
  const fault = faultOf(file);
  expect(fault).toMatchObject({ reason, offsetBytes });
  expect(fault.message).toContain(captureFaults[reason]);
});

const anyFrame: fc.Arbitrary<CapturedFrame> = fc
  .record({
    bytes: fc.uint8Array({ maxLength: 2000 }),
    extra: fc.nat(1000),
    timestampNs: fc.bigInt({ min: 0n, max: 2n ** 63n }),
    interfaceId: fc.nat(1),
  })
  .map(({ extra, ...rest }) => ({ ...rest, originalBytes: rest.bytes.length + extra }));

const interfaces = [
  { name: 'vif1.0', snapBytes: 65535 },
  { name: 'vif2.0', snapBytes: 0 },
];

test('what is written is read back, whatever the chunks', () => {
  fc.assert(
    fc.property(
      fc.array(anyFrame, { maxLength: 8 }),
      fc.integer({ min: 1, max: 3000 }),
      (frames, chunkBytes) => {
        const file = join(...encodePcapng(interfaces, frames));
        const reader = new CaptureReader();
        const read: CapturedFrame[] = [];
        for (let at = 0; at < file.length; at += chunkBytes) {
          read.push(...reader.push(file.subarray(at, at + chunkBytes)));
        }
        reader.end();
        expect(read).toEqual(frames);
      },
    ),
    { numRuns: 50 },
  );
});

test('a changed byte is read or refused, never anything else', () => {
  const file = join(
    ...encodePcapng(interfaces, [
      { bytes: frame(40), originalBytes: 40, timestampNs: 1n, interfaceId: 0 },
    ]),
  );
  fc.assert(
    fc.property(
      fc.nat(file.length - 1),
      fc.nat(255),
      fc.nat(file.length),
      (at, value, lengthBytes) => {
        const damaged = file.slice(0, lengthBytes);
        if (at < lengthBytes) damaged[at] = value;
        try {
          parseCapture(damaged);
        } catch (error) {
          expect(error).toBeInstanceOf(CaptureError);
        }
      },
    ),
    { numRuns: 500 },
  );
});
