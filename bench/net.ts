/** Frames a second from guest to guest through two vifs and the bridge, against `postMessage` between two workers. */
import { MessageChannel, Worker } from 'node:worker_threads';
import type { Machine } from '@ringside/gnttab-core';
import { type Mode, type Netfront, parseMac } from '@ringside/netif';
import { type Host, plugVif } from '@ringside/ringside';
import { faster, inTurn, type Result, type Subject } from './measure.ts';

async function twoGuests(host: Host, mode: Mode): Promise<{ from: Netfront; to: Netfront }> {
  const one = await host.toolstack.createDomain({ name: `${mode} one`, pages: 2048 });
  const two = await host.toolstack.createDomain({ name: `${mode} two`, pages: 2048 });
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

/** Two workers and a channel between them: one sends buffers of a frame's size, ownership and all, the other counts. */
class PostMessage {
  readonly #sender = new Worker(
    `const { parentPort } = require('node:worker_threads');
     let to;
     parentPort.on('message', ({ port, times, frameBytes }) => {
       if (port) to = port;
       else to.postMessage(times);
       for (let i = 0; i < times; i++) {
         const frame = new Uint8Array(frameBytes).fill(0x5a);
         to.postMessage(frame, [frame.buffer]);
       }
     });`,
    { eval: true },
  );
  readonly #receiver = new Worker(
    `const { parentPort } = require('node:worker_threads');
     parentPort.on('message', ({ port }) => {
       let left = 0;
       port.on('message', (message) => {
         if (typeof message === 'number') left = message;
         else if (--left === 0) parentPort.postMessage('done');
       });
     });`,
    { eval: true },
  );

  constructor() {
    const { port1, port2 } = new MessageChannel();
    this.#sender.postMessage({ port: port1 }, [port1]);
    this.#receiver.postMessage({ port: port2 }, [port2]);
  }

  run(frameBytes: number): Subject {
    return (times) =>
      new Promise((resolve) => {
        this.#receiver.once('message', () => resolve());
        this.#sender.postMessage({ times, frameBytes });
      });
  }

  async end(): Promise<void> {
    await Promise.all([this.#sender.terminate(), this.#receiver.terminate()]);
  }
}

export async function frames(_machine: Machine, host: Host): Promise<Result[]> {
  const flip = await twoGuests(host, 'flip');
  const copy = await twoGuests(host, 'copy');
  const messages = new PostMessage();
  try {
    const results: Result[] = [];
    for (const frameBytes of [60, 1514]) {
      const [flipNs, copyNs, messageNs] = await inTurn([
        { run: across(flip, frameBytes), times: 20_000 },
        { run: across(copy, frameBytes), times: 20_000 },
        { run: messages.run(frameBytes), times: 20_000 },
      ]);
      const baseline = 'postMessage with a transferred buffer between two workers';
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
