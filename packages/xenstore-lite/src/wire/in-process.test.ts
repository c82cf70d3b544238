import { describe, expect, test } from 'vitest';
import { XenStoreClient } from '../client/client.stream.ts';
import { XenStore } from '../store/xenstore.ts';
import { XS_READ } from './abi.ts';
import { InProcessXenStore } from './in-process.ts';

/** Runs what was posted in an order of its own, last first. */
class ContraryScheduler {
  readonly #tasks: (() => void)[] = [];

  post(task: () => void): void {
    this.#tasks.push(task);
  }

  async run(): Promise<void> {
    for (let task = this.#tasks.pop(); task; task = this.#tasks.pop()) {
      task();
      // Lets what waited for the task post its next one.
      await Promise.resolve();
    }
  }
}

describe('the in-process transport', () => {
  test('keeps the order of a connection whatever order the scheduler runs tasks in', async () => {
    const scheduler = new ContraryScheduler();
    const server = new InProcessXenStore(new XenStore(), scheduler);
    const client = new XenStoreClient(server.connect(0));
    const seen: string[] = [];
    client.watch$('/n').subscribe((path) => seen.push(path));
    const writes = [1, 2, 3, 4].map((i) => client.write(`/n/${i}`, 'v'));
    const names = client.directory('/n');
    await scheduler.run();
    await Promise.all(writes);
    expect(await names).toEqual(['1', '2', '3', '4']);
    expect(seen).toEqual(['/n', '/n/1', '/n/2', '/n/3', '/n/4']);
  });

  test('nothing happens before the scheduler runs it', async () => {
    const scheduler = new ContraryScheduler();
    const store = new XenStore();
    const before = store.counts.nodes;
    const client = new XenStoreClient(new InProcessXenStore(store, scheduler).connect(0));
    const writing = client.write('/a', 'v');
    expect(store.counts.nodes).toBe(before);
    await scheduler.run();
    await writing;
    expect(store.counts.nodes).toBe(before + 1);
  });

  test('a message that is too long ends the connection that sent it, and no other', async () => {
    const server = new InProcessXenStore(new XenStore(), { post: (task) => queueMicrotask(task) });
    const hostile = server.connect(5);
    const closed = new Promise<string>((resolve) => {
      hostile.open({ received: () => resolve('a reply'), closed: resolve });
    });
    hostile.send({ type: XS_READ, reqId: 1, txId: 0, payload: new Uint8Array(4097) });
    expect(await closed).toBe('the request was longer than XENSTORE_PAYLOAD_MAX');
    const honest = new XenStoreClient(server.connect(0));
    expect(await honest.directory('/')).toEqual(['tool']);
  });

  test('a client that closes leaves nothing behind', async () => {
    const store = new XenStore();
    const server = new InProcessXenStore(store, { post: (task) => queueMicrotask(task) });
    const client = new XenStoreClient(server.connect(0));
    client.watch$('/a').subscribe({ error: () => undefined });
    const writing = client.write('/a', 'v');
    await writing;
    client.close();
    await expect(client.read('/a')).rejects.toMatchObject({ code: 'EIO' });
    expect(store.counts).toMatchObject({ connections: 0, watches: 0, transactions: 0 });
  });
});
