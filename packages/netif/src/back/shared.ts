/** What a backend takes hold of when its frontend has published: the mapped rings, the event channel. */
import { BackRing, FrontRing, grantRef, port } from '@ringside/gnttab-core';
import type { DomId, EventPort, ForeignMapping, Guest } from '@ringside/gnttab-core';
import type { KeyValues } from '@ringside/xenstore-lite';
import type { frontendKeys } from '../keys.ts';
import type { Link, PacketReceiver, PacketSender } from '../link.ts';
import type { PacketPool } from '../memory/local-packet.ts';
import { netifRxLayout, netifTxLayout } from '../rings.ts';
import { flipBuffers } from '../rx/buffers.ts';
import { CopyDelivery, FlipDelivery } from '../rx/delivery.ts';
import { RxReceiver } from '../rx/receiver.ts';
import { RxSender } from '../rx/sender.ts';
import { TxReceiver } from '../tx/receiver.ts';
import type { VifTraffic } from '../vif.ts';

export class SharedByBack {
  readonly link: Link;
  readonly receiver: PacketReceiver;
  readonly sender: PacketSender;
  readonly #mappings: ForeignMapping[] = [];
  #port: EventPort | undefined;

  /** Throws GrantError or EventChannelError if what the frontend published cannot be used; nothing is held then. */
  constructor(
    guest: Guest,
    peer: DomId,
    packets: PacketPool,
    keys: KeyValues<typeof frontendKeys>,
    traffic: VifTraffic,
  ) {
    const map = (ref: number): number => {
      const mapping = guest.mappings.map(peer, grantRef(ref));
      this.#mappings.push(mapping);
      return mapping.va;
    };
    try {
      const { memory } = guest;
      const txVa = map(keys['tx-ring-ref']);
      const rxVa = map(keys['rx-ring-ref']);
      const flipRef = keys['tx-flip-ring-ref'];
      const flipVa = flipRef === undefined ? undefined : map(flipRef);
      this.#port = guest.events.bindInterdomain(peer, port(keys['event-channel']));
      const link = { guest, peer, port: this.#port, packets };
      this.link = link;
      this.receiver =
        flipVa === undefined
          ? new TxReceiver(link, BackRing.attach(memory, txVa, netifTxLayout), traffic.tx)
          : new RxReceiver(
              link,
              FrontRing.create(memory, flipVa, netifRxLayout),
              flipBuffers(link),
              traffic.tx,
            );
      this.sender = new RxSender(
        link,
        BackRing.attach(memory, rxVa, netifRxLayout),
        keys['request-rx-copy'] ? new CopyDelivery(link) : new FlipDelivery(link),
        traffic.rx,
      );
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** Unmaps the rings and closes the event channel. */
  release(): void {
    this.#port?.close();
    for (const mapping of this.#mappings) mapping.unmap();
  }
}
