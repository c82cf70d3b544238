import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { DiskError } from './disk.ts';
import { openRawDisk, type RawDiskOptions } from './raw-disk.node.ts';

vi.mock('node:fs', async (original) => {
  const actual = await original<typeof fs>();
  return { ...actual, readvSync: vi.fn<typeof fs.readvSync>(actual.readvSync) };
});

let directory: string;
beforeAll(() => (directory = fs.mkdtempSync(path.join(os.tmpdir(), 'raw-disk-'))));
afterAll(() => fs.rmSync(directory, { recursive: true }));

let files = 0;
function image(content: Uint8Array): string {
  const name = path.join(directory, `disk-${files++}.img`);
  fs.writeFileSync(name, content);
  return name;
}

const pattern = (lengthBytes: number) =>
  Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 7) % 251);

/** Views on shared memory, as those of a machine are. */
function sharedViews(...lengths: number[]): Uint8Array[] {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer;
  let offset = 0;
  return lengths.map((length) => new Uint8Array(memory, (offset += length) - length, length));
}

const joined = (views: readonly Uint8Array[]) => Buffer.concat(views);
const scheduler = { external: <T>(start: () => Promise<T>) => start() };

const ways: [string, RawDiskOptions][] = [
  ['synchronous', {}],
  ['asynchronous', { scheduler }],
];

describe.each(ways)('raw disk, %s', (way, options) => {
  test('answers at once, or by a promise', async () => {
    const disk = openRawDisk(image(pattern(512)), options);
    const result = disk.read(0, sharedViews(512));
    expect(result instanceof Promise).toBe(way === 'asynchronous');
    await result;
    await disk.close();
  });

  test('reads straight into several views of shared memory', async () => {
    const content = pattern(10 * 512);
    const disk = openRawDisk(image(content), options);
    const views = sharedViews(512, 2048, 1024);
    await disk.read(1024, views);
    expect(joined(views).equals(content.subarray(1024, 1024 + 3584))).toBe(true);
    await disk.close();
  });

  test('writes straight from several views of shared memory, and the file has it', async () => {
    const name = image(new Uint8Array(8192));
    const disk = openRawDisk(name, options);
    const views = sharedViews(1024, 512);
    views.forEach((view, i) => view.fill(i + 1));
    await disk.write(512, views);
    await disk.flush();
    const expected = Buffer.alloc(8192);
    expected.fill(1, 512, 1536).fill(2, 1536, 2048);
    expect(fs.readFileSync(name).equals(expected)).toBe(true);
    await disk.close();
  });

  test('serves more views than the system takes in one call', async () => {
    const content = pattern(2000 * 512);
    const disk = openRawDisk(image(content), options);
    const views = Array.from({ length: 2000 }, () => new Uint8Array(512));
    await disk.read(0, views);
    expect(joined(views).equals(content)).toBe(true);
    await disk.close();
  });

  test('says so when the file became shorter', async () => {
    const name = image(pattern(4096));
    const disk = openRawDisk(name, options);
    fs.truncateSync(name, 1024);
    const read = async () => disk.read(512, sharedViews(1024));
    await expect(read()).rejects.toThrow(`${name}: ends at byte 1024`);
    await disk.close();
  });

  test('in read-only mode reads and refuses writes', async () => {
    const name = image(pattern(1024));
    fs.chmodSync(name, 0o444);
    const disk = openRawDisk(name, { ...options, readOnly: true });
    expect(disk.readOnly).toBe(true);
    await disk.read(0, sharedViews(1024));
    expect(() => disk.write(0, [new Uint8Array(512)])).toThrow(`${name}: opened read-only`);
    await disk.flush();
    await disk.close();
    expect(fs.readFileSync(name).equals(pattern(1024))).toBe(true);
  });

  test('does not reach beyond its size, not even to make the file longer', () => {
    const name = image(pattern(1024));
    const disk = openRawDisk(name, options);
    expect(() => disk.write(512, [new Uint8Array(1024)])).toThrow(RangeError);
    expect(() => disk.read(1024, [new Uint8Array(512)])).toThrow(RangeError);
    void disk.close();
    expect(fs.statSync(name).size).toBe(1024);
  });
});

test('a read goes on after an interruption and after a short read', async () => {
  const content = pattern(8192);
  const disk = openRawDisk(image(content));
  const views = sharedViews(1024, 3072, 4096);
  const { readvSync } = fs;
  vi.mocked(fs.readvSync)
    .mockImplementationOnce((fd, [first], position) =>
      readvSync(fd, [(first as Uint8Array).subarray(0, 700)], position),
    )
    .mockImplementationOnce(() => {
      throw Object.assign(new Error('interrupted'), { code: 'EINTR' });
    });
  await disk.read(0, views);
  expect(joined(views).equals(content)).toBe(true);
  await disk.close();
});

describe('a raw disk that cannot be opened says why in one line', () => {
  const cases: [string, () => string, RegExp][] = [
    ['no such file', () => path.join(directory, 'nowhere.img'), /nowhere\.img: no such file$/],
    ['a directory', () => directory, /: is a directory, not a disk image$/],
    ['a device', () => '/dev/null', /^\/dev\/null: is not a regular file$/],
    ['an empty file', () => image(new Uint8Array(0)), /: a disk of 0 bytes; .*multiple of 512/],
    ['513 bytes', () => image(new Uint8Array(513)), /: a disk of 513 bytes; .*multiple of 512/],
  ];
  test.each(cases)('%s', (_, make, message) => {
    const name = make();
    expect(() => openRawDisk(name)).toThrow(DiskError);
    expect(() => openRawDisk(name)).toThrow(message);
  });
});
