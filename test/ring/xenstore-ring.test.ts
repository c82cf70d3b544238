/**
 * The byte rings of struct xenstore_domain_interface (io/xs_wire.h): the recordings are done again, and after every
 * step the indices, the pieces and the bytes are compared; at the end the whole page.
 */
import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';

import {
  add,
  ByteConsumer,
  ByteProducer,
  contiguousBytes,
  flatAddressSpace,
} from '@ringside/gnttab-core';
import { xenstoreDomainInterface } from '@ringside/xenstore-lite/abi';
import { fromHex, readVectors, toHex } from './vectors.ts';

type StreamName = 'req' | 'rsp';
type IndexName = 'req_cons' | 'req_prod' | 'rsp_cons' | 'rsp_prod';

interface Step {
  readonly op: 'write' | 'read' | 'poke';
  readonly ring?: StreamName;
  readonly want?: number;
  readonly data?: string;
  readonly chunks?: readonly (readonly [number, number])[];
  readonly res?: number;
  readonly crc?: number;
  readonly field?: IndexName;
  readonly value?: number;
  readonly idx: readonly number[];
}

interface Message {
  readonly type: number;
  readonly req_id: number;
  readonly tx_id: number;
  readonly len: number;
  readonly payload: string;
}

interface Trace {
  readonly name: string;
  readonly init: readonly number[];
  readonly req_msgs?: readonly Message[];
  readonly rsp_msgs?: readonly Message[];
  readonly steps: readonly Step[];
  readonly page: string;
}

const { x86_64: page } = xenstoreDomainInterface;
const RING_BYTES = 1024;
const indexNames = ['req_cons', 'req_prod', 'rsp_cons', 'rsp_prod'] as const;

/** struct xsd_sockmsg and its payload, one message after the other. */
const encodeAll = (messages: readonly Message[] = []): Uint8Array =>
  Buffer.concat(
    messages.map(({ type, req_id, tx_id, len, payload }) => {
      const header = Buffer.from(Uint32Array.of(type, req_id, tx_id, len).buffer);
      return Buffer.concat([header, Buffer.from(payload, 'hex')]);
    }),
  );

const streamAt = (stream: StreamName) => ({
  dataVa: page.offset[stream],
  sizeBytes: RING_BYTES,
  consVa: page.offset[`${stream}_cons`],
  prodVa: page.offset[`${stream}_prod`],
});

class Replay {
  readonly #page = new Uint8Array(4096);
  readonly #words = new Uint32Array(this.#page.buffer);
  readonly #space = flatAddressSpace(this.#page.buffer);
  readonly #producers = {
    req: new ByteProducer(this.#space, streamAt('req')),
    rsp: new ByteProducer(this.#space, streamAt('rsp')),
  };
  readonly #consumers = {
    req: new ByteConsumer(this.#space, streamAt('req')),
    rsp: new ByteConsumer(this.#space, streamAt('rsp')),
  };
  readonly #toWrite;

  constructor({ init, req_msgs, rsp_msgs }: Trace) {
    indexNames.forEach((name, i) => this.poke(name, init[i]!));
    this.#toWrite = { req: encodeAll(req_msgs), rsp: encodeAll(rsp_msgs) };
  }

  get indices(): number[] {
    return indexNames.map((name) => this.index(name));
  }

  index(name: IndexName): number {
    return this.#words[page.offset[name] / 4]!;
  }

  poke(name: IndexName, value: number): void {
    this.#words[page.offset[name] / 4] = value;
  }

  write({ ring, want, data }: Step): Partial<Step> {
    const stream = ring!;
    const bytes = data === undefined ? this.#toWrite[stream].subarray(0, want!) : fromHex(data);
    const from = this.index(`${stream}_prod`);
    const res = this.#producers[stream].write(bytes);
    if (typeof res === 'object') return { chunks: [], res: -1 };
    if (data === undefined) this.#toWrite[stream] = this.#toWrite[stream].subarray(res);
    return { chunks: pieces(from, res), res, crc: crc32(this.ringBytes(stream)) };
  }

  read({ ring, want }: Step): Partial<Step> {
    const stream = ring!;
    const into = new Uint8Array(want!);
    const from = this.index(`${stream}_cons`);
    const res = this.#consumers[stream].read(into);
    if (typeof res === 'object') return { chunks: [], res: -1 };
    return { chunks: pieces(from, res), res, data: toHex(into.subarray(0, res)) };
  }

  ringBytes(stream: StreamName): Uint8Array {
    const offset = page.offset[stream];
    return this.#page.subarray(offset, offset + RING_BYTES);
  }

  get page(): string {
    return toHex(this.#page.subarray(0, page.size));
  }
}

function pieces(from: number, lengthBytes: number): [number, number][] {
  const found: [number, number][] = [];
  for (let done = 0; done < lengthBytes;) {
    const at = add(from, done);
    const piece = contiguousBytes(at, lengthBytes - done, RING_BYTES);
    found.push([at % RING_BYTES, piece]);
    done += piece;
  }
  return found;
}

describe('struct xenstore_domain_interface as recorded in xenstore-ring.jsonl', () => {
  it.each(readVectors<Trace>('xenstore-ring'))('$name', (trace) => {
    const replay = new Replay(trace);
    for (const [number, step] of trace.steps.entries()) {
      const { op, chunks, res, idx } = step;
      const expected =
        op === 'poke'
          ? {}
          : op === 'write'
            ? { chunks, res, ...(res === -1 ? {} : { crc: step.crc }) }
            : { chunks, res, ...(res === -1 ? {} : { data: step.data }) };
      let actual: Partial<Step> = {};
      if (op === 'poke') replay.poke(step.field!, step.value!);
      else actual = replay[op](step);
      expect({ number, op, ...actual, idx: replay.indices }).toEqual({
        number,
        op,
        ...expected,
        idx,
      });
    }
    expect(replay.page).toBe(trace.page);
  });
});
