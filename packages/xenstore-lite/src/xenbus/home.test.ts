import { describe, expect, test } from 'vitest';
import { XenStoreClient } from '../client/client.stream.ts';
import { XenStore } from '../store/xenstore.ts';
import { InProcessXenStore } from '../wire/in-process.ts';
import { introduceDomain } from './home.ts';
import { devicePermissions } from './permissions.ts';

async function newDomains() {
  const server = new InProcessXenStore(new XenStore(), { post: (task) => queueMicrotask(task) });
  const dom0 = new XenStoreClient(server.connect(0));
  for (const domid of [5, 6]) {
    await introduceDomain(dom0, { domid, name: `guest${domid}`, storeGfn: 8, storePort: 3 });
  }
  const [guest, other] = [
    new XenStoreClient(server.connect(5)),
    new XenStoreClient(server.connect(6)),
  ];
  return { dom0, guest, other };
}

describe('a new domain', () => {
  test('is introduced, and finds its name and its ring', async () => {
    const { dom0, guest } = await newDomains();
    expect(await dom0.isDomainIntroduced(5)).toBe(true);
    expect(await guest.read('name')).toBe('guest5');
    expect(await guest.read('store/ring-ref')).toBe('8');
    expect(await dom0.getPerms('/local/domain/5')).toEqual(['n0', 'r5']);
  });

  test.each(['data/x', 'control/shutdown', 'error/device/vbd/1/error', 'attr/os', 'drivers/0'])(
    'may write %s',
    async (path) => {
      const { guest } = await newDomains();
      await guest.write(path, '1');
      expect(await guest.read(path)).toBe('1');
    },
  );

  test.each([
    'x',
    'name',
    'device/vbd/1/state',
    'control/other',
    '/local/domain/6/data/x',
    '/tool/x',
  ])('may not write %s', async (path) => {
    const { guest } = await newDomains();
    await expect(guest.write(path, '1')).rejects.toMatchObject({ code: 'EACCES' });
  });

  test('may not look into the home of another', async () => {
    const { other } = await newDomains();
    await expect(other.read('/local/domain/5/name')).rejects.toMatchObject({ code: 'EACCES' });
  });

  test('begins afresh when its number was used before', async () => {
    const { dom0, guest } = await newDomains();
    await guest.write('data/x', '1');
    await introduceDomain(dom0, { domid: 5, name: 'again', storeGfn: 8, storePort: 3 });
    expect(await dom0.directory('/local/domain/5/data')).toEqual([]);
  });
});

test('of a device each end writes its own directory and reads the other', async () => {
  const { dom0, guest, other: driver } = await newDomains();
  const front = '/local/domain/5/device/vif/0';
  const back = '/local/domain/6/backend/vif/5/0';
  const permissions = devicePermissions(5, 6);
  await dom0.mkdir(front);
  await dom0.setPerms(front, permissions.frontend);
  await dom0.mkdir(back);
  await dom0.setPerms(back, permissions.backend);
  await guest.write(`${front}/state`, '1');
  await driver.write(`${back}/state`, '2');
  expect(await driver.read(`${front}/state`)).toBe('1');
  expect(await guest.read(`${back}/state`)).toBe('2');
  await expect(driver.write(`${front}/state`, '6')).rejects.toMatchObject({ code: 'EACCES' });
  await expect(guest.write(`${back}/state`, '6')).rejects.toMatchObject({ code: 'EACCES' });
});
