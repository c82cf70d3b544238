/** Responses that no backend should send, and what it can see and keep of the guest. */

import { BlkfrontError, BlockIoError } from '@ringside/blkif';
import {
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
} from '@ringside/blkif/abi';
import { grantRef } from '@ringside/gnttab-core';
import { describe, expect, test } from 'vitest';
import { frontPath, look, resources, settled } from './rig.ts';
import {
  connectedBackend,
  connecting,
  outcome,
  RogueBackend,
  type SeenRequest,
} from './rogue-backend.ts';

describe('a backend that breaks the protocol loses the device, and nothing else', () => {
  const okay = BLKIF_RSP_OKAY;
  type Lie = (backend: RogueBackend, seen: SeenRequest) => Promise<void>;
  const lies: [string, Lie, RegExp][] = [
    // BF-01, RG-03
    ...[2, 33, 2 ** 31, 2 ** 32 - 1].map((ahead): [string, Lie, RegExp] => [
      `rsp_prod ${ahead} ahead, with one request waiting`,
      async (backend) => {
        backend.ring.shared.rspProd = ahead;
        backend.port.notify();
        await settled(backend.rig);
      },
      /rsp_prod overflow/,
    ]),
    // BF-02
    ...[32n, 2n ** 32n, 2n ** 63n, 2n ** 64n - 1n].map((id): [string, Lie, RegExp] => [
      `id ${id}`,
      (backend) => backend.answer({ id, operation: BLKIF_OP_READ, status: okay }),
      /no such request/,
    ]),
    // BF-03
    [
      'an id that waits for nothing',
      (backend, { id }) =>
        backend.answer({ id: (id + 1) % 32, operation: BLKIF_OP_READ, status: okay }),
      /no such request/,
    ],
    // BF-04
    ...[BLKIF_OP_WRITE, 6, 200].map((operation): [string, Lie, RegExp] => [
      `operation ${operation} for a read`,
      (backend, { id }) => backend.answer({ id, operation, status: okay }),
      /names operation/,
    ]),
    // BF-08
    [
      'an answer while it still maps the page',
      (backend, { id, segments }) => {
        const { driver, guest } = backend.rig;
        driver.mappings.map(guest.id, grantRef(segments[0]!.gref));
        return backend.answer({ id, operation: BLKIF_OP_READ, status: okay });
      },
      /still used its pages/,
    ],
  ];

  test.each(lies)('%s', async (_, lie, reason) => {
    const { parts, disk, backend } = await connectedBackend();
    const read = outcome(disk.read({ sector: 0, sectors: 1 }));
    const [seen] = await backend.requests();
    await lie(backend, seen!);
    expect(disk.state).toBe('broken');
    expect(read.error).toBeInstanceOf(BlkfrontError);
    expect(String(read.error)).toMatch(reason);
    expect(parts.log).toHaveLength(1);
    expect(parts.log[0]).toMatch(reason);
    const error = frontPath(parts).replace('/device/', '/error/device/');
    expect(await look(parts, `${error}/error`)).toMatch(reason);
    // Sticky, and quiet: what comes now is refused, what the backend still says is not looked at.
    await expect(disk.write({ sector: 0, data: new Uint8Array(512) })).rejects.toThrow(reason);
    await backend.answer({ id: 0, operation: BLKIF_OP_READ, status: okay });
    expect(parts.log).toHaveLength(1);
    backend.mapping.unmap();
    await disk.close();
    expect(disk.state).toBe('closed');
  });

  test('a second answer to a request completes nothing twice (BF-03)', async () => {
    const { disk, backend } = await connectedBackend();
    let done = 0;
    const page = backend.rig.guest.memory.allocPage();
    const buffers = [{ page, offsetBytes: 0, lengthBytes: 512 }];
    disk.submit({ operation: BLKIF_OP_READ, sector512: 0, buffers }, () => done++);
    disk.submit({ operation: BLKIF_OP_READ, sector512: 1, buffers }, () => done++);
    const [{ id } = { id: -1 }] = await backend.requests();
    const answer = { id, operation: BLKIF_OP_READ, status: okay };
    await backend.answer(answer, answer);
    expect([disk.state, done]).toEqual(['broken', 2]);
  });
});

describe('pages that a backend does not let go of (BF-08, BF-09, XSA-396)', () => {
  test('are not used again until it does', async () => {
    const { parts, disk, backend } = await connectedBackend();
    const { driver, guest } = parts;
    const before = resources(parts).guestPages;
    const read = outcome(disk.read({ sector: 0, sectors: 1 }));
    const [seen] = await backend.requests();
    const kept = driver.mappings.map(guest.id, grantRef(seen!.segments[0]!.gref));
    await backend.answer({ id: seen!.id, operation: BLKIF_OP_READ, status: BLKIF_RSP_OKAY });
    await disk.close();
    expect(read.error).toBeInstanceOf(BlkfrontError);
    // The data page and the ring page.
    expect(disk.pagesStillShared).toBe(2);
    const free = guest.memory.freeCount;
    kept.unmap();
    backend.mapping.unmap();
    await backend.setState('6');
    expect(disk.pagesStillShared).toBe(0);
    expect(guest.memory.freeCount).toBe(free + 2);
    expect(guest.memory.freeCount).toBe(before + 1);
  });
});

describe('the status of a response', () => {
  test.each([BLKIF_RSP_ERROR, 1, -3, 32767, -32768, BLKIF_RSP_EOPNOTSUPP])(
    '%i to a read is an I/O error, and the device lives (BF-11, BF-12, BF-13)',
    async (status) => {
      const { disk, backend } = await connectedBackend();
      const read = outcome(disk.read({ sector: 0, sectors: 1 }));
      const [seen] = await backend.requests();
      await backend.answer({ id: seen!.id, operation: BLKIF_OP_READ, status });
      expect(read.error).toBeInstanceOf(BlockIoError);
      expect(String(read.error)).toMatch(/read: the backend answered BLKIF_RSP_ERROR/);
      expect(disk.state).toBe('connected');
    },
  );

  test('EOPNOTSUPP to a flush turns flushes off, and says so (BF-13)', async () => {
    const { disk, backend } = await connectedBackend();
    const flush = outcome(disk.flush());
    const [seen] = await backend.requests();
    expect(seen).toMatchObject({ operation: BLKIF_OP_FLUSH_DISKCACHE, segments: [] });
    await backend.answer({ ...seen!, status: BLKIF_RSP_EOPNOTSUPP });
    expect(String(flush.error)).toMatch(/BLKIF_RSP_EOPNOTSUPP/);
    expect(disk.properties.flush).toBe(false);
    await expect(disk.flush()).rejects.toThrow(/offers no flush/);
    expect(disk.state).toBe('connected');
  });

  test('of one half makes the whole fail, once, when both are over (BF-22)', async () => {
    const { disk, backend } = await connectedBackend();
    const write = outcome(disk.write({ sector: 0, data: new Uint8Array(20 * 4096) }));
    const [first, second] = await backend.requests();
    expect([first!.segments.length, second!.segments.length]).toEqual([11, 9]);
    await backend.answer({ ...second!, status: BLKIF_RSP_ERROR });
    expect(write.error).toBeUndefined();
    await backend.answer({ ...first!, status: BLKIF_RSP_OKAY });
    expect(write.error).toBeInstanceOf(BlockIoError);
  });
});

describe('what a backend sees of the guest', () => {
  test('is the data of the request and zeros, whatever the pages held before (BF-10, RG-13)', async () => {
    const { parts, disk, set } = await connecting();
    const { driver, guest } = parts;
    // Every page that the guest has left is full of secrets.
    const pages = [];
    while (guest.memory.freeCount > 0) pages.push(guest.memory.allocPage());
    for (const page of pages) guest.memory.bytes(page.va, 4096, 'write').fill(0xa5);
    guest.memory.freePages(pages);
    await set('state', '4');
    const front = await disk;
    const backend = await RogueBackend.attach(parts);
    const write = outcome(front.write({ sector: 0, data: new Uint8Array(512).fill(1) }));
    const read = outcome(front.read({ sector: 8, sectors: 3 }));
    const seen = await backend.requests();
    const views = seen.flatMap(({ segments }) =>
      segments.map(({ gref }) => {
        const mapping = driver.mappings.map(guest.id, grantRef(gref), { readonly: true });
        const copy = driver.memory.bytes(mapping.va, 4096, 'read').slice();
        mapping.unmap();
        return copy;
      }),
    );
    expect(views.map((view) => [...new Set(view)])).toEqual([[1, 0], [0]]);
    const ring = driver.memory.bytes(backend.mapping.va, 4096, 'read');
    expect(ring.includes(0xa5)).toBe(false);
    await backend.answer(...seen.map((request) => ({ ...request, status: BLKIF_RSP_OKAY })));
    expect([write.error, read.error]).toEqual([undefined, undefined]);
    // A page that carried data before is clean when it is shared again.
    void outcome(front.read({ sector: 0, sectors: 1 }));
    const [again] = await backend.requests();
    const mapping = driver.mappings.map(guest.id, grantRef(again!.segments[0]!.gref));
    expect(driver.memory.bytes(mapping.va, 4096, 'read').every((byte) => byte === 0)).toBe(true);
  });

  test('it can write only what is to be read (BF-21)', async () => {
    const { parts, disk, backend } = await connectedBackend();
    const { driver, guest } = parts;
    void outcome(disk.write({ sector: 0, data: new Uint8Array(512) }));
    void outcome(disk.read({ sector: 0, sectors: 1 }));
    const [write, read] = await backend.requests();
    const map = ({ segments }: SeenRequest) =>
      driver.mappings.map(guest.id, grantRef(segments[0]!.gref)).unmap();
    expect(() => map(write!)).toThrow(/reference/);
    expect(() => map(read!)).not.toThrow();
  });

  test('what it writes into a request slot is never looked at (BF-06)', async () => {
    const { parts, disk, backend } = await connectedBackend();
    const write = outcome(disk.write({ sector: 5, data: new Uint8Array(512) }));
    const [seen] = await backend.requests();
    parts.driver.memory.bytes(backend.mapping.va, 4096, 'write').fill(0xff, 64);
    await backend.answer({ id: seen!.id, operation: BLKIF_OP_WRITE, status: BLKIF_RSP_OKAY });
    expect(write.error).toBeUndefined();
    expect(disk.state).toBe('connected');
    backend.mapping.unmap();
    const closing = disk.close();
    await settled(parts);
    await backend.setState('5');
    await backend.setState('6');
    await closing;
    expect(disk.pagesStillShared).toBe(0);
  });
});
