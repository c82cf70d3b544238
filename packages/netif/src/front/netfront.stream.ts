/** netfront: a guest's end of a vif. It finds its backend through the store alone. */
import { domId } from '@ringside/gnttab-core';
import type { Guest } from '@ringside/gnttab-core';
import { XenbusFrontend, XenbusStateError } from '@ringside/xenstore-lite';
import type { KeyValues, XenbusState, XenStoreClient } from '@ringside/xenstore-lite';
import {
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
  XenbusStateInitialising,
  XenbusStateInitWait,
  XenbusStateUnknown,
} from '@ringside/xenstore-lite/abi';
import { filter, firstValueFrom, map, Subject } from 'rxjs';
import type { Observable, Subscription } from 'rxjs';
import { backendKeys, deviceKeys, frontendKeys } from '../keys.ts';
import { NET_TRACE } from '../trace.ts';
import { canFlip, newVifTraffic } from '../vif.ts';
import type { Mode, Modes, VifTraffic } from '../vif.ts';
import { within } from '../work.ts';
import { FrontDataPath } from './data-path.ts';
import type { RefusedFrame, SendOutcome } from './data-path.ts';
import { SharedByFront } from './shared.ts';

export interface NetfrontOptions {
  readonly guest: Guest;
  /** The guest's connection to the store. */
  readonly store: XenStoreClient;
  /** Number of the vif: `device/vif/HANDLE`. */
  readonly handle: number;
  /** How to receive and send; default: flip where both ends can, else copy. Asking for what cannot be is an error. */
  readonly rx?: Mode | undefined;
  readonly tx?: Mode | undefined;
  /**
   * Whether the frames of `packets$` are the subscriber's to keep (default). With false they are good until the
   * emission ends, and large frames arrive up to twice as fast, because no memory is allocated for them.
   */
  readonly keepFrames?: boolean;
  /** How long `close` waits for the backend, in nanoseconds of the machine's clock; default 1 s. */
  readonly closeNs?: number;
}

/** The vif cannot be connected, or is not any more. */
export class NetfrontError extends Error {
  override readonly name = 'NetfrontError';
}

export interface NetfrontStats extends VifTraffic {
  /** Frames that `send` refused, by reason. */
  readonly refused: Readonly<Partial<Record<RefusedFrame['reason'], number>>>;
  /** Slots on their way to the backend. */
  readonly inFlight: number;
}

/** What became of all the frames given to `sendAll`. */
export interface SendReport {
  readonly sent: number;
  readonly refused: readonly RefusedFrame[];
}

/**
 * Connects `device/vif/HANDLE` of the guest and resolves when the backend is connected, too.
 * Rejects with NetfrontError if the two ends cannot agree, XenbusKeyError if a key makes no sense.
 */
export async function connectNetfront(options: NetfrontOptions): Promise<Netfront> {
  const { guest, store, handle } = options;
  const device = await XenbusFrontend.open(store, `device/vif/${handle}`);
  const { mac } = await device.readOwn(deviceKeys);
  const state = await firstValueFrom(device.state$);
  if (state === XenbusStateClosed) await device.switchState(XenbusStateInitialising);
  await device.waitForOtherEnd([XenbusStateInitWait]);
  const offer = await device.readOtherEnd(backendKeys);
  const modes = chooseModes(options, offer);
  const traffic = newVifTraffic(
    guest,
    { front: guest.id, handle },
    { tx: NET_TRACE.frontSent, rx: NET_TRACE.frontReceived },
  );
  const shared = new SharedByFront(guest, domId(device.otherEnd.domid), modes, traffic);
  try {
    await device.writeOwn(frontendKeys, {
      ...shared.published,
      'request-rx-copy': modes.rx === 'copy',
      'feature-rx-notify': true,
      'feature-sg': true,
      'feature-no-csum-offload': true,
    });
    await device.switchState(XenbusStateConnected);
    const answer = await device.waitForOtherEnd([
      XenbusStateConnected,
      XenbusStateClosing,
      XenbusStateClosed,
      XenbusStateUnknown,
    ]);
    if (answer !== XenbusStateConnected) {
      await device.switchState(XenbusStateClosed);
      throw new NetfrontError(`vif ${handle} of domain ${guest.id}: the backend does not connect`);
    }
  } catch (error) {
    shared.close();
    throw error;
  }
  return new Netfront(options, device, shared, {
    mac,
    modes,
    traffic,
    scatterGather: offer['feature-sg'],
  });
}

function chooseModes(
  { guest, handle, rx, tx }: NetfrontOptions,
  offer: KeyValues<typeof backendKeys>,
): Modes {
  const choose = (what: string, wanted: Mode | undefined, flip: boolean, copy: boolean): Mode => {
    const flips = flip && canFlip(guest);
    const mode = wanted ?? (flips ? 'flip' : 'copy');
    if (mode === 'flip' ? flips : copy) return mode;
    const possible = [flips && 'flip', copy && 'copy'].filter(Boolean).join(' or ') || 'nothing';
    throw new NetfrontError(
      `vif ${handle} of domain ${guest.id}: cannot ${what} by ${mode}, possible is ${possible}`,
    );
  };
  return {
    rx: choose('receive', rx, offer['feature-rx-flip'], offer['feature-rx-copy']),
    tx: choose('send', tx, offer['feature-tx-flip'], true),
  };
}

interface NetfrontParts {
  readonly mac: string;
  readonly modes: Modes;
  readonly traffic: VifTraffic;
  readonly scatterGather: boolean;
}

/** A connected vif. */
export class Netfront {
  /** Address of the vif, as the toolstack wrote it. */
  readonly mac: string;
  readonly modes: Modes;
  /** Received frames, batch by batch, copies in order (see `keepFrames`). Completes when the connection ends. */
  readonly packets$: Observable<readonly Uint8Array[]>;
  /** The counts, after every piece of work. Completes when the connection ends. */
  readonly stats$: Observable<NetfrontStats>;
  /** Resolves when the connection has ended: why, or undefined after `close`. */
  readonly closed: Promise<string | undefined>;
  readonly #options: NetfrontOptions;
  readonly #device: XenbusFrontend;
  readonly #shared: SharedByFront;
  readonly #traffic: VifTraffic;
  readonly #path: FrontDataPath;
  readonly #packets = new Subject<readonly Uint8Array[]>();
  readonly #work = new Subject<void>();
  readonly #backend: Subscription;
  #closing: Promise<void> | undefined;
  #deferredPages = 0;
  #end!: (reason: string | undefined) => void;

  constructor(
    options: NetfrontOptions,
    device: XenbusFrontend,
    shared: SharedByFront,
    { mac, modes, traffic, scatterGather }: NetfrontParts,
  ) {
    this.mac = mac;
    this.modes = modes;
    this.#options = options;
    this.#device = device;
    this.#shared = shared;
    this.#traffic = traffic;
    this.packets$ = this.#packets.asObservable();
    this.stats$ = this.#work.pipe(map(() => this.stats()));
    this.closed = new Promise((resolve) => (this.#end = resolve));
    this.#path = new FrontDataPath({
      link: shared.link,
      sender: shared.sender,
      receiver: shared.receiver,
      scatterGather,
      keepFrames: options.keepFrames ?? true,
      onFrames: (frames) => this.#packets.next(frames),
      onWork: () => this.#work.next(),
      onBroken: (reason) => {
        const { machine, id } = options.guest;
        machine.log.warn({ domain: id, device: device.path }, `netfront: ${reason}`);
        void this.#finish(reason);
      },
    });
    this.#backend = device.otherEndState$
      .pipe(filter((state) => state !== XenbusStateConnected))
      .subscribe(() => void this.#finish('the backend closed the connection'));
  }

  /**
   * Takes a copy of a frame (without its frame check sequence) to send. `full`: wait for `room` and offer it again. A
   * frame that can never be sent is refused with its number and size, and counted.
   */
  send(frame: Uint8Array): SendOutcome {
    return this.#path.send(frame);
  }

  /** Resolves when it is worth offering a frame again; at once unless `send` said `full`. */
  room(): Promise<void> {
    return this.#path.room();
  }

  /** Hands what was sent to the backend now, rather than soon. */
  flush(): void {
    this.#path.flush();
  }

  /** Sends frames one after the other, waiting for room as needed. */
  async sendAll(frames: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<SendReport> {
    const report = { sent: 0, refused: [] as RefusedFrame[] };
    const take = async (frame: Uint8Array, first: SendOutcome): Promise<void> => {
      let outcome = first;
      while (outcome === 'full') {
        await this.room();
        outcome = this.send(frame);
      }
      if (outcome === 'sent') report.sent++;
      else report.refused.push(outcome);
    };
    if (Symbol.asyncIterator in frames) {
      for await (const frame of frames) await take(frame, this.send(frame));
    } else {
      // Nothing is awaited while there is room, so that a whole ring leaves as one batch.
      for (const frame of frames) {
        const outcome = this.send(frame);
        if (outcome === 'sent') report.sent++;
        else await take(frame, outcome);
      }
    }
    this.flush();
    return report;
  }

  /** The counts as they stand; the objects go on counting. */
  stats(): NetfrontStats {
    const { refused } = this.#path;
    return { ...this.#traffic, refused, inFlight: this.#shared.sender.inFlight };
  }

  /** After the end: pages that the backend did not let go of, and which stay allocated therefore. */
  get deferredPages(): number {
    return this.#deferredPages;
  }

  /**
   * Ends the connection: lets the backend take what was sent, agrees with it on the end, and gives everything back to
   * the guest. Waits no longer than `closeNs` at each step, whatever the backend does.
   */
  async close(): Promise<void> {
    this.#closing ??= this.#disconnect(undefined);
    await this.#closing;
  }

  #finish(reason: string): Promise<void> {
    this.#closing ??= this.#disconnect(reason);
    return this.#closing;
  }

  async #disconnect(reason: string | undefined): Promise<void> {
    const { guest, closeNs = 1e9 } = this.#options;
    const { scheduler } = guest.machine;
    const device = this.#device;
    if (reason === undefined) {
      this.#path.flush();
      await within(scheduler, closeNs, this.#path.idle());
    }
    this.#path.stop(reason ?? 'closed');
    this.#backend.unsubscribe();
    const gone = [XenbusStateClosed, XenbusStateUnknown] as const;
    await this.#tell(XenbusStateClosing);
    await within(scheduler, closeNs, device.waitForOtherEnd([...gone, XenbusStateClosing]));
    await this.#tell(XenbusStateClosed);
    await within(scheduler, closeNs, device.waitForOtherEnd([...gone, XenbusStateInitWait]));
    if (guest.domain.alive) {
      this.#path.drain();
      this.#deferredPages = this.#shared.close();
    }
    this.#packets.complete();
    this.#work.complete();
    this.#end(reason);
  }

  /** Goes to a state. Whatever the store says to that, the guest gets its own back. */
  async #tell(state: XenbusState): Promise<void> {
    await this.#device.switchState(state).catch((error: unknown) => {
      // The toolstack may have removed the device: then there is nobody to tell.
      if (error instanceof XenbusStateError) return;
      const { machine, id } = this.#options.guest;
      machine.log.warn({ domain: id, device: this.#device.path }, `netfront: ${String(error)}`);
    });
  }
}
