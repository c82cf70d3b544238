/** Who wants to hear of which changes. docs/misc/xenstore.txt, "Watches". */
import { XENSTORE_PAYLOAD_MAX } from '../wire/abi.ts';
import type { Connection } from './connection.ts';
import { depthBelow, isSpecial, parentOf, ROOT } from './path.ts';

/** One XS_WATCH_EVENT, to be sent to its connection. */
export interface WatchEvent {
  readonly connection: Connection;
  /** As the watcher named it: relative if its watch was. */
  readonly path: string;
  readonly token: string;
}

/** A registered watch. */
export interface Watch {
  readonly connection: Connection;
  /** Absolute, or special. */
  readonly path: string;
  readonly token: string;
  /** The path was given relative to the domain's home, and so are the events. */
  readonly relative: boolean;
  /** How far below the path changes are told (0: only the node itself); undefined: all the way. */
  readonly depth: number | undefined;
  /** Counts watches: of one connection, the older is told first. */
  readonly order: number;
}

export type WatchRequest = Omit<Watch, 'order'>;

const keyOf = (path: string, token: string) => `${path}\0${token}`;

export class Watches {
  readonly #byPath = new Map<string, Set<Watch>>();
  /** By connection, then by path and token. */
  readonly #byConnection = new Map<Connection, Map<string, Watch>>();
  #order = 0;

  /** How many watches there are. */
  get size(): number {
    let size = 0;
    for (const watches of this.#byConnection.values()) size += watches.size;
    return size;
  }

  /** Registers a watch and answers its first event; undefined if the connection has the same one already. */
  add(request: WatchRequest): WatchEvent[] | undefined {
    const { connection, path, token } = request;
    const key = keyOf(path, token);
    let own = this.#byConnection.get(connection);
    if (!own) this.#byConnection.set(connection, (own = new Map()));
    if (own.has(key)) return undefined;
    const watch = { ...request, order: this.#order++ };
    own.set(key, watch);
    let watches = this.#byPath.get(path);
    if (!watches) this.#byPath.set(path, (watches = new Set()));
    watches.add(watch);
    return eventsFor([[watch, path]]);
  }

  /** Forgets a watch; answers whether there was one. */
  remove(connection: Connection, path: string, token: string): boolean {
    const watch = this.#byConnection.get(connection)?.get(keyOf(path, token));
    if (watch) this.#forget(watch);
    return watch !== undefined;
  }

  removeAll(connection: Connection): void {
    for (const watch of this.#byConnection.get(connection)?.values() ?? []) this.#forget(watch);
  }

  /** The events of a change at `path`. `exact`: only for watches on that very path. `mayKnow`: whether a client may be told. */
  eventsOf(path: string, exact: boolean, mayKnow: (client: Connection) => boolean): WatchEvent[] {
    const hits: [Watch, string][] = [];
    for (let above = path; ; above = parentOf(above)) {
      for (const watch of this.#byPath.get(above) ?? []) {
        const { depth } = watch;
        if (depth === undefined || depthBelow(path, above) <= depth) hits.push([watch, path]);
      }
      if (exact || above === ROOT || isSpecial(above)) break;
    }
    return eventsFor(hits, mayKnow);
  }

  /**
   * The events of `@introduceDomain` and `@releaseDomain`: a watch with a depth of at least 1, or on `@releaseDomain/5`,
   * is told which domain.
   */
  specialEventsOf(
    special: string,
    domid: number,
    mayKnow: (client: Connection) => boolean,
  ): WatchEvent[] {
    const named = `${special}/${domid}`;
    const hits: [Watch, string][] = [];
    for (const watch of this.#byPath.get(special) ?? []) {
      hits.push([watch, (watch.depth ?? 0) > 0 ? named : special]);
    }
    for (const watch of this.#byPath.get(named) ?? []) hits.push([watch, named]);
    return eventsFor(hits, mayKnow);
  }

  #forget(watch: Watch): void {
    const own = this.#byConnection.get(watch.connection);
    own?.delete(keyOf(watch.path, watch.token));
    if (own?.size === 0) this.#byConnection.delete(watch.connection);
    const watches = this.#byPath.get(watch.path);
    if (watches?.delete(watch) && watches.size === 0) this.#byPath.delete(watch.path);
  }
}

/** Sorts hits (watch, path that changed) by connection and age; each client is asked about once. */
function eventsFor(
  hits: [Watch, string][],
  mayKnow: (client: Connection) => boolean = () => true,
): WatchEvent[] {
  hits.sort(([a], [b]) => a.connection.id - b.connection.id || a.order - b.order);
  const events: WatchEvent[] = [];
  let asked: { connection: Connection; told: boolean } | undefined;
  for (const [{ connection, token, relative }, changedPath] of hits) {
    if (asked?.connection !== connection) asked = { connection, told: mayKnow(connection) };
    const path = relative ? changedPath.slice(connection.home.length + 1) : changedPath;
    // An event that does not fit into a message is lost, as in the C daemon.
    const fits = path.length + token.length + 2 <= XENSTORE_PAYLOAD_MAX;
    if (asked.told && fits) events.push({ connection, path, token });
  }
  return events;
}
