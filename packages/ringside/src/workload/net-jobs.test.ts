import { bootGuest, createDomain, createMachine } from '@ringside/gnttab-core';
import type { CapturedFrame } from '@ringside/netif';
import { Subject } from 'rxjs';
import { expect, test } from 'vitest';
import { type NetEnd, runBulk, runPing } from './net-jobs.ts';
import { runReplay } from './net-replay.ts';

/** What a wire does to the frame with this number: hands on any number of frames in its place. */
type Wire = (frame: Uint8Array, number: number) => Uint8Array[];

/** Two guests joined by a wire, which carries frames of up to 2000 bytes, one at a time. */
function joined(wire: Wire): { from: NetEnd; to: NetEnd } {
  const machine = createMachine({ seed: 1 });
  createDomain(machine, { pages: 16 });
  let number = 0;
  const end = (mac: string, out: Subject<Uint8Array[]>, into: Subject<Uint8Array[]>): NetEnd => {
    let isFull = false;
    let [offered, wake] = [0, () => {}];
    const vif: NetEnd['vif'] = {
      mac,
      packets$: into,
      send(frame) {
        if (isFull) return 'full';
        const frameNumber = offered++;
        const lengthBytes = frame.length;
        if (lengthBytes > 2000) return { reason: 'no memory', frameNumber, lengthBytes };
        isFull = true;
        const arriving = wire(frame.slice(), number++);
        machine.scheduler.post(() => {
          isFull = false;
          wake();
          out.next(arriving);
        });
        return 'sent';
      },
      async sendAll(frames) {
        let sent = 0;
        for await (const frame of frames) {
          while (vif.send(frame) === 'full') await vif.room();
          sent++;
        }
        return { sent, refused: [] };
      },
      room: () => new Promise((resolve) => (wake = resolve)),
      flush() {},
    };
    return { guest: bootGuest(createDomain(machine, { pages: 16 })), vif };
  };
  const [a, b] = [new Subject<Uint8Array[]>(), new Subject<Uint8Array[]>()];
  return { from: end('00:16:3e:00:00:01', b, a), to: end('00:16:3e:00:00:02', a, b) };
}

const faithful: Wire = (frame) => [frame];
const corrupting: Wire = (frame, number) => {
  if (number === 2) frame[50]! ^= 0xff;
  return [frame];
};
const losing: Wire = (frame, number) => (number === 2 ? [] : [frame]);
const doubling: Wire = (frame, number) => (number === 2 ? [frame, frame] : [frame]);

const sizes = [60, 1514, 2001, 60, 100];
const capture: CapturedFrame[] = sizes.map((lengthBytes, n) => ({
  bytes: new Uint8Array(lengthBytes).fill(n),
  originalBytes: lengthBytes + n,
  timestampNs: BigInt(n),
  interfaceId: 0,
}));

test('bulk: every frame that arrives is compared', async () => {
  const result = await runBulk({ ...joined(faithful), count: 5, frameBytes: 100, seed: 1 });
  expect(result).toMatchObject({ frames: 5, bytes: 500, verifiedBytes: 500, failures: [] });
});

test.each([
  ['a byte', corrupting, [expect.stringMatching(/^byte 50 of frame 2 is 0x/)]],
  ['a frame too few', losing, expect.arrayContaining(['4 of 5 frames arrived'])],
  ['a frame too many', doubling, expect.arrayContaining(['6 of 5 frames arrived'])],
])('bulk: %s that is wrong is found', async (_, wire, failures) => {
  const result = await runBulk({ ...joined(wire), count: 5, frameBytes: 100, seed: 1 });
  expect(result.failures).toEqual(failures);
});

test('ping: there and back, one after the other', async () => {
  const result = await runPing({ ...joined(faithful), count: 5, seed: 1 });
  expect(result).toMatchObject({ frames: 10, verifiedBytes: 980, failures: [] });
});

test('ping: an echo that never comes ends the wait', async () => {
  const result = await runPing({ ...joined(losing), count: 5, seed: 1 });
  expect(result.failures).toEqual(['1 of 5 frames arrived']);
});

test('replay: frames keep their times and wire lengths; what cannot be sent is reported', async () => {
  const received: CapturedFrame[] = [];
  const onFrame = (frame: CapturedFrame) => received.push(frame);
  const result = await runReplay({ ...joined(faithful), frames: capture, onFrame });
  expect(result).toMatchObject({ frames: 4, failures: [] });
  expect(result.refused).toEqual([{ reason: 'no memory', frameNumber: 2, lengthBytes: 2001 }]);
  expect(received).toEqual(capture.filter((_, n) => n !== 2));
});

test.each([
  ['a byte', corrupting, [expect.stringMatching(/^byte 50 of frame 3 is 0xfc, expected 0x03/)]],
  ['a frame too few', losing, expect.arrayContaining(['3 of 4 frames arrived'])],
  ['a frame too many', doubling, expect.arrayContaining(['5 of 4 frames arrived'])],
])('replay: %s that is wrong is found', async (_, wire, failures) => {
  const result = await runReplay({ ...joined(wire), frames: capture });
  expect(result.failures).toEqual(failures);
});

test('replay: what the source or the sink throws comes out', async () => {
  const broken = (function* () {
    yield capture[0]!;
    throw new Error('the file ends');
  })();
  await expect(runReplay({ ...joined(faithful), frames: broken })).rejects.toThrow('the file ends');
  const onFrame = () => {
    throw new Error('the disk is full');
  };
  await expect(runReplay({ ...joined(faithful), frames: capture, onFrame })).rejects.toThrow(
    'the disk is full',
  );
});
