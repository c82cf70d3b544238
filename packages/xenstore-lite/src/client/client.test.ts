import { firstValueFrom, take, toArray } from 'rxjs';
import { describe, expect, test } from 'vitest';
import { XenStore } from '../store/xenstore.ts';
import { InProcessXenStore } from '../wire/in-process.ts';
import { XenStoreClient } from './client.stream.ts';

/** Runs tasks in microtasks, in order. */
const scheduler = { post: (task: () => void) => queueMicrotask(task) };

function connect(...domids: number[]) {
  const store = new XenStore();
  const server = new InProcessXenStore(store, scheduler);
  const clients = domids.map((domid) => new XenStoreClient(server.connect(domid)));
  return { store, server, clients: clients as [XenStoreClient, XenStoreClient, XenStoreClient] };
}

describe('a client', () => {
  test('reads what it wrote, text and bytes', async () => {
    const {
      clients: [client],
    } = connect(0);
    await client.write('/a/b', 'grüße');
    expect(await client.read('/a/b')).toBe('grüße');
    await client.write('/a/bytes', Uint8Array.of(0, 255, 0));
    expect(await client.readBytes('/a/bytes')).toEqual(Uint8Array.of(0, 255, 0));
    expect(await client.directory('/a')).toEqual(['b', 'bytes']);
  });

  test('names the node, the attempt and the error', async () => {
    const {
      clients: [dom0, guest],
    } = connect(0, 5);
    await expect(dom0.read('/nope')).rejects.toMatchObject({
      name: 'XenStoreError',
      code: 'ENOENT',
      path: '/nope',
      attempted: 'read',
      message: 'xenstore: cannot read /nope: ENOENT',
    });
    await expect(guest.write('/x', '1')).rejects.toMatchObject({ code: 'EACCES', path: '/x' });
    await expect(dom0.read('/a\0b')).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(dom0.write('/a', new Uint8Array(5000))).rejects.toMatchObject({ code: 'E2BIG' });
  });

  test('lists a directory that does not fit into one reply', async () => {
    const {
      clients: [client],
    } = connect(0);
    const names = Array.from({ length: 1000 }, (_, i) => `child-${i}`);
    for (const name of names) await client.mkdir(`/dir/${name}`);
    expect(await client.directory('/dir')).toEqual(names);
    await client.mkdir('/empty');
    expect(await client.directory('/empty')).toEqual([]);
  });

  test('matches replies to requests that overlap', async () => {
    const {
      clients: [client],
    } = connect(0);
    const paths = Array.from({ length: 20 }, (_, i) => `/n/${i}`);
    await Promise.all(paths.map((path) => client.write(path, path)));
    expect(await Promise.all(paths.map((path) => client.read(path)))).toEqual(paths);
  });

  test('is told when its connection ends', async () => {
    const {
      server,
      clients: [, guest],
    } = connect(0, 5);
    const dom0 = new XenStoreClient(server.connect(0));
    await dom0.introduce(5, 1, 3);
    const watching = firstValueFrom(guest.watch$('/local').pipe(take(2), toArray()));
    await Promise.all([
      expect(watching).rejects.toMatchObject({ code: 'EIO', path: '/local' }),
      dom0.release(5),
    ]);
    await expect(guest.read('/x')).rejects.toMatchObject({
      message: 'xenstore: cannot read /x: EIO (the domain was released)',
    });
  });
});

describe('a transaction', () => {
  test('runs again when something that it read has changed', async () => {
    const {
      clients: [mine, other],
    } = connect(0, 0);
    await mine.write('/counter', '1');
    let runs = 0;
    await mine.transaction(async (tx) => {
      const value = Number(await tx.read('/counter'));
      if (runs++ === 0) await other.write('/counter', '10');
      await tx.write('/counter', String(value + 1));
    });
    expect(runs).toBe(2);
    expect(await mine.read('/counter')).toBe('11');
  });

  test('gives up with EAGAIN after so many attempts', async () => {
    const {
      store,
      clients: [mine, other],
    } = connect(0, 0);
    await mine.write('/counter', '1');
    const attempt = mine.transaction(
      async (tx) => {
        await tx.read('/counter');
        await other.write('/counter', '2');
      },
      { attempts: 3 },
    );
    await expect(attempt).rejects.toMatchObject({ code: 'EAGAIN' });
    expect(store.counts.transactions).toBe(0);
  });

  test('is aborted when its body throws', async () => {
    const {
      store,
      clients: [client],
    } = connect(0);
    const failing = client.transaction(async (tx) => {
      await tx.write('/half', '1');
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(await client.exists('/half')).toBe(false);
    expect(store.counts.transactions).toBe(0);
  });
});

describe('watch$', () => {
  test('emits at once, then what changes below', async () => {
    const {
      clients: [mine, other],
    } = connect(0, 0);
    const seen = firstValueFrom(mine.watch$('/w').pipe(take(3), toArray()));
    await mine.exists('/');
    await other.write('/w/a', '1');
    await other.write('/unrelated', '1');
    await other.rm('/w');
    expect(await seen).toEqual(['/w', '/w/a', '/w']);
  });

  test('withdraws the watch with the subscription', async () => {
    const {
      store,
      clients: [client],
    } = connect(0);
    const first = client.watch$('/w').subscribe();
    const second = client.watch$('/w').subscribe();
    await client.exists('/');
    expect(store.counts.watches).toBe(2);
    first.unsubscribe();
    second.unsubscribe();
    await client.exists('/');
    expect(store.counts.watches).toBe(0);
  });

  test('errors when the store refuses the path', async () => {
    const {
      clients: [client],
    } = connect(0);
    await expect(firstValueFrom(client.watch$('/bad//path'))).rejects.toMatchObject({
      code: 'EINVAL',
      attempted: 'watch',
    });
  });
});
