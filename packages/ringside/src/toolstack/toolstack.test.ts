import { connectBlkfront, memoryDisk, startBlkback } from '@ringside/blkif';
import { createMachine, freePages } from '@ringside/gnttab-core';
import type { XenStoreClient } from '@ringside/xenstore-lite';
import { expect, test } from 'vitest';
import { startToolstack, vbdNumber } from './index.ts';

test.each([
  ['xvda', 51712],
  ['xvdb', 51728],
  ['xvdp', 51952],
  ['xvdq', 2 ** 28 + 16 * 256],
  ['xvdaa', 2 ** 28 + 26 * 256],
])('%s is device %i', (vdev, number) => {
  expect(vbdNumber(vdev)).toBe(number);
});

test.each(['sda', 'xvd', 'xvda1', 'xvdaaa'])('%s is refused', (vdev) => {
  expect(() => vbdNumber(vdev)).toThrow('allowed: xvda to xvdzz');
});

/** All nodes below a path, with values, and permissions where they differ from the parent's. */
async function dump(store: XenStoreClient, path: string, inherited = ''): Promise<string[]> {
  const perms = (await store.getPerms(path)).join(',');
  const value = await store.read(path);
  const line = `${path}${value && ` = ${value}`}${perms === inherited ? '' : ` (${perms})`}`;
  const lines = [line];
  for (const name of (await store.directory(path)).toSorted()) {
    lines.push(...(await dump(store, `${path}/${name}`, perms)));
  }
  return lines;
}

async function everything(store: XenStoreClient): Promise<string[]> {
  const roots = await Promise.all(['/local', '/vm', '/libxl'].map((path) => dump(store, path)));
  return roots.flat();
}

async function twoDomains() {
  const machine = createMachine({ seed: 3, memoryPages: 4096 });
  const toolstack = await startToolstack(machine);
  const back = await toolstack.createDomain({ name: 'driver', pages: 256 });
  const front = await toolstack.createDomain({ name: 'guest', pages: 128, maxPages: 160 });
  return { machine, toolstack, back, front };
}

test("a new domain's home is as xl writes it", async () => {
  const { toolstack } = await twoDomains();
  const vm = await toolstack.store.read('/local/domain/2/vm');
  expect(vm).toMatch(/^\/vm\/[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
  expect(await dump(toolstack.store, '/local/domain/2')).toEqual(
    expect.arrayContaining([
      '/local/domain/2 (n0,r2)',
      '/local/domain/2/name = guest',
      '/local/domain/2/domid = 2',
      '/local/domain/2/memory/static-max = 640',
      '/local/domain/2/memory/target = 512',
      '/local/domain/2/control/shutdown (n2)',
      '/local/domain/2/data (n2)',
      '/local/domain/2/error (n2)',
    ]),
  );
  expect(await toolstack.store.isDomainIntroduced(2)).toBe(true);
});

test('a disk is two directories, which each end reads and only its own end writes', async () => {
  const { toolstack, back, front } = await twoDomains();
  await toolstack.attachDisk({ front, back, disk: memoryDisk({ sizeBytes: 4096 }), mode: 'r' });
  expect(await dump(toolstack.store, '/local/domain/2/device/vbd/51712')).toEqual([
    '/local/domain/2/device/vbd/51712 (n2,r1)',
    '/local/domain/2/device/vbd/51712/backend = /local/domain/1/backend/vbd/2/51712',
    '/local/domain/2/device/vbd/51712/backend-id = 1',
    '/local/domain/2/device/vbd/51712/device-type = disk',
    '/local/domain/2/device/vbd/51712/state = 1',
    '/local/domain/2/device/vbd/51712/virtual-device = 51712',
  ]);
  expect(await dump(toolstack.store, '/local/domain/1/backend/vbd/2/51712')).toEqual([
    '/local/domain/1/backend/vbd/2/51712 (n1,r2)',
    '/local/domain/1/backend/vbd/2/51712/bootable = 1',
    '/local/domain/1/backend/vbd/2/51712/dev = xvda',
    '/local/domain/1/backend/vbd/2/51712/device-type = disk',
    '/local/domain/1/backend/vbd/2/51712/frontend = /local/domain/2/device/vbd/51712',
    '/local/domain/1/backend/vbd/2/51712/frontend-id = 2',
    '/local/domain/1/backend/vbd/2/51712/mode = r',
    '/local/domain/1/backend/vbd/2/51712/online = 1',
    '/local/domain/1/backend/vbd/2/51712/params = guest-xvda',
    '/local/domain/1/backend/vbd/2/51712/removable = 0',
    '/local/domain/1/backend/vbd/2/51712/state = 1',
    '/local/domain/1/backend/vbd/2/51712/type = file',
  ]);
  const disk = memoryDisk({ sizeBytes: 512 });
  await expect(toolstack.attachDisk({ front, back, disk })).rejects.toThrow(
    'guest-xvda: this disk is attached already',
  );
  await expect(toolstack.attachDisk({ front, back, disk, params: 'other' })).rejects.toThrow(
    'vbd 51712 of domain 2 is there already',
  );
  expect(() => toolstack.openDisk('other', { readOnly: true, type: 'file' })).toThrow(
    'other: no such disk is attached',
  );
});

test('a vif gets an address with the prefix of Xen', async () => {
  const { toolstack, back, front } = await twoDomains();
  await toolstack.attachVif({ front, back, handle: 1, bridge: 'br7' });
  expect(await dump(toolstack.store, '/local/domain/2/device/vif/1')).toEqual([
    '/local/domain/2/device/vif/1 (n2,r1)',
    '/local/domain/2/device/vif/1/backend = /local/domain/1/backend/vif/2/1',
    '/local/domain/2/device/vif/1/backend-id = 1',
    '/local/domain/2/device/vif/1/handle = 1',
    expect.stringMatching(/^\/local\/domain\/2\/device\/vif\/1\/mac = 00:16:3e(:[\da-f]{2}){3}$/),
    '/local/domain/2/device/vif/1/state = 1',
  ]);
  expect(await toolstack.store.read('/local/domain/1/backend/vif/2/1/bridge')).toBe('br7');
});

test('detaching waits for the drivers, and leaves nothing in the store', async () => {
  const { toolstack, back, front } = await twoDomains();
  const before = await everything(toolstack.store);
  startBlkback({ guest: back.guest, store: back.store, openDisk: toolstack.openDisk });
  const device = await toolstack.attachDisk({ front, back, disk: memoryDisk({ sizeBytes: 4096 }) });
  const disk = await connectBlkfront({ ...front, id: device.id });
  await toolstack.detach(device);
  expect(disk.state).toBe('closed');
  const after = await everything(toolstack.store);
  const devices = /\/(device|backend)(\/vbd)?(\/2)?( |$)/;
  expect(after.filter((line) => !devices.test(line))).toEqual(
    before.filter((line) => !devices.test(line)),
  );
  expect(toolstack.devices.size).toBe(0);
});

test('a destroyed domain leaves neither pages nor nodes', async () => {
  const { machine, toolstack, back } = await twoDomains();
  const [pages, before] = [freePages(machine), await everything(toolstack.store)];
  const guest = await toolstack.createDomain({ name: 'short', pages: 200 });
  await toolstack.attachVif({ front: guest, back });
  expect(freePages(machine)).toBeLessThan(pages - 200);
  await toolstack.destroy(guest);
  expect(freePages(machine)).toBe(pages);
  expect((await everything(toolstack.store)).filter((line) => !before.includes(line))).toEqual([
    '/local/domain/1/backend',
    '/local/domain/1/backend/vif',
    '/local/domain/1/backend/vif/3',
  ]);
  expect(toolstack.devices.size).toBe(0);
});
