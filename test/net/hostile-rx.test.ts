/** What a frontend may not do on the ring that it receives with (NB-* of the catalogue): it loses its own vif, no more. */
import { describe, expect, test } from 'vitest';
import { NETIF_RSP_ERROR } from '@ringside/netif/abi';
import type { RawFront } from './raw.ts';
import { collect, frame, until } from './rig.ts';
import { underAttack } from './under-attack.ts';

const ERROR = NETIF_RSP_ERROR;
const scene = underAttack();

describe('rx: pages that a guest offers', () => {
  test('only the packet is written, and nothing behind it (NB-26)', async () => {
    const front = await scene.attacker();
    const { ref, page } = front.grant(new Uint8Array(4096).fill(0xa5));
    front.post(ref);
    const packet = frame(60, 3);
    scene.honest[0].send(packet);
    await until(scene.net, () => front.rx.hasUnconsumedResponses);
    expect(front.rx.drainResponses().items).toEqual([{ id: 0, offset: 0, flags: 0, status: 60 }]);
    const bytes = new Uint8Array(4096);
    scene.net.guests[0].guest.memory.read(page.va, bytes);
    expect(bytes.subarray(0, 60)).toEqual(packet);
    expect(bytes.subarray(60).every((byte) => byte === 0xa5)).toBe(true);
    await front.device.switchState(6);
  });

  test.each([
    ['a reference that is none', () => 60_000],
    ['a page that is read-only', (front: RawFront) => front.grant(new Uint8Array(1), true).ref],
  ])(
    '%s: the slot says error, the packet is lost, the next one passes (NB-23)',
    async (_name, bad) => {
      const front = await scene.attacker();
      front.post(bad(front), front.grant(new Uint8Array(1)).ref);
      scene.honest[0].send(frame(60, 1));
      scene.honest[0].send(frame(60, 2));
      await until(scene.net, () => front.rx.unconsumedResponses === 2);
      expect(front.rx.drainResponses().items.map(({ status }) => status)).toEqual([ERROR, 60]);
      expect(scene.vif.traffic.rx.dropped).toEqual({ 'data not copied': 1 });
      await front.device.switchState(6);
    },
  );

  test('by flip: a reference that accepts nothing loses the packet, not the vif', async () => {
    const front = await scene.attacker({ rxCopy: false });
    front.post(60_000);
    scene.honest[0].send(frame(60, 1));
    await until(scene.net, () => front.rx.hasUnconsumedResponses);
    expect(front.rx.drainResponses().items.map(({ status }) => status)).toEqual([ERROR]);
    expect(scene.vif.traffic.rx.dropped).toEqual({ 'data not transferred': 1 });
    await front.device.switchState(6);
  });

  test('by flip: a page that changes hands holds the packet and nothing else (RG-13)', async () => {
    // Pages that went to and fro with longer packets.
    const toFirst = collect(scene.honest[0]);
    const large = Array.from({ length: 300 }, () => new Uint8Array(4096).fill(0xa5));
    await Promise.all(scene.honest.map((vif) => vif.sendAll(large)));
    await until(scene.net, () => toFirst.length === 300 && scene.received.length === 300);

    const front = await scene.attacker({ rxCopy: false });
    const { grants, memory } = scene.net.guests[0].guest;
    const sizes = [60, 4000, 42, 1500, 60];
    const pages = sizes.map(() => memory.allocPage());
    memory.surrender(pages);
    const refs = pages.map(({ gfn }) =>
      grants.grantForeignTransfer(scene.net.driver.guest.id, gfn),
    );
    front.post(...refs);
    for (const size of sizes) scene.honest[0].send(frame(size, 1));
    await until(scene.net, () => front.rx.unconsumedResponses === sizes.length);
    const { items } = front.rx.drainResponses();
    pages.forEach((page, i) => {
      memory.adopt(page, grants.endForeignTransfer(refs[i]!)!);
      const bytes = new Uint8Array(4096);
      memory.read(page.va, bytes);
      expect(items[i]).toMatchObject({ offset: 0, status: sizes[i] });
      expect(bytes.subarray(0, sizes[i])).toEqual(frame(sizes[i]!, 1));
      expect(bytes.subarray(sizes[i]).every((byte) => byte === 0)).toBe(true);
    });
    await front.device.switchState(6);
  });

  test.each([0, 1])(
    'a guest that offers %i pages for packets of two slots holds others for the stall time only (NB-17, NB-18)',
    async (offered) => {
      const front = await scene.attacker();
      front.post(...Array.from({ length: offered }, () => front.grant(new Uint8Array(1)).ref));
      const start = scene.net.machine.clock.nowNs();
      const { sent } = await scene.honest[0].sendAll(
        Array.from({ length: 500 }, (_, i) => frame(5000, i)),
      );
      await until(scene.net, () => scene.received.length === 500);
      expect(scene.net.machine.clock.nowNs() - start).toBeLessThan(2e8);
      const { frames, dropped } = scene.vif.traffic.rx;
      expect([sent, scene.vif.stalled, frames]).toEqual([500, true, 0]);
      expect(dropped['receiver stalled']).toBe(500 - 16); // 32 slots wait
      // It recovers as soon as it reads.
      front.post(...Array.from({ length: 40 }, () => front.grant(new Uint8Array(1)).ref));
      await until(scene.net, () => !scene.vif.stalled);
      expect(scene.vif.traffic.rx.frames).toBe(16);
      await front.device.switchState(6);
    },
  );

  test('a guest without feature-sg gets packets of one slot only', async () => {
    const front = await scene.attacker({ scatterGather: false });
    front.post(...[1, 2, 3].map(() => front.grant(new Uint8Array(1)).ref));
    await scene.honest[0].sendAll([frame(4096, 1), frame(4097, 2), frame(60, 3)]);
    await until(scene.net, () => front.rx.unconsumedResponses === 2);
    expect(front.rx.drainResponses().items.map(({ status }) => status)).toEqual([4096, 60]);
    expect(scene.vif.traffic.rx.dropped).toEqual({ 'one slot only': 1 });
    await front.device.switchState(6);
  });

  test('a packet that needs more pages than the guest ever offers gives way in the end (NB-18)', async () => {
    const front = await scene.attacker();
    front.post(front.grant(new Uint8Array(1)).ref);
    const small = Array.from({ length: 100 }, (_, i) => frame(60, i));
    await scene.honest[0].sendAll([frame(5000, 1), ...small]);
    await until(scene.net, () => front.rx.hasUnconsumedResponses);
    expect(front.rx.drainResponses().items[0]!.status).toBe(60);
    await front.device.switchState(6);
  });

  test('what waits for a guest that leaves is dropped and counted (NB-30)', async () => {
    const front = await scene.attacker();
    for (let i = 0; i < 5; i++) scene.honest[0].send(frame(60, i));
    await until(scene.net, () => scene.received.length === 5);
    const { traffic } = scene.vif;
    await front.device.switchState(6);
    await front.device.waitForOtherEnd([6]);
    expect(traffic.rx.dropped).toEqual({ disconnected: 5 });
  });
});
