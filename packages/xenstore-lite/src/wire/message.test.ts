import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { XENSTORE_PAYLOAD_MAX, XS_READ } from './abi.ts';
import { encodeMessage, MessageParser } from './message.ts';
import type { Message } from './message.ts';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const message: fc.Arbitrary<Message> = fc.record({
  type: u32,
  reqId: u32,
  txId: u32,
  payload: fc.uint8Array({ maxLength: 100 }),
});

describe('messages', () => {
  test('have the layout of struct xsd_sockmsg', () => {
    const payload = Uint8Array.of(0x2f, 0);
    expect([...encodeMessage({ type: XS_READ, reqId: 0x01020304, txId: 5, payload })]).toEqual([
      2, 0, 0, 0, 4, 3, 2, 1, 5, 0, 0, 0, 2, 0, 0, 0, 0x2f, 0,
    ]);
  });

  test('come out whole, however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(message), fc.array(fc.nat(60)), (messages, cuts) => {
        const stream = new Uint8Array(messages.flatMap((it) => [...encodeMessage(it)]));
        const parser = new MessageParser();
        const got: Message[] = [];
        let at = 0;
        for (const cut of [...cuts, stream.length]) {
          got.push(...parser.push(stream.subarray(at, at + cut)).messages);
          at = Math.min(at + cut, stream.length);
        }
        expect(got).toEqual(messages);
      }),
      { numRuns: 100 },
    );
  });

  test('a payload of 4096 bytes is fine', () => {
    const payload = new Uint8Array(XENSTORE_PAYLOAD_MAX).fill(7);
    const whole = encodeMessage({ type: XS_READ, reqId: 1, txId: 0, payload });
    expect(new MessageParser().push(whole).messages).toEqual([
      { type: XS_READ, reqId: 1, txId: 0, payload },
    ]);
  });

  test('a longer one cannot be encoded', () => {
    const payload = new Uint8Array(XENSTORE_PAYLOAD_MAX + 1);
    expect(() => encodeMessage({ type: XS_READ, reqId: 1, txId: 0, payload })).toThrow(
      'payload of 4097 bytes, allowed are 4096',
    );
  });

  test('one that announces more is known by its header alone, and the rest is not looked at', () => {
    const good = encodeMessage({ type: XS_READ, reqId: 1, txId: 0, payload: Uint8Array.of(1) });
    const bad = encodeMessage({ type: XS_READ, reqId: 2, txId: 0, payload: new Uint8Array(0) });
    new DataView(bad.buffer).setUint32(12, 4097, true);
    const parser = new MessageParser();
    const first = parser.push(new Uint8Array([...good, ...bad]));
    expect(first.messages).toHaveLength(1);
    expect(first.tooLong).toBe(4097);
    expect(parser.push(good)).toEqual({ messages: [], tooLong: 4097 });
  });
});
