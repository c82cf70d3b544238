/** What a frontend shares with its backend, from the offer to the end: ring pages, an event channel, packet pages. */
import { BackRing, FrontRing } from '@ringside/gnttab-core';
import type { DomId, EventPort, Guest } from '@ringside/gnttab-core';
import type { Link, PacketReceiver, PacketSender } from '../link.ts';
import { FramePool } from '../memory/frame-pool.ts';
import { PacketPool } from '../memory/local-packet.ts';
import { netifRxLayout, netifTxLayout } from '../rings.ts';
import { copyBuffers, flipBuffers } from '../rx/buffers.ts';
import { FlipDelivery } from '../rx/delivery.ts';
import { RxReceiver } from '../rx/receiver.ts';
import { RxSender } from '../rx/sender.ts';
import { TxSender } from '../tx/sender.ts';
import { RingPage } from '../vif.ts';
import type { Modes, VifTraffic } from '../vif.ts';

export class SharedByFront {
  readonly link: Link;
  readonly sender: PacketSender;
  readonly receiver: PacketReceiver;
  /** Values of the frontend's keys. */
  readonly published: {
    readonly 'tx-ring-ref': number;
    readonly 'rx-ring-ref': number;
    readonly 'event-channel': number;
    readonly 'tx-flip-ring-ref': number | undefined;
  };
  readonly #pages: RingPage[] = [];
  readonly #frames: FramePool;
  readonly #port: EventPort;

  /** Throws GrantError, GuestMemoryError or EventChannelError if the guest runs out of something. */
  constructor(guest: Guest, peer: DomId, modes: Modes, traffic: VifTraffic) {
    this.#frames = new FramePool(guest.memory);
    this.#port = guest.events.allocUnbound(peer);
    const ringPage = (): RingPage => {
      const page = new RingPage(guest, peer);
      this.#pages.push(page);
      return page;
    };
    const link = { guest, peer, port: this.#port, packets: new PacketPool(this.#frames) };
    this.link = link;
    let sender: PacketSender | undefined;
    try {
      const [tx, rx] = [ringPage(), ringPage()];
      const flip = modes.tx === 'flip' ? ringPage() : undefined;
      const txRing = FrontRing.create(guest.memory, tx.va, netifTxLayout);
      const rxRing = FrontRing.create(guest.memory, rx.va, netifRxLayout);
      sender = flip
        ? new RxSender(
            link,
            BackRing.attach(guest.memory, flip.va, netifRxLayout),
            new FlipDelivery(link),
            traffic.tx,
          )
        : new TxSender(link, txRing, traffic.tx);
      this.sender = sender;
      const buffers = modes.rx === 'flip' ? flipBuffers(link) : copyBuffers(link);
      this.receiver = new RxReceiver(link, rxRing, buffers, traffic.rx);
      this.published = {
        'tx-ring-ref': tx.ref,
        'rx-ring-ref': rx.ref,
        'event-channel': this.#port.port,
        'tx-flip-ring-ref': flip?.ref,
      };
    } catch (error) {
      sender?.close();
      this.#release();
      throw error;
    }
  }

  /**
   * Takes everything back; the backend should have let go. Answers how many pages it did not let go of: they stay
   * allocated, so that nothing else can come to lie in them.
   */
  close(): number {
    return this.sender.close() + this.receiver.close() + this.#release();
  }

  #release(): number {
    this.#port.close();
    this.#frames.close();
    return this.#pages.reduce((stuck, page) => stuck + page.close(), 0);
  }
}
