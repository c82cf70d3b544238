/** What a request does besides its reply, collected while it runs. */
import type { Connection } from './connection.ts';
import { isSpecial } from './path.ts';
import type { WatchEvent } from './watches.ts';

export interface Effects {
  /** To be sent, for any connection, in order. */
  readonly events: readonly WatchEvent[];
  /** Connections of a domain that was released: they are gone, whoever carries their messages should hang up. */
  readonly disconnected: readonly Connection[];
}

const NONE: Effects = { events: [], disconnected: [] };

export class EffectCollector {
  #events: WatchEvent[] = [];
  #disconnected: Connection[] = [];
  readonly #told = new Set<string>();

  /** Adds events; one that the client is about to get already is not repeated, unless it is of a special node. */
  tell(events: Iterable<WatchEvent>): void {
    for (const event of events) {
      const { connection, path, token } = event;
      const key = `${connection.id} ${path}\0${token}`;
      if (this.#told.has(key) && !isSpecial(path)) continue;
      this.#told.add(key);
      this.#events.push(event);
    }
  }

  disconnected(connection: Connection): void {
    this.#disconnected.push(connection);
  }

  /** Hands over what was collected, and begins anew. */
  take(): Effects {
    if (this.#events.length === 0 && this.#disconnected.length === 0) return NONE;
    const effects = { events: this.#events, disconnected: this.#disconnected };
    this.#events = [];
    this.#disconnected = [];
    this.#told.clear();
    return effects;
  }
}
