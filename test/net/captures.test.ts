/** Both captures cross in every combination of modes: every frame once, in order, byte for byte, and nothing is left behind. */
import { describe, expect, test } from 'vitest';
import { captured, collect, network, resources, rig, until } from './rig.ts';

const hub = { netback: { ageingNs: 0 } };

describe.each(['lan-mtu1500', 'lan-gso'] as const)('%s', (name) => {
  describe.each([undefined, 7])('seed %s', (seed) => {
    test.each([
      { rx: 'flip', tx: 'flip' },
      { rx: 'flip', tx: 'copy' },
      { rx: 'copy', tx: 'flip' },
      { rx: 'copy', tx: 'copy' },
    ] as const)('rx by $rx, tx by $tx', async (modes) => {
      const baseline = resources(await rig({ seed }));
      const net = await network(modes, { seed, ...hub });
      const [from, to] = net.fronts;
      expect([from.modes, to.modes]).toEqual([modes, modes]);
      const frames = captured(name);
      const received = collect(to);

      expect(await from.sendAll(frames)).toEqual({ sent: frames.length, refused: [] });
      await until(net, () => received.length >= frames.length);

      expect(received.length).toBe(frames.length);
      received.forEach((bytes, i) => expect(Buffer.compare(bytes, frames[i]!)).toBe(0));
      const bytes = frames.reduce((sum, { length }) => sum + length, 0);
      expect(from.stats().tx).toMatchObject({ frames: frames.length, bytes, dropped: {} });
      expect(to.stats().rx).toMatchObject({ frames: frames.length, bytes, dropped: {} });

      for (const front of net.fronts) await front.close();
      await net.netback.close();
      expect(resources(net)).toEqual(baseline);
    });
  });
});
