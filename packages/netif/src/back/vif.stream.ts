/** One vif of a backend: walks through the xenbus states with its frontend, and moves packets while connected. */
import { domId } from '@ringside/gnttab-core';
import type { Guest } from '@ringside/gnttab-core';
import { backendActions, XenbusBackend, XenbusStateError } from '@ringside/xenstore-lite';
import type {
  BackendAction,
  KeyValues,
  XenbusState,
  XenStoreClient,
} from '@ringside/xenstore-lite';
import {
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
  XenbusStateInitWait,
} from '@ringside/xenstore-lite/abi';
import { combineLatest, concatMap } from 'rxjs';
import type { Subscription } from 'rxjs';
import { backendKeys, frontendKeys } from '../keys.ts';
import { NET_TRACE } from '../trace.ts';
import { newVifTraffic } from '../vif.ts';
import type { Modes, VifTraffic } from '../vif.ts';
import { BackDataPath } from './data-path.ts';
import { SharedByBack } from './shared.ts';
import type { VifBridge } from './vif-bridge.ts';

/** What a backend offers; all of it unless said otherwise. A translated driver domain cannot flip. */
export interface Offer {
  readonly rxCopy: boolean;
  readonly rxFlip: boolean;
  readonly txFlip: boolean;
}

export interface VifOptions {
  /** The driver domain. */
  readonly guest: Guest;
  readonly store: XenStoreClient;
  readonly bridge: VifBridge;
  readonly offer: Offer;
  /** Slots that may wait for a guest. */
  readonly limitSlots: number;
  /** How long a full queue holds senders back. */
  readonly stallNs: number;
}

export class BackVif {
  /** `backend/vif/GUEST/HANDLE`. */
  readonly path: string;
  readonly traffic: VifTraffic;
  readonly #options: VifOptions;
  readonly #device: XenbusBackend;
  readonly #states: Subscription;
  #connection: { shared: SharedByBack; path: BackDataPath; modes: Modes } | undefined;
  #fault: string | undefined;

  /** Opens the device and begins. Rejects with XenbusKeyError if the toolstack's keys make no sense. */
  static async open(options: VifOptions, path: string): Promise<BackVif> {
    return new BackVif(options, await XenbusBackend.open(options.store, path));
  }

  private constructor(options: VifOptions, device: XenbusBackend) {
    this.path = device.path;
    this.#options = options;
    this.#device = device;
    this.traffic = newVifTraffic(
      options.guest,
      { front: device.otherEnd.domid, handle: Number(device.path.split('/').at(-1)) },
      { tx: NET_TRACE.backTook, rx: NET_TRACE.backDelivered },
    );
    this.#states = combineLatest([device.state$, device.otherEndState$])
      .pipe(concatMap(([own, other]) => this.#step(own, other)))
      .subscribe({ error: (error: unknown) => this.#note(error) });
  }

  /** The modes of the connection, if there is one. */
  get modes(): Modes | undefined {
    return this.#connection?.modes;
  }

  /** What the guest did that no honest one does; its vif is dead until it reconnects. */
  get fault(): string | undefined {
    return this.#fault;
  }

  /** True while the guest does not read and loses packets for it. */
  get stalled(): boolean {
    return this.#connection?.path.stalled ?? false;
  }

  /** Lets go of everything at once, whatever the frontend does. */
  async close(): Promise<void> {
    this.#states.unsubscribe();
    this.#disconnect();
    await this.#go(XenbusStateClosing);
    await this.#go(XenbusStateClosed);
  }

  async #step(own: XenbusState, other: XenbusState): Promise<void> {
    // The toolstack unplugs a device by writing Closing.
    if (own === XenbusStateClosing) this.#connection?.path.stop();
    try {
      await this.#actions[backendActions[own][other]]();
    } catch (error) {
      await this.#fail(error);
    }
  }

  readonly #actions: Readonly<Record<BackendAction, () => Promise<void> | void>> = {
    wait: () => {},
    offer: async () => {
      const { rxCopy, rxFlip, txFlip } = this.#options.offer;
      this.#fault = undefined;
      await this.#device.writeOwn(backendKeys, {
        'feature-rx-copy': rxCopy,
        'feature-rx-flip': rxFlip,
        'feature-tx-flip': txFlip,
        'feature-sg': true,
        'feature-no-csum-offload': true,
      });
      await this.#go(XenbusStateInitWait);
    },
    connect: async () => {
      if (!this.#connection) this.#connect(await this.#device.readOtherEnd(frontendKeys));
      await this.#go(XenbusStateConnected);
    },
    close: async () => {
      this.#connection?.path.stop();
      await this.#go(XenbusStateClosing);
    },
    disconnect: async () => {
      this.#disconnect();
      await this.#go(XenbusStateClosed);
    },
  };

  #connect(keys: KeyValues<typeof frontendKeys>): void {
    const { guest, bridge, offer, limitSlots, stallNs } = this.#options;
    checkAgainst(offer, keys);
    const peer = domId(this.#device.otherEnd.domid);
    const shared = new SharedByBack(guest, peer, bridge.packets, keys, this.traffic);
    const path = new BackDataPath({
      link: shared.link,
      bridge,
      receiver: shared.receiver,
      sender: shared.sender,
      fromGuest: this.traffic.tx,
      toGuest: this.traffic.rx,
      scatterGather: keys['feature-sg'],
      limitSlots,
      stallNs,
      onBroken: (reason) => void this.#fail(reason),
    });
    const modes: Modes = {
      rx: keys['request-rx-copy'] ? 'copy' : 'flip',
      tx: keys['tx-flip-ring-ref'] === undefined ? 'copy' : 'flip',
    };
    this.#connection = { shared, path, modes };
  }

  #disconnect(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.path.close();
    connection?.shared.release();
  }

  async #fail(error: unknown): Promise<void> {
    this.#fault = error instanceof Error ? error.message : String(error);
    this.#note(this.#fault);
    await this.#device.fatal(this.#fault).catch((failed: unknown) => this.#note(failed));
  }

  #note(error: unknown): void {
    const { machine, id } = this.#options.guest;
    machine.log.warn({ domain: id, device: this.path }, `netback: ${String(error)}`);
  }

  /** Goes to a state, if the device is still there and the step makes sense. */
  async #go(state: XenbusState): Promise<void> {
    await this.#device.switchState(state).catch((error: unknown) => {
      if (!(error instanceof XenbusStateError)) throw error;
    });
  }
}

/** Throws if the frontend wants what was not offered, or lacks what is required. */
function checkAgainst(
  { rxCopy, rxFlip, txFlip }: Offer,
  keys: KeyValues<typeof frontendKeys>,
): void {
  if (!keys['feature-rx-notify']) throw new Error('the frontend lacks feature-rx-notify');
  if (keys['request-rx-copy'] ? !rxCopy : !rxFlip) {
    throw new Error(`request-rx-copy is ${Number(keys['request-rx-copy'])}, which was not offered`);
  }
  if (keys['tx-flip-ring-ref'] !== undefined && !txFlip) {
    throw new Error('tx-flip-ring-ref is there, and feature-tx-flip was not offered');
  }
}
