/** netback: serves every vif that the toolstack puts under `backend/vif` of its domain, and joins them by a bridge. */
import type { Guest } from '@ringside/gnttab-core';
import { backendDevices$ } from '@ringside/xenstore-lite';
import type { DeviceEvent, XenStoreClient } from '@ringside/xenstore-lite';
import { concatMap } from 'rxjs';
import type { Subscription } from 'rxjs';
import { canFlip } from '../vif.ts';
import { BackVif } from './vif.stream.ts';
import type { Offer, VifOptions } from './vif.stream.ts';
import { VifBridge } from './vif-bridge.ts';
import type { VifBridgeOptions } from './vif-bridge.ts';

export interface NetbackOptions extends VifBridgeOptions {
  /** The driver domain. */
  readonly guest: Guest;
  /** Its connection to the store. */
  readonly store: XenStoreClient;
  /** What is offered to frontends; default: everything the domain can do. */
  readonly offer?: Partial<Offer>;
  /** Slots that may wait for a guest; default 512. One page of the driver domain each. */
  readonly limitSlots?: number;
  /** How long a full queue holds senders back before its guest counts as stalled; default 1 s. */
  readonly stallNs?: number;
}

/** Begins to serve. */
export const startNetback = (options: NetbackOptions): Netback => new Netback(options);

export class Netback {
  readonly bridge: VifBridge;
  readonly #vifOptions: VifOptions;
  readonly #vifs = new Map<string, BackVif>();
  readonly #devices: Subscription;

  constructor(options: NetbackOptions) {
    const { guest, store, offer, limitSlots = 512, stallNs = 1e9 } = options;
    const flip = canFlip(guest);
    this.bridge = new VifBridge(guest, options);
    this.#vifOptions = {
      guest,
      store,
      bridge: this.bridge,
      offer: {
        rxCopy: offer?.rxCopy ?? true,
        rxFlip: flip && (offer?.rxFlip ?? true),
        txFlip: flip && (offer?.txFlip ?? true),
      },
      limitSlots,
      stallNs,
    };
    this.#devices = backendDevices$(store, 'vif')
      .pipe(concatMap((event) => this.#device(event)))
      .subscribe({ error: (error: unknown) => this.#note('backend/vif', error) });
  }

  /** The vifs that are served, by path (`backend/vif/GUEST/HANDLE`). */
  get vifs(): ReadonlyMap<string, BackVif> {
    return this.#vifs;
  }

  /** Lets go of every vif, and gives the pages back to the domain. */
  async close(): Promise<void> {
    this.#devices.unsubscribe();
    for (const vif of this.#vifs.values()) await vif.close();
    this.#vifs.clear();
    this.bridge.close();
  }

  async #device({ kind, path }: DeviceEvent): Promise<void> {
    try {
      if (kind === 'added') this.#vifs.set(path, await BackVif.open(this.#vifOptions, path));
      else await this.#vifs.get(path)?.close();
      if (kind === 'removed') this.#vifs.delete(path);
    } catch (error) {
      this.#note(path, error);
    }
  }

  #note(device: string, error: unknown): void {
    const { machine, id } = this.#vifOptions.guest;
    machine.log.warn({ domain: id, device }, `netback: ${String(error)}`);
  }
}
