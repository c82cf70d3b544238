import { concatMap, filter, firstValueFrom, map, Subscription, take, tap, toArray } from 'rxjs';
import { describe, expect, test } from 'vitest';
import { XenStoreClient } from '../client/client.stream.ts';
import { homeOf } from '../store/path.ts';
import { XenStore } from '../store/xenstore.ts';
import { InProcessXenStore } from '../wire/in-process.ts';
import {
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
  XenbusStateInitialised,
  XenbusStateInitialising,
  XenbusStateInitWait,
  XenbusStateUnknown,
} from './abi.ts';
import { XenbusBackend } from './backend.stream.ts';
import { backendDevices$, frontendDevices$ } from './bus.stream.ts';
import { XenbusKeyError, XenbusStateError } from './errors.ts';
import { XenbusFrontend } from './frontend.stream.ts';
import { introduceDomain } from './home.ts';
import { keyTable } from './keys.ts';
import { devicePermissions } from './permissions.ts';
import { parseXenbusState } from './state.ts';

const scheduler = { post: (task: () => void) => queueMicrotask(task) };
const GUEST = 5;
const DRIVER = 1;
const frontPath = `${homeOf(GUEST)}/device/vbd/51712`;
const backPath = `${homeOf(DRIVER)}/backend/vbd/${GUEST}/51712`;

/** Two domains as xl makes them, with no device yet. */
async function twoDomains() {
  const store = new XenStore();
  const server = new InProcessXenStore(store, scheduler);
  const [dom0, driver, guest] = [0, DRIVER, GUEST].map(
    (domid) => new XenStoreClient(server.connect(domid)),
  ) as [XenStoreClient, XenStoreClient, XenStoreClient];
  await introduceDomain(dom0, { domid: DRIVER, name: 'driver', storeGfn: 1, storePort: 1 });
  await introduceDomain(dom0, { domid: GUEST, name: 'guest', storeGfn: 1, storePort: 1 });
  return { store, dom0, driver, guest };
}

/** What a toolstack writes for a device, at once. */
async function attach(dom0: XenStoreClient): Promise<void> {
  const permissions = devicePermissions(GUEST, DRIVER);
  await dom0.transaction(async (tx) => {
    for (const [path, perms, keys] of [
      [frontPath, permissions.frontend, { backend: backPath, 'backend-id': DRIVER, state: 1 }],
      [
        backPath,
        permissions.backend,
        { frontend: frontPath, 'frontend-id': GUEST, state: 1, online: 1 },
      ],
    ] as const) {
      await tx.mkdir(path);
      await tx.setPerms(path, perms);
      for (const [name, value] of Object.entries(keys))
        await tx.write(`${path}/${name}`, String(value));
    }
  });
}

const ringKeys = keyTable({
  'ring-ref': { type: 'uint', writer: 'frontend', docs: 'The ring page.' },
  'event-channel': { type: 'uint', writer: 'frontend', docs: 'The port.' },
});
const diskKeys = keyTable({
  sectors: { type: 'uint', min: 1, writer: 'backend', docs: 'Size.' },
  'sector-size': { type: 'uint', default: 512, writer: 'backend', docs: 'Bytes.' },
  'feature-flush-cache': { type: 'bool', default: false, writer: 'backend', docs: 'Flush.' },
});

describe('the handshake', () => {
  test('two drivers find each other through the store alone, connect, and close', async () => {
    const { store, dom0, driver, guest } = await twoDomains();
    const story: string[] = [];

    const backendDriver = backendDevices$(driver, 'vbd').pipe(
      filter(({ kind }) => kind === 'added'),
      take(1),
      concatMap(async ({ path }) => {
        const device = await XenbusBackend.open(driver, path);
        await device.writeOwn(diskKeys, { 'feature-flush-cache': true });
        await device.switchState(XenbusStateInitWait);
        await device.waitForOtherEnd([XenbusStateInitialised, XenbusStateConnected]);
        const ring = await device.readOtherEnd(ringKeys);
        story.push(`backend maps ${ring['ring-ref']} of domain ${device.otherEnd.domid}`);
        await device.writeOwn(diskKeys, { sectors: 2048 });
        await device.switchState(XenbusStateConnected);
        await device.waitForOtherEnd([XenbusStateClosing]);
        await device.switchState(XenbusStateClosing);
        await device.waitForOtherEnd([XenbusStateClosed]);
        await device.switchState(XenbusStateClosed);
        return device.isOnline();
      }),
    );
    const frontendDriver = frontendDevices$(guest, 'vbd').pipe(
      filter(({ kind }) => kind === 'added'),
      take(1),
      concatMap(async ({ path }) => {
        const device = await XenbusFrontend.open(guest, path);
        await device.waitForOtherEnd([XenbusStateInitWait]);
        await device.writeOwn(ringKeys, { 'ring-ref': 8, 'event-channel': 3 });
        await device.switchState(XenbusStateInitialised);
        await device.waitForOtherEnd([XenbusStateConnected]);
        const disk = await device.readOtherEnd(diskKeys);
        story.push(`frontend has ${disk.sectors} sectors of ${disk['sector-size']}`);
        story.push(`flush: ${disk['feature-flush-cache']}`);
        await device.switchState(XenbusStateConnected);
        await device.switchState(XenbusStateClosing);
        await device.waitForOtherEnd([XenbusStateClosing]);
        await device.switchState(XenbusStateClosed);
      }),
    );
    const both = Promise.all([firstValueFrom(backendDriver), firstValueFrom(frontendDriver)]);
    await attach(dom0);

    expect((await both)[0]).toBe(true);
    expect(story).toEqual([
      'backend maps 8 of domain 5',
      'frontend has 2048 sectors of 512',
      'flush: true',
    ]);
    await dom0.exists('/');
    expect(store.counts).toMatchObject({ watches: 0, transactions: 0 });
  });

  test('both ends see every state of the other, each once, beginning with the current one', async () => {
    const { dom0, driver, guest } = await twoDomains();
    await attach(dom0);
    const frontend = await XenbusFrontend.open(guest, 'device/vbd/51712');
    const backend = await XenbusBackend.open(driver, `backend/vbd/${GUEST}/51712`);
    const seen = firstValueFrom(frontend.otherEndState$.pipe(take(4), toArray()));
    const own = firstValueFrom(backend.state$.pipe(take(4), toArray()));
    await backend.switchState(XenbusStateInitWait);
    await driver.write(`${backend.path}/state`, '2');
    await backend.switchState(XenbusStateConnected);
    await dom0.rm(backPath);
    const states = [
      XenbusStateInitialising,
      XenbusStateInitWait,
      XenbusStateConnected,
      XenbusStateUnknown,
    ];
    expect(await seen).toEqual(states);
    expect(await own).toEqual(states);
  });

  test('the tables alone lead both ends there, and back when the toolstack unplugs the device', async () => {
    const { dom0, driver, guest } = await twoDomains();
    await attach(dom0);
    const frontend = await XenbusFrontend.open(guest, 'device/vbd/51712');
    const backend = await XenbusBackend.open(driver, `backend/vbd/${GUEST}/51712`);
    const story: string[] = [];
    const told =
      (who: string) =>
      <A extends string>(action: A): A => {
        if (action !== 'wait') story.push(`${who}: ${action}`);
        return action;
      };
    const frontSteps = {
      wait: undefined,
      publish: XenbusStateInitialised,
      connect: XenbusStateConnected,
      close: XenbusStateClosed,
    } as const;
    const backSteps = {
      wait: undefined,
      offer: XenbusStateInitWait,
      connect: XenbusStateConnected,
      close: XenbusStateClosing,
      disconnect: XenbusStateClosed,
    } as const;
    const running = new Subscription();
    running.add(
      frontend.actions$
        .pipe(
          map(told('front')),
          concatMap(async (action) => {
            const next = frontSteps[action];
            if (next !== undefined) await frontend.switchState(next);
          }),
        )
        .subscribe(),
    );
    running.add(
      backend.actions$
        .pipe(
          map(told('back')),
          concatMap(async (action) => {
            const next = backSteps[action];
            if (next !== undefined) await backend.switchState(next);
          }),
        )
        .subscribe(),
    );
    await frontend.waitForOtherEnd([XenbusStateConnected]);
    await backend.waitForOtherEnd([XenbusStateConnected]);
    await dom0.write(`${backPath}/state`, String(XenbusStateClosing));
    await backend.waitForOtherEnd([XenbusStateClosed]);
    await frontend.waitForOtherEnd([XenbusStateClosed]);
    running.unsubscribe();
    expect(story).toEqual([
      'back: offer',
      'front: publish',
      'back: connect',
      'front: connect',
      'front: close',
      'back: disconnect',
    ]);
  });

  test('a device that is attached again is seen again', async () => {
    const { dom0, guest } = await twoDomains();
    await attach(dom0);
    const frontend = await XenbusFrontend.open(guest, 'device/vbd/51712');
    const seen = firstValueFrom(frontend.otherEndState$.pipe(take(3), toArray()));
    await frontend.waitForOtherEnd([XenbusStateInitialising]);
    await dom0.rm(backPath);
    await frontend.waitForOtherEnd([XenbusStateUnknown]);
    await attach(dom0);
    expect(await seen).toEqual([
      XenbusStateInitialising,
      XenbusStateUnknown,
      XenbusStateInitialising,
    ]);
  });

  test('a step that the state machine does not have is refused, and nothing is written', async () => {
    const { dom0, driver } = await twoDomains();
    await attach(dom0);
    const backend = await XenbusBackend.open(driver, `backend/vbd/${GUEST}/51712`);
    await expect(backend.switchState(XenbusStateConnected)).rejects.toThrow(
      new XenbusStateError(
        'xenbus: backend/vbd/5/51712 cannot go from Initialising to Connected, allowed is InitWait, Closing, Closed',
      ),
    );
    expect(await dom0.read(`${backPath}/state`)).toBe('1');
  });

  test('a removed device is not written back into life', async () => {
    const { dom0, driver } = await twoDomains();
    await attach(dom0);
    const backend = await XenbusBackend.open(driver, `backend/vbd/${GUEST}/51712`);
    await dom0.rm(backPath);
    await expect(backend.switchState(XenbusStateInitWait)).rejects.toThrow(
      'xenbus: backend/vbd/5/51712 was removed, cannot go to InitWait',
    );
    expect(await dom0.exists(backPath)).toBe(false);
  });

  test('a fatal error is left where Linux leaves it, and the device closes', async () => {
    const { dom0, guest } = await twoDomains();
    await attach(dom0);
    const frontend = await XenbusFrontend.open(guest, 'device/vbd/51712');
    const bad = new XenbusKeyError(`${backPath}/sectors`, '-1', 'a decimal number');
    await frontend.fatal(bad, { errno: 22 });
    expect(await dom0.read(`${homeOf(GUEST)}/error/device/vbd/51712/error`)).toBe(
      `22 xenbus: ${backPath}/sectors is "-1", allowed is a decimal number`,
    );
    expect(parseXenbusState(await dom0.read(`${frontPath}/state`))).toBe(XenbusStateClosing);
  });

  test('a frontend whose backend is not named is refused clearly', async () => {
    const { dom0, guest } = await twoDomains();
    await attach(dom0);
    await dom0.rm(`${frontPath}/backend`);
    await expect(XenbusFrontend.open(guest, 'device/vbd/51712')).rejects.toThrow(
      'xenbus: device/vbd/51712/backend is missing',
    );
  });
});

describe('the bus', () => {
  test('tells of devices that are there, come, and go', async () => {
    const { dom0, driver, guest } = await twoDomains();
    await attach(dom0);
    const events: string[] = [];
    const told = backendDevices$(driver, 'vbd').pipe(
      map(({ kind, path }) => `${kind} ${path}`),
      tap((event) => events.push(event)),
    );
    const three = firstValueFrom(told.pipe(take(3), toArray()));
    while (events.length < 1) await driver.exists('data');
    await dom0.write(`${backPath}/hotplug-status`, 'connected');
    await guest.write('device/vbd/51712/ring-ref', '8');
    await dom0.rm(`${homeOf(DRIVER)}/backend/vbd/${GUEST}`);
    while (events.length < 2) await driver.exists('data');
    await attach(dom0);
    expect(await three).toEqual([
      `added backend/vbd/${GUEST}/51712`,
      `removed backend/vbd/${GUEST}/51712`,
      `added backend/vbd/${GUEST}/51712`,
    ]);
  });
});
