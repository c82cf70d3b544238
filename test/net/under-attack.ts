/** A rig in which one guest attacks the backend, and another one's vifs have to go on as if nothing was. */
import { afterEach, beforeEach, expect } from 'vitest';
import {
  connectNetfront,
  startNetback,
  type BackVif,
  type Netback,
  type Netfront,
} from '@ringside/netif';
import { rawFront, type RawFront } from './raw.ts';
import { attach, collect, frame, resources, rig, until, type Rig } from './rig.ts';

export interface UnderAttack {
  net: Rig;
  netback: Netback;
  /** Two vifs of an honest guest. */
  honest: [Netfront, Netfront];
  /** What the second of them received. */
  received: Uint8Array[];
  /** The vif of the attacker, as the backend has it. */
  readonly vif: BackVif;
  /** Connects the attacker. */
  attacker(options?: Parameters<typeof rawFront>[2]): Promise<RawFront>;
}

/**
 * Sets up a rig before each test of the file. After each test the honest vifs still work, and when they are closed
 * nothing is left of any vif.
 */
export function underAttack(): UnderAttack {
  let baseline: ReturnType<typeof resources>;
  const state = {
    get vif() {
      const { netback, net } = state;
      return netback.vifs.get(`backend/vif/${net.guests[0].guest.id}/0`)!;
    },
    attacker: (options) => rawFront(state.net, state.net.guests[0], options),
  } as UnderAttack;

  beforeEach(async () => {
    const net = await rig({ seed: 1 });
    baseline = resources(net);
    state.net = net;
    state.netback = startNetback({ ...net.driver, limitSlots: 32, stallNs: 1e8 });
    const member = net.guests[1];
    const connect = async (handle: number) => {
      await attach(net, member, handle);
      return connectNetfront({ ...member, handle });
    };
    state.honest = [await connect(0), await connect(1)];
    state.received = collect(state.honest[1]);
  });

  afterEach(() => nothingElseIsLost(state, baseline));
  return state;
}

async function nothingElseIsLost(
  { net, netback, honest, received }: UnderAttack,
  baseline: ReturnType<typeof resources>,
): Promise<void> {
  const probe = frame(3000, 99);
  received.length = 0;
  expect(honest[0].send(probe)).toBe('sent');
  await until(net, () => received.length > 0);
  expect(received).toEqual([probe]);
  for (const front of honest) await front.close();
  await netback.close();
  expect(resources(net)[0]).toEqual(baseline[0]);
  expect(resources(net)[2]).toEqual(baseline[2]);
}
