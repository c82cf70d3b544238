import { bootGuest, createDomain, createMachine } from '@ringside/gnttab-core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DiskError } from './disk.ts';
import { memoryDisk as makeDisk, type MemoryDiskOptions } from './memory-disk.ts';

const driver = () => bootGuest(createDomain(createMachine({ memoryPages: 256 }), { pages: 48 }));

const shared = (lengthBytes: number) => new Uint8Array(new SharedArrayBuffer(lengthBytes));

describe.each([
  ['outside the machine', () => ({})],
  ['in pages of a domain', () => ({ memory: driver().memory })],
])('memory disk %s', (_, where) => {
  const memoryDisk = (options: MemoryDiskOptions) => makeDisk({ ...options, ...where() });

  test('reads zeros where nothing was written', () => {
    const disk = memoryDisk({ sizeBytes: 8192 });
    const view = shared(4096).fill(0xa5);
    disk.read(2048, [view]);
    expect(view.every((byte) => byte === 0)).toBe(true);
  });

  test('does not take memory for its size', () => {
    const disk = memoryDisk({ sizeBytes: 2 ** 52 });
    const view = new Uint8Array(512).fill(9);
    disk.write(2 ** 52 - 512, [view]);
    disk.read(2 ** 51, [view]);
    expect(view[0]).toBe(0);
    disk.read(2 ** 52 - 512, [view]);
    expect(view[0]).toBe(9);
  });

  test('starts with a copy of its content', () => {
    const content = Uint8Array.from({ length: 1024 }, (_, i) => i % 251);
    const disk = memoryDisk({ content, sizeBytes: 1536 });
    const expected = [...content, ...Array.from({ length: 512 }, () => 0)];
    content.fill(0);
    const view = shared(1536);
    disk.read(0, [view]);
    expect([...view]).toEqual(expected);
  });

  test('keeps what any sequence of reads and writes should keep', () => {
    const sectors = 40;
    const extent = fc.record({
      write: fc.boolean(),
      sector: fc.nat(sectors - 1),
      lengths: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
      seed: fc.nat(255),
    });
    fc.assert(
      fc.property(fc.array(extent, { maxLength: 30 }), (extents) => {
        const disk = memoryDisk({ sizeBytes: sectors * 512 });
        const model = new Uint8Array(sectors * 512);
        for (const { write, sector, lengths, seed } of extents) {
          const views: Uint8Array[] = [];
          let end = sector;
          for (const length of lengths) {
            const fits = Math.min(length, sectors - end);
            end += fits;
            views.push(shared(fits * 512).map((_, i) => (seed + i) % 256));
          }
          if (write) {
            model.set(
              views.flatMap((view) => [...view]),
              sector * 512,
            );
            disk.write(sector * 512, views);
          } else {
            disk.read(sector * 512, views);
            expect(views.flatMap((view) => [...view])).toEqual([
              ...model.subarray(sector * 512, end * 512),
            ]);
          }
        }
      }),
    );
  });

  test('refuses writes when it is read-only, and still reads', () => {
    const disk = memoryDisk({ content: new Uint8Array(512).fill(7), readOnly: true });
    expect(() => disk.write(0, [new Uint8Array(512)])).toThrow(DiskError);
    const view = new Uint8Array(512);
    disk.read(0, [view]);
    expect(view[511]).toBe(7);
  });

  test.each([0, 511, 513, -512, 1.5, NaN])('refuses a size of %s bytes', (sizeBytes) => {
    expect(() => memoryDisk({ sizeBytes })).toThrow(/multiple of 512/);
  });

  test('refuses content larger than itself', () => {
    expect(() => memoryDisk({ content: new Uint8Array(1024), sizeBytes: 512 })).toThrow(DiskError);
  });

  test.each([
    [512, 513],
    [1024, 1],
    [-1, 1],
    [NaN, 1],
  ])('offset %s, length %s is outside a disk of 1024 bytes', (offset, length) => {
    const disk = memoryDisk({ sizeBytes: 1024 });
    expect(() => disk.read(offset, [new Uint8Array(length)])).toThrow(RangeError);
    expect(() => disk.write(offset, [new Uint8Array(length)])).toThrow(RangeError);
  });
});

describe('memory disk in pages of a domain', () => {
  test('moves bytes between its pages and other pages of the machine', () => {
    const { memory } = driver();
    const disk = makeDisk({ sizeBytes: 8192, memory });
    const [a, b] = memory.allocPages(2).map(({ va }) => memory.bytes(va, 4096, 'write'));
    a!.forEach((_, i) => (a![i] = i % 251));
    disk.write(2048, [a!]);
    disk.read(1536, [b!.fill(0xee)]);
    const expected = new Uint8Array(4096);
    expected.set(a!.subarray(0, 3584), 512);
    expect(Buffer.compare(b!, expected)).toBe(0);
  });

  test('takes pages as they are written, gives them back, and says when there are none', () => {
    const { memory } = driver();
    memory.allocPages(40);
    const disk = makeDisk({ sizeBytes: 1 << 20, memory });
    const page = new Uint8Array(4096);
    for (let i = 0; i < 8; i++) disk.write(i * 8192, [page]);
    expect(memory.freeCount).toBe(0);
    expect(() => disk.write(4096, [page])).toThrow(/^memory disk: domain 0: no page is free$/);
    disk.write(0, [page]);
    disk.close();
    expect(memory.freeCount).toBe(8);
  });
});
