/** Frames a second from guest to guest through two vifs and the bridge, against `postMessage` between two workers. */
import { Worker } from 'node:worker_threads';
import { createMachine } from '@ringside/gnttab-core';
import { type Mode, type Netfront, parseMac } from '@ringside/netif';
import { bringUpHost, plugVif } from '@ringside/ringside';
import { faster, inTurn, type Result, type Subject } from './measure.ts';

async function twoGuests(mode: Mode): Promise<{ from: Netfront; to: Netfront }> {
  const host = await bringUpHost(createMachine());
  const one = await host.toolstack.createDomain({ name: 'one', pages: 2048 });
  const two = await host.toolstack.createDomain({ name: 'two', pages: 2048 });
  const modes = { rx: mode, tx: mode };
  return { from: await plugVif(host, one, modes), to: await plugVif(host, two, modes) };
}

/** An Ethernet frame from one vif to another. */
function frameOf(from: Netfront, to: Netfront, frameBytes: number): Uint8Array {
  const frame = new Uint8Array(frameBytes).fill(0x5a);
  const view = new DataView(frame.buffer);
  for (const [at, mac] of [to.mac, from.mac].entries()) {
    const value = parseMac(mac)!;
    view.setUint16(at * 6, Math.floor(value / 2 ** 32));
    view.setUint32(at * 6 + 2, value % 2 ** 32);
  }
  view.setUint16(12, 0x88b5); // local experimental Ethertype
  return frame;
}

function across({ from, to }: { from: Netfront; to: Netfront }, frameBytes: number): Subject {
  const there = frameOf(from, to, frameBytes);
  const hello = frameOf(to, from, 60);
  let received = 0;
  let wake = (): void => {};
  let wanted = Infinity;
  to.packets$.subscribe((frames) => {
    received += frames.length;
    if (received >= wanted) wake();
  });
  return async (times) => {
    // The bridge learns where the receiver is, as it does from any first packet.
    await to.sendAll([hello]);
    received = 0;
    wanted = times;
    const all = new Promise<void>((resolve) => (wake = resolve));
    await from.sendAll(repeat(there, times));
    await all;
  };
}

function* repeat(frame: Uint8Array, times: number): Generator<Uint8Array> {
  for (let i = 0; i < times; i++) yield frame;
}

/** Sends buffers of the frame's size to another thread, ownership and all, and waits for the count to come back. */
class PostMessage {
  readonly #worker = new Worker(
    `const { parentPort } = require('node:worker_threads');
     let left = 0;
     parentPort.on('message', (message) => {
       if (typeof message === 'number') left = message;
       else if (--left === 0) parentPort.postMessage('done');
     });`,
    { eval: true },
  );

  run(frameBytes: number): Subject {
    return (times) =>
      new Promise((resolve) => {
        this.#worker.once('message', () => resolve());
        this.#worker.postMessage(times);
        for (let i = 0; i < times; i++) {
          const frame = new Uint8Array(frameBytes).fill(0x5a);
          this.#worker.postMessage(frame, [frame.buffer]);
        }
      });
  }

  end(): Promise<number> {
    return this.#worker.terminate();
  }
}

export async function frames(): Promise<Result[]> {
  const flip = await twoGuests('flip');
  const copy = await twoGuests('copy');
  const messages = new PostMessage();
  try {
    const results: Result[] = [];
    for (const frameBytes of [60, 1514]) {
      const [flipNs, copyNs, messageNs] = await inTurn([
        { run: across(flip, frameBytes), times: 20_000 },
        { run: across(copy, frameBytes), times: 20_000 },
        { run: messages.run(frameBytes), times: 5000 },
      ]);
      const baseline = 'postMessage with a transferred buffer to another thread';
      results.push(
        faster(`net/flip-${frameBytes}`, 'frames/s', flipNs!, baseline, messageNs!),
        faster(`net/copy-${frameBytes}`, 'frames/s', copyNs!, baseline, messageNs!),
      );
    }
    return results;
  } finally {
    await messages.end();
  }
}
