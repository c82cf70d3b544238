import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  XS_ERROR,
  XS_MKDIR,
  XS_READ,
  XS_RM,
  XS_TRANSACTION_START,
  XS_WATCH,
  XS_WRITE,
} from '../wire/abi.ts';
import { bytesOf, textOf } from '../wire/text.ts';
import { XenStore } from './xenstore.ts';

describe('the store', () => {
  test('answers what it does not know with ENOSYS, and a bogus transaction with ENOENT, echoing both ids', () => {
    const store = new XenStore();
    const client = store.connect(0);
    const payload = bytesOf('/\0');
    for (const [type, code] of [
      [XS_ERROR, 'ENOSYS'],
      [20, 'ENOSYS'],
      [0xffff_ffff, 'ENOSYS'],
      [XS_READ, 'ENOENT'],
    ] as const) {
      const { reply } = store.handle(client, { type, reqId: 7, txId: 99, payload });
      expect(reply).toEqual({ type: XS_ERROR, reqId: 7, txId: 99, payload: bytesOf(`${code}\0`) });
    }
  });

  test('has an answer to whatever a guest sends, and stays as it was for the others', () => {
    const text = fc
      .array(
        fc.constantFrom(
          '/',
          'a',
          '/local/domain/5',
          '@',
          '\0',
          'n5',
          'r',
          '-1',
          '9'.repeat(400),
          'é',
        ),
      )
      .map((parts) => bytesOf(parts.join('')));
    const payload = fc.oneof(text, fc.uint8Array({ maxLength: 64 }));
    const request = fc.record({ type: fc.nat(30), txId: fc.nat(2), payload });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 30 }), (requests) => {
        const store = new XenStore();
        const guest = store.connect(5);
        for (const { type, txId, payload: bytes } of requests) {
          const { reply } = store.handle(guest, { type, reqId: 1, txId, payload: bytes });
          expect(reply.reqId).toBe(1);
          expect([type, XS_ERROR]).toContain(reply.type);
        }
        store.disconnect(guest);
        expect(store.counts).toEqual(new XenStore().counts);
      }),
      { numRuns: 300 },
    );
  });

  test('keeps its own copy of a value', () => {
    const store = new XenStore();
    const client = store.connect(0);
    const payload = bytesOf('/a\0value');
    store.handle(client, { type: XS_WRITE, reqId: 0, txId: 0, payload });
    payload.fill(0);
    const { reply } = store.handle(client, {
      type: XS_READ,
      reqId: 0,
      txId: 0,
      payload: bytesOf('/a\0'),
    });
    expect(textOf(reply.payload)).toBe('value');
  });

  test('holds nothing of a connection that is gone', () => {
    const store = new XenStore();
    const before = store.counts;
    const client = store.connect(0);
    for (const [type, text] of [
      [XS_WATCH, '/a\0t\0'],
      [XS_TRANSACTION_START, '\0'],
      [XS_WRITE, '/a\0v'],
      [XS_RM, '/a\0'],
    ] as const) {
      store.handle(client, { type, reqId: 0, txId: 0, payload: bytesOf(text) });
    }
    expect(store.counts).toMatchObject({ connections: 1, watches: 1, transactions: 1 });
    store.disconnect(client);
    expect(store.counts).toEqual(before);
  });

  test('goes 2,000 directories deep and back', () => {
    const store = new XenStore();
    const client = store.connect(0);
    const path = '/a'.repeat(2000);
    const ask = (type: number, text: string) =>
      textOf(
        store.handle(client, { type, reqId: 0, txId: 0, payload: bytesOf(text) }).reply.payload,
      );
    expect(ask(XS_MKDIR, `${path}\0`)).toBe('OK\0');
    expect(ask(XS_READ, `${path}\0`)).toBe('');
    expect(ask(XS_RM, '/a\0')).toBe('OK\0');
    expect(store.counts.nodes).toBe(new XenStore().counts.nodes);
  });
});
