/**
 * io/ring.h, macro by macro: what the genuine macros did, compiled for x86-64 and i386, is done again with FrontRing
 * and BackRing, and after every step every index and every byte handed out is compared.
 */
import { describe, expect, it } from 'vitest';
import { add, BackRing, FrontRing, SharedRing } from '@ringside/gnttab-core';
import type { RingLayout } from '@ringside/gnttab-core';
import { scatteredMemory } from './scattered.ts';
import { fromHex, readVectors, toHex } from './vectors.ts';

interface Step {
  readonly op: string;
  readonly res?: number | boolean | string | readonly number[];
  readonly size?: number;
  readonly i?: number;
  readonly idx?: number;
  readonly field?: string;
  readonly value?: number;
  readonly bytes?: string;
  readonly s: readonly number[];
  readonly f: readonly number[];
  readonly b: readonly number[];
}

interface Trace {
  readonly abi: string;
  readonly name: string;
  readonly ring: string;
  readonly bytes: number;
  readonly entry: number;
  readonly reqsz: number;
  readonly rspsz: number;
  readonly steps: readonly Step[];
}

/** Messages as plain bytes: what travels is not this test's concern. */
const bytesLayout = ({ ring, entry, reqsz, rspsz }: Trace): RingLayout<Uint8Array, Uint8Array> => {
  const read = (view: DataView, offsetBytes: number, into: Uint8Array): void =>
    into.set(new Uint8Array(view.buffer, view.byteOffset + offsetBytes, into.length));
  const write = (view: DataView, offsetBytes: number, from: Uint8Array): void =>
    new Uint8Array(view.buffer, view.byteOffset + offsetBytes, from.length).set(from);
  return {
    name: ring,
    slotBytes: entry,
    requestBytes: reqsz,
    responseBytes: rspsz,
    newRequest: () => new Uint8Array(reqsz),
    newResponse: () => new Uint8Array(rspsz),
    readRequest: read,
    writeRequest: write,
    readResponse: read,
    writeResponse: write,
  };
};

/** One ring with both ends, driven by the names of the header. */
class Replay {
  readonly #layout;
  readonly #space = scatteredMemory(16, 0xa5);
  readonly #shared: SharedRing;
  #front: FrontRing<Uint8Array, Uint8Array> | undefined;
  #back: BackRing<Uint8Array, Uint8Array> | undefined;

  constructor(trace: Trace) {
    this.#layout = bytesLayout(trace);
    this.#shared = new SharedRing(this.#space, 0, trace.entry, { sizeBytes: trace.bytes });
  }

  get front(): FrontRing<Uint8Array, Uint8Array> {
    if (this.#front === undefined) throw new Error('the trace uses the front before its init');
    return this.#front;
  }

  get back(): BackRing<Uint8Array, Uint8Array> {
    if (this.#back === undefined) throw new Error('the trace uses the back before its init');
    return this.#back;
  }

  state(): Pick<Step, 's' | 'f' | 'b'> {
    const { reqProd, reqEvent, rspProd, rspEvent } = this.#shared;
    const front = this.#front;
    const back = this.#back;
    return {
      s: [reqProd, reqEvent, rspProd, rspEvent],
      f: front === undefined ? [0, 0, 0] : [front.reqProdPvt, front.rspCons, front.size],
      b: back === undefined ? [0, 0, 0] : [back.rspProdPvt, back.reqCons, back.size],
    };
  }

  /** Does the step and returns what the macro yields. */
  perform(step: Step): unknown {
    const operation = this.#operations[step.op];
    if (operation === undefined) throw new Error(`unknown operation ${step.op}`);
    return operation(step);
  }

  #attachFront(step: Step, at: number): void {
    this.#front = FrontRing.attach(this.#space, 0, this.#layout, { sizeBytes: step.size!, at });
  }

  #attachBack(step: Step, at: number): void {
    this.#back = BackRing.attach(this.#space, 0, this.#layout, { sizeBytes: step.size!, at });
  }

  #copyRequest(index: number): string {
    const request = this.#layout.newRequest();
    this.back.copyRequest(index, request);
    return toHex(request);
  }

  #copyResponse(index: number): string {
    const response = this.#layout.newResponse();
    this.front.copyResponse(index, response);
    return toHex(response);
  }

  /** The recordings know work_to_do as a number, FrontRing and BackRing say yes or no: both must agree. */
  #workToDo(answer: boolean, count: number): number | string {
    return answer === (count !== 0) ? count : `${answer} with ${count} waiting`;
  }

  readonly #pokes: Readonly<Record<string, (value: number) => void>> = {
    req_prod: (value) => (this.#shared.reqProd = value),
    req_event: (value) => (this.#shared.reqEvent = value),
    rsp_prod: (value) => (this.#shared.rspProd = value),
    rsp_event: (value) => (this.#shared.rspEvent = value),
    'f.req_prod_pvt': (value) => (this.front.reqProdPvt = value),
    'f.rsp_cons': (value) => (this.front.rspCons = value),
    'b.rsp_prod_pvt': (value) => (this.back.rspProdPvt = value),
    'b.req_cons': (value) => (this.back.reqCons = value),
  };

  readonly #operations: Readonly<Record<string, (step: Step) => unknown>> = {
    SHARED_RING_INIT: () => this.#shared.init(),
    XEN_FRONT_RING_INIT: (step) => {
      this.#front = FrontRing.create(this.#space, 0, this.#layout, { sizeBytes: step.size! });
    },
    FRONT_RING_INIT: (step) => this.#attachFront(step, 0),
    FRONT_RING_ATTACH: (step) => this.#attachFront(step, step.i!),
    BACK_RING_INIT: (step) => this.#attachBack(step, 0),
    BACK_RING_ATTACH: (step) => this.#attachBack(step, step.i!),
    poke: (step) => {
      this.#pokes[step.field!]!(step.value!);
    },
    RING_SIZE: () => [this.front.size, this.back.size],
    RING_GET_REQUEST: (step) => this.front.requestOffsetBytes(step.idx!),
    RING_GET_RESPONSE: (step) => this.back.responseOffsetBytes(step.idx!),
    front_produce: (step) => {
      const offsetBytes = this.front.requestOffsetBytes(this.front.reqProdPvt);
      this.front.put(fromHex(step.bytes!));
      return offsetBytes;
    },
    back_produce: (step) => {
      const offsetBytes = this.back.responseOffsetBytes(this.back.rspProdPvt);
      this.back.put(fromHex(step.bytes!));
      return offsetBytes;
    },
    back_consume: () => {
      const request = this.#copyRequest(this.back.reqCons);
      this.back.reqCons = add(this.back.reqCons, 1);
      return request;
    },
    front_consume: () => {
      const response = this.#copyResponse(this.front.rspCons);
      this.front.rspCons = add(this.front.rspCons, 1);
      return response;
    },
    RING_COPY_REQUEST: (step) => this.#copyRequest(step.idx!),
    RING_COPY_RESPONSE: (step) => this.#copyResponse(step.idx!),
    RING_PUSH_REQUESTS: () => this.front.pushRequests(),
    RING_PUSH_RESPONSES: () => this.back.pushResponses(),
    RING_PUSH_REQUESTS_AND_CHECK_NOTIFY: () => this.front.pushRequestsAndCheckNotify(),
    RING_PUSH_RESPONSES_AND_CHECK_NOTIFY: () => this.back.pushResponsesAndCheckNotify(),
    RING_FINAL_CHECK_FOR_REQUESTS: () =>
      this.#workToDo(this.back.finalCheckForRequests(), this.back.unconsumedRequests),
    RING_FINAL_CHECK_FOR_RESPONSES: () =>
      this.#workToDo(this.front.finalCheckForResponses(), this.front.unconsumedResponses),
    XEN_RING_NR_UNCONSUMED_REQUESTS: () => this.back.unconsumedRequests,
    XEN_RING_NR_UNCONSUMED_RESPONSES: () => this.front.unconsumedResponses,
    RING_HAS_UNCONSUMED_REQUESTS: () =>
      this.#workToDo(this.back.hasUnconsumedRequests, this.back.unconsumedRequests),
    RING_HAS_UNCONSUMED_RESPONSES: () =>
      this.#workToDo(this.front.hasUnconsumedResponses, this.front.unconsumedResponses),
    RING_FREE_REQUESTS: () => this.front.freeRequests,
    RING_FULL: () => this.front.isFull,
    RING_REQUEST_CONS_OVERFLOW: (step) => this.back.requestConsOverflow(step.idx!),
    RING_REQUEST_PROD_OVERFLOW: (step) => this.back.requestProdOverflow(step.idx!),
    RING_RESPONSE_PROD_OVERFLOW: (step) => this.front.responseProdOverflow(step.idx!),
  };
}

describe.each(['ring', 'ring-i386'])('the macros of io/ring.h as recorded in %s.jsonl', (file) => {
  it.each(readVectors<Trace>(file))('$abi $name', (trace) => {
    const replay = new Replay(trace);
    for (const [number, step] of trace.steps.entries()) {
      const res = replay.perform(step);
      const { s, f, b } = step;
      expect({ number, op: step.op, res, ...replay.state() }).toEqual({
        number,
        op: step.op,
        res: step.res,
        s,
        f,
        b,
      });
    }
  });
});
