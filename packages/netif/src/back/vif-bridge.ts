/** The driver domain's bridge: a learning bridge, and the pages that the packets on it lie in. */
import type { Guest } from '@ringside/gnttab-core';
import { Bridge } from '../bridge.ts';
import { FramePool } from '../memory/frame-pool.ts';
import { PacketPool } from '../memory/local-packet.ts';
import type { LocalPacket } from '../memory/local-packet.ts';

export interface VifBridgeOptions {
  /**
   * How long an address stays known without being seen; default 300 s. 0 makes the bridge a hub, which is what a
   * recorded conversation needs when one guest plays both of its sides.
   */
  readonly ageingNs?: number | undefined;
}

export class VifBridge extends Bridge<LocalPacket> {
  readonly packets: PacketPool;

  constructor({ memory, machine }: Guest, { ageingNs }: VifBridgeOptions = {}) {
    const packets = new PacketPool(new FramePool(memory));
    super({
      nowNs: () => machine.clock.nowNs(),
      clone: (packet) => packets.clone(packet),
      release: (packet) => packets.release(packet),
      ...(ageingNs === undefined ? {} : { ageingNs }),
    });
    this.packets = packets;
  }

  /** Gives the pages back to the domain. Its ports must have left. */
  close(): void {
    this.packets.frames.close();
  }
}
