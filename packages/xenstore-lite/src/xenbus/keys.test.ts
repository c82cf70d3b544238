import { describe, expect, expectTypeOf, test } from 'vitest';
import { XenStoreClient } from '../client/client.stream.ts';
import { XenStore } from '../store/xenstore.ts';
import { InProcessXenStore } from '../wire/in-process.ts';
import { keyTable, readKeys, writeKeys } from './keys.ts';

const keys = keyTable({
  'max-ring-page-order': { type: 'uint', min: 0, max: 4, default: 0, writer: 'backend', docs: '' },
  'multi-queue-max-queues': {
    type: 'uint',
    min: 1,
    max: 8,
    outOfRange: 'clamp',
    default: 1,
    writer: 'backend',
    docs: '',
  },
  'feature-flush-cache': { type: 'bool', default: false, writer: 'backend', docs: '' },
  'physical-device': {
    type: 'string',
    pattern: /^[0-9a-f]+:[0-9a-f]+$/,
    optional: true,
    writer: 'backend',
    docs: '',
  },
});
const required = keyTable({
  'ring-ref': { type: 'uint', writer: 'frontend', docs: '' },
});

function client(): XenStoreClient {
  const server = new InProcessXenStore(new XenStore(), { post: (task) => queueMicrotask(task) });
  return new XenStoreClient(server.connect(0));
}

describe('reading keys', () => {
  test('takes defaults for what is missing', async () => {
    const values = await readKeys(client(), '/dev', keys);
    expect(values).toEqual({
      'max-ring-page-order': 0,
      'multi-queue-max-queues': 1,
      'feature-flush-cache': false,
      'physical-device': undefined,
    });
    expectTypeOf(values).toEqualTypeOf<{
      readonly 'max-ring-page-order': number;
      readonly 'multi-queue-max-queues': number;
      readonly 'feature-flush-cache': boolean;
      readonly 'physical-device': string | undefined;
    }>();
  });

  test.each([
    ['max-ring-page-order', '4', 4],
    ['multi-queue-max-queues', '0', 1],
    ['multi-queue-max-queues', '4294967295', 8],
    ['feature-flush-cache', '1', true],
    ['feature-flush-cache', '2', true],
    ['feature-flush-cache', '0', false],
    ['physical-device', 'fd:1', 'fd:1'],
  ] as const)('%s = %j is %j', async (name, text, value) => {
    const store = client();
    await store.write(`/dev/${name}`, text);
    expect((await readKeys(store, '/dev', keys))[name]).toBe(value);
  });

  test.each([
    ['max-ring-page-order', '5', 'a decimal number from 0 to 4'],
    ['max-ring-page-order', '-1', 'a decimal number from 0 to 4'],
    ['max-ring-page-order', '1e1', 'a decimal number from 0 to 4'],
    ['max-ring-page-order', '', 'a decimal number from 0 to 4'],
    ['multi-queue-max-queues', 'many', 'a decimal number from 1 to 8'],
    ['feature-flush-cache', 'yes', '0 or 1'],
    ['physical-device', 'fd', 'text like ^[0-9a-f]+:[0-9a-f]+$'],
  ])('%s = %j is refused: allowed is %s', async (name, text, allowed) => {
    const store = client();
    await store.write(`/dev/${name}`, text);
    await expect(readKeys(store, '/dev', keys)).rejects.toMatchObject({
      name: 'XenbusKeyError',
      path: `/dev/${name}`,
      value: text,
      allowed,
      message: `xenbus: /dev/${name} is ${JSON.stringify(text)}, allowed is ${allowed}`,
    });
  });

  test('a number beyond 2^53 is refused, not rounded', async () => {
    const store = client();
    await store.write('/dev/ring-ref', '9007199254740993');
    await expect(readKeys(store, '/dev', required)).rejects.toMatchObject({
      path: '/dev/ring-ref',
    });
  });

  test('names what is missing', async () => {
    await expect(readKeys(client(), '/dev', required)).rejects.toThrow(
      'xenbus: /dev/ring-ref is missing, allowed is a decimal number from 0 to 9007199254740991',
    );
  });
});

describe('writing keys', () => {
  test('writes them as the other end reads them', async () => {
    const store = client();
    await writeKeys(store, '/dev', keys, { 'feature-flush-cache': true, 'max-ring-page-order': 2 });
    expect(await store.read('/dev/feature-flush-cache')).toBe('1');
    expect(await store.read('/dev/max-ring-page-order')).toBe('2');
    expect(await store.directory('/dev')).toHaveLength(2);
  });

  test('refuses its own mistakes, also what reading would clamp', async () => {
    const store = client();
    await expect(
      writeKeys(store, '/dev', keys, { 'multi-queue-max-queues': 9 }),
    ).rejects.toMatchObject({ path: '/dev/multi-queue-max-queues', value: '9' });
    expect(await store.exists('/dev')).toBe(false);
  });
});
