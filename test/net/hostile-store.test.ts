/** What a frontend may not write into the store (NB-*, RG-* of the catalogue): it is not connected, and nothing is held. */
import { describe, expect, test } from 'vitest';
import { attach, until } from './rig.ts';
import { underAttack } from './under-attack.ts';

const scene = underAttack();

describe('the store', () => {
  test.each<[string, Record<string, string>, RegExp]>([
    ['a ring reference that is none', { 'tx-ring-ref': '60000' }, /mapping reference 60000/],
    ['a ring reference that is no number', { 'rx-ring-ref': '-1' }, /rx-ring-ref/],
    ['an event channel of nobody', { 'event-channel': '4000' }, /port 4000/],
    ['no feature-rx-notify', { 'feature-rx-notify': '0' }, /feature-rx-notify/],
    ['a flip ring that cannot be mapped', { 'tx-flip-ring-ref': '60001' }, /reference 60001/],
  ])('%s: not connected, nothing is held (RG-22)', async (_name, keys, fault) => {
    const member = scene.net.guests[0];
    await attach(scene.net, member);
    const { guest, store } = member;
    const pages = guest.memory.allocPages(2);
    const refs = pages.map((page) =>
      guest.grants.grantForeignAccess(scene.net.driver.guest.id, page),
    );
    const port = guest.events.allocUnbound(scene.net.driver.guest.id);
    const all = {
      'tx-ring-ref': String(refs[0]),
      'rx-ring-ref': String(refs[1]),
      'event-channel': String(port.port),
      'request-rx-copy': '1',
      'feature-rx-notify': '1',
      ...keys,
      state: '4',
    };
    for (const [name, value] of Object.entries(all))
      await store.write(`device/vif/0/${name}`, value);
    await until(scene.net, () => scene.vif?.fault !== undefined);
    expect(scene.vif.fault).toMatch(fault);
    expect(refs.map((ref) => guest.grants.endForeignAccess(ref))).toEqual(['ended', 'ended']);
  });

  test('states written at full speed, senseless ones too (NB-32)', async () => {
    const { mappings } = scene.net.driver.guest;
    const before = mappings.live;
    const front = await scene.attacker();
    const { store } = front.member;
    const writes: Promise<void>[] = [];
    for (let i = 0; i < 200; i++) {
      const state = ['1', '2', '3', '4', '5', '6', '99', 'abc', ''][
        scene.net.machine.random.below(9)
      ]!;
      writes.push(store.write('device/vif/0/state', state));
    }
    await Promise.all(writes);
    await store.write('device/vif/0/state', '6');
    await until(scene.net, () => mappings.live === before);
    expect(scene.vif.modes).toBeUndefined();
  });
});
