/** `ringside disk` on a real file system. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { expect, test } from 'vitest';
import { requireClient } from '../support/clients.ts';
import { folderWith, ringside, testData } from './ringside.ts';

const image = testData('ext4.img');
const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

test('a copy through the split driver is the same, and e2fsck finds nothing wrong with it', async (context) => {
  const e2fsck = requireClient(context, 'e2fsck');
  const folder = folderWith(context, { 'ext4.img': image });
  const words = 'disk --image ext4.img --read-only --workload copy --out copy.img --json';
  const { exitCode, stdout, stderr } = await ringside(folder, ...words.split(' '));
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  const copy = path.join(folder, 'copy.img');
  expect(digest(fs.readFileSync(copy))).toBe(digest(image));
  expect(JSON.parse(stdout)).toMatchObject({
    sha256: digest(image),
    disk: { requests: 4096, verifiedBytes: image.length },
  });
  execFileSync(e2fsck, ['-fn', copy], { stdio: 'pipe' });
});

test('blocks that do not divide the disk, few or many at once, copy it all the same', async (context) => {
  const odd = image.subarray(0, 1_000_448);
  const folder = folderWith(context, { 'odd.img': odd });
  const words = 'disk --image odd.img --workload copy --out copy.img --bs 11k --iodepth 3 --seed 2';
  expect(await ringside(folder, ...words.split(' '))).toMatchObject({ exitCode: 0, stderr: '' });
  expect(digest(fs.readFileSync(path.join(folder, 'copy.img')))).toBe(digest(odd));
});

test('an existing file is replaced through a symbolic link, which stays', async (context) => {
  const part = image.subarray(0, 65_536);
  const folder = folderWith(context, { 'part.img': part, 'old.img': new Uint8Array(7) });
  fs.symlinkSync('old.img', path.join(folder, 'link.img'));
  const words = 'disk --image part.img --workload copy --out link.img';
  expect(await ringside(folder, ...words.split(' '))).toMatchObject({ exitCode: 0, stderr: '' });
  expect(fs.readlinkSync(path.join(folder, 'link.img'))).toBe('old.img');
  expect(digest(fs.readFileSync(path.join(folder, 'old.img')))).toBe(digest(part));
});

test('writing needs a word: --scratch leaves the image as it is, --writable does not', async (context) => {
  const part = image.subarray(0, 262_144);
  const folder = folderWith(context, { 'part.img': part });
  const now = () => digest(fs.readFileSync(path.join(folder, 'part.img')));
  const words = 'disk --image part.img --workload write --size 128k'.split(' ');
  expect(await ringside(folder, ...words, '--scratch')).toMatchObject({ exitCode: 0, stderr: '' });
  expect(now()).toBe(digest(part));
  expect(await ringside(folder, ...words, '--writable')).toMatchObject({ exitCode: 0, stderr: '' });
  expect(now()).not.toBe(digest(part));
  const rest = fs.readFileSync(path.join(folder, 'part.img')).subarray(131_072);
  expect(digest(rest)).toBe(digest(part.subarray(131_072)));
});
