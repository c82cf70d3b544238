/** Whatever is wrong: one clear line, the right exit code, and no file that was not there before. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { folderWith, frameOf, pcapOf, ringside } from './ringside.ts';

const capture = pcapOf([frameOf(60), frameOf(60)]);
const files = {
  'disk.img': new Uint8Array(65_536),
  'odd.img': new Uint8Array(1000),
  'empty.img': new Uint8Array(0),
  'good.pcap': capture,
  'empty.pcap': new Uint8Array(0),
  'no-frames.pcap': capture.slice(0, 24),
  'cut.pcap': capture.slice(0, -1),
  'cut.pcap.gz': gzipSync(capture.slice(0, -1)),
  'damaged.pcap.gz': gzipSync(capture).subarray(0, -9),
  'text.pcap': new TextEncoder().encode('not a capture at all'),
};

const copy = 'disk --image disk.img --workload copy --out';
const replay = 'net --out out.pcapng --pcap';

/** What was asked for, the exit code, and what the line says. */
const rows: readonly [string, number, string][] = [
  ['', 2, 'no command; commands: demo, disk, net, grants, replay; see ringside --help'],
  ['dmeo', 2, "unknown command 'dmeo' (Did you mean demo?); commands: demo, disk, net, grants,"],
  ['xyz', 2, "unknown command 'xyz'; commands: demo, disk, net, grants, replay"],
  ['demo --sed 1', 2, "unknown option '--sed' (Did you mean --seed?)"],
  ['demo --seed -1', 2, 'Allowed: a whole number from 0 to 4294967295.'],
  ['demo --trace nowhere/trace.json', 1, 'nowhere/trace.json: no such file or directory'],

  ['disk', 2, 'disk needs --image FILE or --scratch'],
  ['disk --image nothing.img', 1, 'nothing.img: no such file or directory'],
  ['disk --scratch --image nothing.img', 1, 'nothing.img: no such file or directory'],
  ['disk --image disk.img/x', 1, 'disk.img/x: a part of the path is not a directory'],
  ['disk --image .', 1, '.: is a directory, not a disk image'],
  ['disk --image odd.img', 1, 'odd.img: a disk of 1000 bytes; the size must be a multiple of 512'],
  ['disk --image empty.img', 1, 'empty.img: a disk of 0 bytes'],
  ['disk --image disk.img --workload trim', 2, 'Allowed choices are read, write, randread,'],
  ['disk --image disk.img --workload randwrite', 2, 'add --scratch, or --writable'],
  ['disk --image disk.img --bs 4x', 2, 'Allowed: bytes above 0, as 512, 4k, 64M or 1G.'],
  ['disk --image disk.img --bs 1000', 2, 'bs 1000; allowed: multiples of 512'],
  [
    'disk --image disk.img --size 1M',
    2,
    'size 1048576; allowed: multiples of 512 from 512 to 65536',
  ],
  ['disk --image disk.img --workload copy', 2, '--workload copy and --out FILE go together'],
  [`${copy} disk.img`, 2, '--image and --out are the same file: disk.img'],
  ['disk --image disk.img --trace hard.img', 2, '--image and --trace are the same file: hard.img'],
  [`${copy} symbolic.img`, 2, '--image and --out are the same file: symbolic.img'],
  [`${copy} hard.img`, 2, '--image and --out are the same file: hard.img'],
  [`${copy} nowhere/copy.img`, 1, 'nowhere/copy.img: no such file or directory'],
  [`${copy} disk.img/copy.img`, 1, 'disk.img/copy.img: a part of the path is not a directory'],
  [`${copy} folder`, 1, 'folder: is a directory'],
  [`${copy} /dev/null`, 1, '/dev/null: is not a regular file'],

  ['net', 2, 'net needs either --pcap IN --out OUT or --workload bulk|ping'],
  ['net --pcap good.pcap', 2, '--pcap and --out go together'],
  ['net --pcap good.pcap --out good.pcap', 2, '--pcap and --out are the same file: good.pcap'],
  ['net --workload bulk --size 70000', 2, 'size 70000; allowed: frames of 42 to 65535 bytes'],
  [`${replay} nothing.pcap`, 1, 'nothing.pcap: no such file or directory'],
  [`${replay} folder`, 1, 'folder: is a directory, not a capture'],
  [`${replay} empty.pcap`, 1, 'empty.pcap: the capture is empty'],
  [`${replay} no-frames.pcap`, 1, 'no-frames.pcap: the capture has no frames'],
  [`${replay} cut.pcap`, 1, 'cut.pcap: the file ends inside a record'],
  [`${replay} cut.pcap.gz`, 1, 'cut.pcap.gz: the file ends inside a record'],
  [`${replay} damaged.pcap.gz`, 1, 'damaged.pcap.gz: the gzip file is damaged'],
  [`${replay} text.pcap`, 1, 'text.pcap: this is neither a pcap nor a pcapng file'],
];

const entries = (folder: string): Set<string> =>
  new Set(fs.readdirSync(folder, { recursive: true, encoding: 'utf8' }));

describe.concurrent('one line, an exit code, and nothing left behind', () => {
  test.for(rows)('ringside %s', async ([words, exitCode, sentence], context) => {
    const folder = folderWith(context, files);
    const inFolder = (name: string) => path.join(folder, name);
    fs.symlinkSync('disk.img', inFolder('symbolic.img'));
    fs.linkSync(inFolder('disk.img'), inFolder('hard.img'));
    fs.mkdirSync(inFolder('folder'));
    const before = entries(folder);

    const ended = await ringside(folder, ...words.split(' ').filter((word) => word !== ''));

    expect(ended.stderr).toMatch(/^ringside: [^\n]+\n$/);
    expect(ended.stderr).toContain(sentence);
    expect(ended).toMatchObject({ exitCode, stdout: '' });
    expect(entries(folder)).toEqual(before);
    expect(fs.readFileSync(inFolder('disk.img')).equals(Buffer.alloc(65_536))).toBe(true);
  });
});

test('a bug or a surprise shows where it came from when asked for', async (context) => {
  const folder = folderWith(context);
  const { exitCode, stderr } = await ringside(folder, 'disk', '--image', 'no.img', '--verbose');
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/^ringside: no\.img: no such file or directory\nCliError: [^\n]+\n +at /m);
});

test('--version is that of the package', async (context) => {
  const { version } = JSON.parse(
    fs.readFileSync(new URL('../../packages/ringside/package.json', import.meta.url), 'utf8'),
  ) as { version: string };
  const ended = await ringside(folderWith(context), '--version');
  expect(ended).toEqual({ exitCode: 0, stdout: `${version}\n`, stderr: '' });
});
