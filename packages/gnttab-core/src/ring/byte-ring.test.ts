import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { flatAddressSpace, PageFault } from '../machine/address-space.ts';
import { ByteConsumer, ByteProducer } from './byte-ring.ts';
import { flexBackRing, flexFrontRing, flexRingSize } from './flex-ring.ts';
import { memory } from './testing.ts';

fc.configureGlobal({ seed: 7 });

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** A stream of 16 bytes in the last bytes of a page and the first of the next, starting at any index. */
function stream(at: number) {
  const buffer = new ArrayBuffer(2 * 4096);
  const words = new Uint32Array(buffer);
  words[0] = words[1] = at;
  const space = flatAddressSpace(buffer);
  const place = { dataVa: 4096 - 8, sizeBytes: 16, consVa: 0, prodVa: 4 };
  return {
    words,
    bytes: new Uint8Array(buffer),
    producer: new ByteProducer(space, place),
    consumer: new ByteConsumer(space, place),
  };
}

describe.each([0, 9, 0xffff_fffb, 0xffff_ffff, 0x7fff_fffe])('a byte ring at index %i', (at) => {
  it('takes what fits and gives it back in order', () => {
    const { producer, consumer } = stream(at);
    const into = new Uint8Array(20);
    expect(consumer.read(into)).toBe(0);
    expect(producer.write(bytesOf('0123456789'))).toBe(10);
    expect(producer.write(bytesOf('abcdefghij'))).toBe(6);
    expect(producer.write(bytesOf('more'))).toBe(0);
    expect(consumer.read(into.subarray(0, 3))).toBe(3);
    expect(textOf(into.subarray(0, 3))).toBe('012');
    expect(producer.write(bytesOf('xyz!'))).toBe(3);
    expect(consumer.read(into)).toBe(16);
    expect(textOf(into.subarray(0, 16))).toBe('3456789abcdefxyz');
  });

  it('is a queue of bytes, whatever is written and read', () => {
    const work = fc.array(fc.tuple(fc.boolean(), fc.uint8Array({ maxLength: 20 })));
    fc.assert(
      fc.property(work, (steps) => {
        const { producer, consumer } = stream(at);
        let queue: number[] = [];
        for (const [writes, bytes] of steps) {
          const expected = Math.min(bytes.length, writes ? 16 - queue.length : queue.length);
          if (writes) {
            expect(producer.write(bytes)).toBe(expected);
            queue = [...queue, ...bytes.subarray(0, expected)];
          } else {
            expect(consumer.read(bytes)).toBe(expected);
            expect([...bytes.subarray(0, expected)]).toEqual(queue.slice(0, expected));
            queue = queue.slice(expected);
          }
        }
      }),
    );
  });

  // RG-08
  it.each([17, 32, 2 ** 31, 2 ** 32 - 1])('refuses indices that are %i apart', (apart) => {
    const { producer, consumer, words, bytes } = stream(at);
    words[1] = at + apart;
    const before = bytes.slice();
    const fault = { fault: 'byte ring indices', produced: words[1], consumed: at, size: 16 };
    expect(producer.write(bytesOf('x'))).toEqual(fault);
    expect(consumer.read(new Uint8Array(20))).toEqual(fault);
    expect(bytes).toEqual(before);
  });
});

it('never writes outside the ring, whatever the indices', () => {
  const word = fc.integer({ min: 0, max: 0xffff_ffff });
  fc.assert(
    fc.property(word, fc.integer({ min: 0, max: 20 }), (cons, apart) => {
      const { producer, consumer, words, bytes } = stream(cons);
      words[1] = cons + apart;
      producer.write(new Uint8Array(20).fill(1));
      consumer.read(new Uint8Array(20));
      const outside = [...bytes.subarray(8, 4096 - 8), ...bytes.subarray(4096 + 8)];
      expect(outside.every((byte) => byte === 0)).toBe(true);
    }),
  );
});

it('a byte ring has a power of two of bytes', () => {
  const place = { dataVa: 64, sizeBytes: 24, consVa: 0, prodVa: 4 };
  expect(() => new ByteProducer(memory(1), place)).toThrow('allowed are powers of two');
});

it('a page that is gone faults', () => {
  const place = { dataVa: 4096, sizeBytes: 16, consVa: 0, prodVa: 4 };
  expect(() => new ByteProducer(memory(1), place).write(bytesOf('x'))).toThrow(PageFault);
});

it('a flexible ring: in flows to the front, out to the back, each through half of the pages', () => {
  expect(flexRingSize(1)).toBe(4096);
  const space = memory(3);
  const place = { intfVa: 0, dataVa: 4096, order: 1 };
  const front = flexFrontRing(space, place);
  const back = flexBackRing(space, place);
  expect(front.out.write(new Uint8Array(5000).fill(7))).toBe(4096);
  expect(back.in.write(bytesOf('in'))).toBe(2);
  const into = new Uint8Array(5000);
  expect(back.out.read(into)).toBe(4096);
  expect(into[4095]).toBe(7);
  expect(front.in.read(into)).toBe(2);
  expect(textOf(into.subarray(0, 2))).toBe('in');
});
