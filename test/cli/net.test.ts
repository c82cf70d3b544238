/** `ringside net` on real captures. */
import { parseCapture } from '@ringside/netif';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { requireClient } from '../support/clients.ts';
import { folderWith, frameOf, pcapOf, ringside, testData } from './ringside.ts';

const captures = {
  'lan-mtu1500.pcap': testData('lan-mtu1500.pcap'),
  'lan-gso.pcap': testData('lan-gso.pcap'),
};
/** The frames of a capture, their bytes as text: that is compared at once, and bytes one by one. */
const frames = (capture: Uint8Array) =>
  parseCapture(capture).map(({ bytes, ...rest }) => ({
    ...rest,
    lengthBytes: bytes.length,
    text: Buffer.from(bytes).toString('latin1'),
  }));

const rows = (Object.keys(captures) as (keyof typeof captures)[]).flatMap((capture) =>
  ['flip', 'copy'].flatMap((rx) => ['flip', 'copy'].map((tx) => [capture, rx, tx] as const)),
);

describe.concurrent('every frame once, in order, byte for byte, at its time', () => {
  test.for(rows)('%s, rx %s, tx %s', async ([capture, rx, tx], context) => {
    const folder = folderWith(context, { [capture]: captures[capture] });
    const words = ['net', '--pcap', capture, '--out', 'out.pcapng', '--rx', rx, '--tx', tx];
    const { exitCode, stdout, stderr } = await ringside(folder, ...words, '--json');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const sent = frames(captures[capture]);
    expect(frames(fs.readFileSync(path.join(folder, 'out.pcapng')))).toEqual(sent);
    const result = JSON.parse(stdout) as {
      net: object;
      domains: { counters: Record<string, number> }[];
    };
    expect(result.net).toMatchObject({ frames: sent.length, modes: { rx, tx } });
    const [driver, sender] = result.domains.map(({ counters }) => counters);
    expect(sender!['transfers']! > 0).toBe(tx === 'flip');
    expect(driver!['transfers']! > 0).toBe(rx === 'flip');
    expect(driver!['copies']! > 0).toBe(rx === 'copy' || tx === 'copy');
  });
});

test('the captures are the ones that the table is about', () => {
  expect(frames(captures['lan-mtu1500.pcap'])).toHaveLength(411);
  const longest = frames(captures['lan-gso.pcap']).map(({ lengthBytes }) => lengthBytes);
  expect(Math.max(...longest)).toBe(64_346);
});

test('tshark reads what is written without complaint, and finds the same in it', async (context) => {
  const tshark = requireClient(context, 'tshark');
  const capture = 'lan-mtu1500.pcap';
  const folder = folderWith(context, { [capture]: captures[capture] });
  await ringside(folder, 'net', '--pcap', capture, '--out', 'out.pcapng');
  const fields = ['time_epoch', 'len', 'cap_len', 'protocols'].flatMap((name) => [
    '-e',
    `frame.${name}`,
  ]);
  const read = (file: string) =>
    execFileSync(tshark, ['-r', file, '-T', 'fields', ...fields], {
      cwd: folder,
      encoding: 'utf8',
      stdio: 'pipe',
    });
  expect(read('out.pcapng')).toBe(read(capture));
});

test('frames that a vif cannot carry are named with number and size, and all others arrive', async (context) => {
  const sent = [frameOf(60), frameOf(65_536), frameOf(65_535), frameOf(13), frameOf(14)];
  const folder = folderWith(context, { 'in.pcap': pcapOf(sent) });
  const ended = await ringside(folder, 'net', '--pcap', 'in.pcap', '--out', 'out.pcapng');
  expect(ended.exitCode).toBe(1);
  expect(ended.stderr.split('\n')).toEqual([
    expect.stringMatching(/^ringside: refused: frame 2 of 65,536 bytes: /),
    expect.stringMatching(/^ringside: refused: frame 4 of 13 bytes: /),
    '',
  ]);
  const arrived = frames(fs.readFileSync(path.join(folder, 'out.pcapng')));
  expect(arrived.map(({ lengthBytes }) => lengthBytes)).toEqual([60, 65_535, 14]);
  expect(arrived.map(({ timestampNs }) => timestampNs)).toEqual([
    0n,
    2_000_000_000n,
    4_000_000_000n,
  ]);
});

test('a gzipped capture is sent as it would be unpacked', async (context) => {
  const capture = 'lan-mtu1500.pcap';
  const folder = folderWith(context, { 'in.pcap.gz': gzipSync(captures[capture]) });
  const ended = await ringside(folder, 'net', '--pcap', 'in.pcap.gz', '--out', 'out.pcapng');
  expect(ended).toMatchObject({ exitCode: 0, stderr: '' });
  expect(ended.stdout).toContain('411 frames, ');
  expect(frames(fs.readFileSync(path.join(folder, 'out.pcapng')))).toEqual(
    frames(captures[capture]),
  );
});

test('guests answer each other', async (context) => {
  const folder = folderWith(context);
  const { exitCode, stdout } = await ringside(
    folder,
    ...'net --workload ping --count 50'.split(' '),
  );
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^guest1 → guest2 +ping +flip → flip +100 /m);
});
