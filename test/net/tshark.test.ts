/** Captures as Wireshark sees them: what is written here opens there without complaint, and says the same. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { encodePcapng, parseCapture, type CapturedFrame } from '@ringside/netif';
import { requireClient } from '../support/clients.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringside-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const recorded = (name: string): CapturedFrame[] =>
  parseCapture(gunzipSync(readFileSync(new URL(`../data/${name}.pcap.gz`, import.meta.url))));

const interfaces = [
  { name: 'vif1.0', snapBytes: 262_144 },
  { name: 'vif2.0', snapBytes: 0 },
];

/** Writes a capture, the frames of both interfaces by turns. */
function write(frames: readonly CapturedFrame[]): string {
  const path = join(folder, 'out.pcapng');
  writeFileSync(path, Buffer.concat([...encodePcapng(interfaces, frames)]));
  return path;
}

describe.each(['lan-mtu1500', 'lan-gso'])('%s', (name) => {
  test('tshark reads what is written here: times, lengths, interfaces, and no complaint', (context) => {
    const tshark = requireClient(context, 'tshark');
    const frames = recorded(name).map((frame, i) => ({ ...frame, interfaceId: i % 2 }));
    const fields = ['frame.time_epoch', 'frame.cap_len', 'frame.len', 'frame.interface_name'];
    const { stdout, stderr, status } = spawnSync(
      tshark,
      ['-r', write(frames), '-T', 'fields', ...fields.flatMap((field) => ['-e', field])],
      { encoding: 'utf8', maxBuffer: 1e8 },
    );
    expect([status, stderr.replaceAll(/^Running as user.*\n?/gm, '')]).toEqual([0, '']);
    const rows = frames.map(({ timestampNs, bytes, originalBytes, interfaceId }) => {
      const seconds = timestampNs! / 1_000_000_000n;
      const fraction = String(timestampNs! % 1_000_000_000n).padStart(9, '0');
      return [
        `${seconds}.${fraction}`,
        bytes.length,
        originalBytes,
        interfaces[interfaceId]!.name,
      ].join('\t');
    });
    expect(stdout.trimEnd().split('\n')).toEqual(rows);
  });

  for (const format of ['pcapng', 'pcap', 'nsecpcap']) {
    test(`what tshark writes as ${format} is read here`, (context) => {
      const tshark = requireClient(context, 'tshark');
      const frames = recorded(name);
      const written = join(folder, format);
      execFileSync(tshark, ['-r', write(frames), '-F', format, '-w', written], { stdio: 'pipe' });
      expect(parseCapture(readFileSync(written))).toEqual(frames);
    });
  }
});
