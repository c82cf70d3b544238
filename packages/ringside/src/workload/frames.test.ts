import { formatMac, readMac } from '@ringside/netif';
import { expect, test } from 'vitest';
import { checksum, frameLimits, FrameMaker } from './frames.ts';

const here = { mac: 0x00_16_3e_00_00_01, address: 0x0a00_0001 };
const there = { mac: 0x00_16_3e_00_00_02, address: 0x0a00_0002 };

test.each(['udp', 'echo request', 'echo reply'] as const)('%s: the checksums are right', (kind) => {
  for (const lengthBytes of [frameLimits.min, 98, 99, 1514, frameLimits.max]) {
    const frame = new FrameMaker(kind, here, there, lengthBytes, 5).frame(70_000);
    const view = new DataView(frame.buffer, 0, frame.length);
    expect(checksum(view, 14, 34)).toBe(0);
    if (kind !== 'udp') expect(checksum(view, 34, frame.length)).toBe(0);
  }
});

test('the headers say who sent it, to whom, and how long it is', () => {
  const frame = new FrameMaker('udp', here, there, 100, 5).frame(0);
  expect(formatMac(readMac(frame, 0))).toBe('00:16:3e:00:00:02');
  expect(formatMac(readMac(frame, 6))).toBe('00:16:3e:00:00:01');
  const view = new DataView(frame.buffer);
  expect([view.getUint16(12), view.getUint16(16), view.getUint16(38)]).toEqual([0x0800, 86, 66]);
});

test('a frame is a function of seed and number', () => {
  const frame = (seed: number, sequence: number) =>
    new FrameMaker('udp', here, there, 200, seed).frame(sequence).join();
  expect(frame(1, 3)).toBe(frame(1, 3));
  expect(new Set([frame(1, 3), frame(1, 4), frame(2, 3), frame(1, 65_536 + 3)]).size).toBe(4);
});

test.each([41, 65_536])('a frame of %i bytes cannot be', (lengthBytes) => {
  expect(() => new FrameMaker('udp', here, there, lengthBytes, 1)).toThrow(
    `size ${lengthBytes}; allowed: frames of 42 to 65535 bytes`,
  );
});
