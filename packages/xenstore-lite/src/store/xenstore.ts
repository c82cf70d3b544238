/**
 * The store, pure: one request of a connection in, one reply and some events out. No timers, no transport, no clock.
 * The semantics are those of the C xenstored (4.17, and 4.23 where that mended a bug).
 */
import { XENSTORE_PAYLOAD_MAX, XS_ERROR, XS_WATCH_EVENT } from '../wire/abi.ts';
import type { XenStoreErrorCode } from '../wire/errors.ts';
import type { Message } from '../wire/message.ts';
import { nulTerminated } from '../wire/text.ts';
import { Connection } from './connection.ts';
import { Domains } from './domains.ts';
import { EffectCollector } from './effects.ts';
import type { Effects } from './effects.ts';
import { remove } from './nodes.ts';
import { operations } from './operations.ts';
import type { StoreState } from './operations.ts';
import { isSpecial, parentOf } from './path.ts';
import { accessFor, PERM_READ } from './permissions.ts';
import type { Permissions } from './permissions.ts';
import { Tree } from './tree.ts';
import { Watches } from './watches.ts';
import type { WatchEvent } from './watches.ts';

export interface XenStoreOptions {
  /** Whether the hypervisor has such a domain: only those can be introduced or own nodes. Default: it has them all. */
  readonly domainExists?: (domid: number) => boolean;
}

/** What a request brought about. */
export interface Handled extends Effects {
  readonly reply: Message;
  /** Whether the caller gets its reply before its own events (WATCH), as the C daemon has it, or after them. */
  readonly replyFirst: boolean;
}

export class XenStore {
  readonly #domains: Domains;
  readonly #watches = new Watches();
  readonly #tree: Tree;
  readonly #connections = new Set<Connection>();
  readonly #effects = new EffectCollector();
  /** What the operations see of all this. */
  readonly #state: StoreState;
  #nextConnection = 0;

  constructor({ domainExists = () => true }: XenStoreOptions = {}) {
    this.#domains = new Domains(domainExists);
    this.#tree = new Tree((path, { exact = false, before }) => {
      const mayKnow = (client: Connection) => this.#mayKnow(client, path, before);
      this.#effects.tell(this.#watches.eventsOf(path, exact, mayKnow));
    });
    this.#state = {
      tree: this.#tree,
      watches: this.#watches,
      domains: this.#domains,
      effects: this.#effects,
      introduceDomain: (domid) => this.#introduceDomain(domid),
      releaseDomain: (domid) => this.#releaseDomain(domid),
      reset: (client) => this.#reset(client),
    };
  }

  /** What the store holds, for statistics and leak tests. */
  get counts(): { nodes: number; connections: number; watches: number; transactions: number } {
    let transactions = 0;
    for (const connection of this.#connections) transactions += connection.transactions.size;
    return {
      nodes: this.#tree.size,
      connections: this.#connections.size,
      watches: this.#watches.size,
      transactions,
    };
  }

  /** A new client in a domain; those of domain 0 are the toolstack's and may do everything. */
  connect(domid: number): Connection {
    const connection = new Connection(this.#nextConnection++, domid, this.#domains);
    this.#connections.add(connection);
    return connection;
  }

  /** Forgets a client with its watches and transactions (which are aborted). */
  disconnect(connection: Connection): void {
    connection.isOpen = false;
    this.#reset(connection);
    this.#connections.delete(connection);
  }

  /** Carries out one request. Never throws for anything that a client can send. */
  handle(connection: Connection, request: Message): Handled {
    const { type, reqId, txId } = request;
    const outcome = this.#outcomeOf(connection, request);
    const tooBig = typeof outcome !== 'string' && outcome.length > XENSTORE_PAYLOAD_MAX;
    const answer = tooBig ? 'E2BIG' : outcome;
    const reply =
      typeof answer === 'string'
        ? { type: XS_ERROR, reqId, txId, payload: nulTerminated([answer]) }
        : { type, reqId, txId, payload: answer };
    const replyFirst = operations.get(type)?.replyFirst ?? false;
    return { reply, replyFirst, ...this.#effects.take() };
  }

  /** The hypervisor says that a domain has shut down or crashed: @releaseDomain, once until it is resumed. */
  domainShutDown(domid: number): Effects {
    if (this.#domains.setShutDown(domid, true)) this.#announce('@releaseDomain', domid);
    return this.#effects.take();
  }

  /** The hypervisor says that a domain is gone: as if it had been released. */
  domainDestroyed(domid: number): Effects {
    if (domid !== 0 && this.#domains.isIntroduced(domid)) this.#releaseDomain(domid);
    return this.#effects.take();
  }

  #outcomeOf(connection: Connection, request: Message): Uint8Array | XenStoreErrorCode {
    const operation = operations.get(request.type);
    if (!operation) return 'ENOSYS';
    if (operation.privileged && !connection.privileged) return 'EACCES';
    const txId = operation.ignoresTxId ? 0 : request.txId;
    const view = txId === 0 ? this.#tree : connection.transactions.get(txId);
    if (!view) return 'ENOENT';
    return operation.run({ store: this.#state, connection, view, txId, payload: request.payload });
  }

  /** A guest hears of a change if it may read the node, before or after it, or the node's parent. */
  #mayKnow(client: Connection, path: string, before: Permissions | undefined): boolean {
    const mayRead = (permissions: Permissions | undefined) =>
      permissions !== undefined && (accessFor(client, permissions) & PERM_READ) !== 0;
    if (mayRead(before)) return true;
    const node = this.#tree.get(path);
    if (!node) return false;
    if (mayRead(node.permissions)) return true;
    return !isSpecial(path) && mayRead(this.#tree.get(parentOf(path))?.permissions);
  }

  #announce(special: '@introduceDomain' | '@releaseDomain', domid: number): void {
    const mayKnow = (client: Connection) => this.#mayKnow(client, special, undefined);
    this.#effects.tell(this.#watches.specialEventsOf(special, domid, mayKnow));
  }

  #introduceDomain(domid: number): void {
    if (this.#domains.isIntroduced(domid)) {
      for (const client of this.#clientsOf(domid)) this.#reset(client);
    } else {
      this.#domains.introduce(domid);
      this.#announce('@introduceDomain', domid);
    }
  }

  /** A dead domain takes its nodes with it, and leaves the permissions of the others. */
  #releaseDomain(domid: number): void {
    for (const client of this.#clientsOf(domid)) {
      this.disconnect(client);
      this.#effects.disconnected(client);
    }
    this.#domains.release(domid);
    for (const path of this.#tree.pathsNaming(domid)) {
      const node = this.#tree.get(path);
      if (!node) continue; // gone with one above it
      const [owner, ...others] = node.permissions;
      if (owner.domid === domid) {
        remove(this.#tree, path);
      } else {
        const kept = others.filter((entry) => entry.domid !== domid);
        this.#tree.put(path, { ...node, permissions: [owner, ...kept] });
      }
    }
    this.#announce('@releaseDomain', domid);
  }

  #clientsOf(domid: number): Connection[] {
    return [...this.#connections].filter((it) => it.domid === domid && !it.privileged);
  }

  #reset(connection: Connection): void {
    this.#watches.removeAll(connection);
    connection.transactions.clear();
  }
}

/** The message that tells a client of a change. */
export const watchEventMessage = ({ path, token }: WatchEvent): Message => ({
  type: XS_WATCH_EVENT,
  reqId: 0,
  txId: 0,
  payload: nulTerminated([path, token]),
});
