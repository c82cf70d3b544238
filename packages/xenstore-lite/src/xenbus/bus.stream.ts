/** Which devices there are: the part of the kernel's xenbus that finds work for the drivers. */
import { concatMap, from, Observable } from 'rxjs';
import type { XenStoreClient } from '../client/client.stream.ts';
import { isXenStoreError } from '../client/errors.ts';
import { childOf } from '../store/path.ts';

/** A device directory that appeared in, or went from, the client's home. */
export interface DeviceEvent {
  readonly kind: 'added' | 'removed';
  /** `device/vbd/51712` or `backend/vbd/1/51712`. */
  readonly path: string;
}

/** The frontends of a type, `device/TYPE/ID`: those that are there, then those that come and go. */
export const frontendDevices$ = (client: XenStoreClient, type: string): Observable<DeviceEvent> =>
  devices$(client, `device/${type}`, 1);

/** The backends of a type, `backend/TYPE/GUEST/ID`: those that are there, then those that come and go. */
export const backendDevices$ = (client: XenStoreClient, type: string): Observable<DeviceEvent> =>
  devices$(client, `backend/${type}`, 2);

/** Devices that lie `levels` below a directory. A device is there while it has a `state`. */
function devices$(
  client: XenStoreClient,
  directory: string,
  levels: number,
): Observable<DeviceEvent> {
  return new Observable((subscriber) => {
    const known = new Set<string>();
    return client
      .watch$(directory)
      .pipe(concatMap((changed) => from(changesAt(client, directory, levels, known, changed))))
      .subscribe({
        next: (events) => events.forEach((event) => subscriber.next(event)),
        error: (error) => subscriber.error(error),
      });
  });
}

/** What a change at `changed` says about devices; keeps `known` up to date. */
async function changesAt(
  client: XenStoreClient,
  directory: string,
  levels: number,
  known: Set<string>,
  changed: string,
): Promise<DeviceEvent[]> {
  const below = changed
    .slice(directory.length + 1)
    .split('/')
    .filter((name) => name !== '');
  if (below.length >= levels) {
    const path = [directory, ...below.slice(0, levels)].join('/');
    // The keys of a known device change all the time; only its directory or its state can go.
    const isKey = below.length > levels && below[levels] !== 'state';
    return isKey && known.has(path) ? [] : settle(client, known, [path]);
  }
  return settle(client, known, [...known, ...(await list(client, directory, levels))]);
}

/** Looks which of `paths` are there and answers what is new about them. */
async function settle(
  client: XenStoreClient,
  known: Set<string>,
  paths: readonly string[],
): Promise<DeviceEvent[]> {
  const events: DeviceEvent[] = [];
  for (const path of new Set(paths)) {
    const isThere = await orMissing(client.exists(`${path}/state`), false);
    if (isThere === known.has(path)) continue;
    if (isThere) known.add(path);
    else known.delete(path);
    events.push({ kind: isThere ? 'added' : 'removed', path });
  }
  return events;
}

/** The directories `levels` below one. */
async function list(client: XenStoreClient, directory: string, levels: number): Promise<string[]> {
  let paths = [directory];
  for (let level = 0; level < levels; level++) {
    const names = await Promise.all(paths.map((path) => orMissing(client.directory(path), [])));
    paths = paths.flatMap((path, i) => names[i]!.map((name) => childOf(path, name)));
  }
  return paths;
}

/** A node that is gone, or was removed together with the right to look for it, counts as `missing`. */
async function orMissing<T>(reading: Promise<T>, missing: T): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    if (isXenStoreError(error, 'ENOENT') || isXenStoreError(error, 'EACCES')) return missing;
    throw error;
  }
}
