/** One end of a device: what frontend and backend have in common. They meet in the store and nowhere else. */
import { DOMID_FIRST_RESERVED } from '@ringside/gnttab-core/abi';
import { concatMap, distinctUntilChanged, filter, firstValueFrom, shareReplay } from 'rxjs';
import type { Observable } from 'rxjs';
import type { XenStoreClient } from '../client/client.stream.ts';
import { isXenStoreError } from '../client/errors.ts';
import { XenbusStateClosing, XenbusStateUnknown } from './abi.ts';
import type { XenbusState } from './abi.ts';
import { XenbusStateError } from './errors.ts';
import { keyTable, readKeys, writeKeys } from './keys.ts';
import type { KeyTable, KeyValues } from './keys.ts';
import { parseXenbusState, xenbusStateName } from './state.ts';

/** Where the other end is. */
export interface OtherEnd {
  readonly path: string;
  readonly domid: number;
}

/** Reads where the other end is; `side` is what it is called in our directory. */
export async function readOtherEnd(
  client: XenStoreClient,
  path: string,
  side: 'frontend' | 'backend',
): Promise<OtherEnd> {
  const table = keyTable({
    [side]: {
      type: 'string',
      pattern: /^\/[-/_@A-Za-z0-9]+$/,
      writer: 'toolstack',
      docs: "The other end's directory.",
    },
    [`${side}-id`]: {
      type: 'uint',
      max: DOMID_FIRST_RESERVED - 1,
      writer: 'toolstack',
      docs: "The other end's domain.",
    },
  } as const satisfies KeyTable);
  const keys: Record<string, unknown> = await client.transaction((tx) => readKeys(tx, path, table));
  return { path: String(keys[side]), domid: Number(keys[`${side}-id`]) };
}

export abstract class XenbusDevice {
  /** The connection of our domain. */
  readonly client: XenStoreClient;
  /** Our directory, as given: `device/vbd/51712`, `backend/vbd/1/51712`. */
  readonly path: string;
  readonly otherEnd: OtherEnd;
  /**
   * Our state as the store has it, now and whenever it changes (the toolstack writes it too: Closing, to unplug).
   * Unknown: the device is gone. Watches while somebody listens.
   */
  readonly state$: Observable<XenbusState>;
  /** The other end's state, now and whenever it changes. Unknown: missing, unreadable or senseless. */
  readonly otherEndState$: Observable<XenbusState>;
  protected abstract readonly transitions: Readonly<Record<XenbusState, readonly XenbusState[]>>;

  protected constructor(client: XenStoreClient, path: string, otherEnd: OtherEnd) {
    this.client = client;
    this.path = path;
    this.otherEnd = otherEnd;
    this.state$ = watchState(client, path);
    this.otherEndState$ = watchState(client, otherEnd.path);
  }

  /**
   * Tells the other end where we are. Going where we are already is nothing. Throws XenbusStateError for a step that the
   * state machine does not have, and for a device that was removed (its state is not written back into life).
   */
  async switchState(next: XenbusState): Promise<void> {
    await this.client.transaction(async (tx) => {
      const text = await tx.readIfExists(`${this.path}/state`);
      if (text === undefined) {
        throw new XenbusStateError(
          `xenbus: ${this.path} was removed, cannot go to ${xenbusStateName(next)}`,
        );
      }
      const current = parseXenbusState(text);
      if (current === next) return;
      const allowed = this.transitions[current];
      if (!allowed.includes(next)) {
        const names = allowed.map(xenbusStateName).join(', ');
        throw new XenbusStateError(
          `xenbus: ${this.path} cannot go from ${xenbusStateName(current)} to ${xenbusStateName(next)}, allowed is ${names}`,
        );
      }
      await tx.write(`${this.path}/state`, String(next));
    });
  }

  /** Resolves with the other end's state as soon as it is one of `states`; at once if it is already. */
  waitForOtherEnd(states: readonly XenbusState[]): Promise<XenbusState> {
    return firstValueFrom(this.otherEndState$.pipe(filter((state) => states.includes(state))));
  }

  /** Reads keys that the other end wrote, all at one moment. Throws XenbusKeyError for a value that is not allowed. */
  readOtherEnd<const T extends KeyTable>(table: T): Promise<KeyValues<T>> {
    return this.client.transaction((tx) => readKeys(tx, this.otherEnd.path, table));
  }

  /** Reads keys of our own directory (what the toolstack wrote there), all at one moment. */
  readOwn<const T extends KeyTable>(table: T): Promise<KeyValues<T>> {
    return this.client.transaction((tx) => readKeys(tx, this.path, table));
  }

  /** Writes keys for the other end into our directory, all at once. Before `switchState`, which tells it to look. */
  async writeOwn<const T extends KeyTable>(
    table: T,
    values: Parameters<typeof writeKeys<T>>[3],
  ): Promise<void> {
    await this.client.transaction((tx) => writeKeys(tx, this.path, table, values));
  }

  /**
   * Gives up: writes what is wrong to `error/PATH/error` in our home, where the toolstack looks for it, and goes to
   * Closing. `errno` is what Linux would say, EIO unless given.
   */
  async fatal(error: unknown, { errno = 5 }: { errno?: number } = {}): Promise<void> {
    const text = error instanceof Error ? error.message : String(error);
    await this.client.write(`error/${this.path}/error`, `${errno} ${text}`);
    try {
      await this.switchState(XenbusStateClosing);
    } catch (refused) {
      // Closing or gone already: nothing is left to be told.
      if (!(refused instanceof XenbusStateError)) throw refused;
    }
  }
}

/** The value of a `state` node, now and at each change. */
const watchState = (client: XenStoreClient, devicePath: string): Observable<XenbusState> =>
  client.watch$(`${devicePath}/state`).pipe(
    concatMap(() => readState(client, devicePath)),
    distinctUntilChanged(),
    shareReplay({ bufferSize: 1, refCount: true }),
  );

async function readState(client: XenStoreClient, devicePath: string): Promise<XenbusState> {
  try {
    return parseXenbusState(await client.readIfExists(`${devicePath}/state`));
  } catch (error) {
    // With a directory that was removed went the right to see that it is not there.
    if (isXenStoreError(error, 'EACCES')) return XenbusStateUnknown;
    throw error;
  }
}
