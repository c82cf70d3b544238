/** The store in the same process, one hop of the scheduler away in each direction. */
import type { Connection } from '../store/connection.ts';
import { watchEventMessage } from '../store/xenstore.ts';
import type { XenStore } from '../store/xenstore.ts';
import type { Effects } from '../store/effects.ts';
import { XENSTORE_PAYLOAD_MAX } from './abi.ts';
import type { Message } from './message.ts';
import type { Transport, TransportReceiver } from './transport.ts';

/** Runs a task soon, never before `post` returns. The machine's scheduler is one. */
export interface TaskScheduler {
  post(task: () => void): void;
}

/** Tasks in their order, whatever order the scheduler runs what it was posted in. */
class TaskQueue {
  readonly #scheduler: TaskScheduler;
  readonly #tasks: (() => void)[] = [];

  constructor(scheduler: TaskScheduler) {
    this.#scheduler = scheduler;
  }

  post(task: () => void): void {
    this.#tasks.push(task);
    this.#scheduler.post(() => this.#tasks.shift()?.());
  }
}

/** Serves one store to any number of clients in this process. */
export class InProcessXenStore {
  readonly #store: XenStore;
  readonly #scheduler: TaskScheduler;
  readonly #clients = new Map<Connection, InProcessTransport>();

  constructor(store: XenStore, scheduler: TaskScheduler) {
    this.#store = store;
    this.#scheduler = scheduler;
  }

  /** A new connection of a domain. */
  connect(domid: number): Transport {
    const connection = this.#store.connect(domid);
    const client = new InProcessTransport(domid, this.#scheduler, {
      handle: (request) => this.#handle(connection, request),
      close: () => this.#hangUp(connection),
    });
    this.#clients.set(connection, client);
    return client;
  }

  /** Tells the store that the hypervisor lost a domain, and its watchers with it. */
  domainDestroyed(domid: number): void {
    this.#carryOut(this.#store.domainDestroyed(domid));
  }

  /** Tells the store that a domain shut down or crashed. */
  domainShutDown(domid: number): void {
    this.#carryOut(this.#store.domainShutDown(domid));
  }

  #handle(connection: Connection, request: Message): void {
    if (request.payload.length > XENSTORE_PAYLOAD_MAX) {
      // What a socket would do: there is no answer to a message that must not be sent.
      this.#clients.get(connection)?.hangUp('the request was longer than XENSTORE_PAYLOAD_MAX');
      this.#hangUp(connection);
      return;
    }
    const handled = this.#store.handle(connection, request);
    const caller = this.#clients.get(connection);
    if (handled.replyFirst) caller?.deliver(handled.reply);
    this.#carryOut(handled);
    if (!handled.replyFirst) caller?.deliver(handled.reply);
  }

  #carryOut({ events, disconnected }: Effects): void {
    for (const event of events) {
      this.#clients.get(event.connection)?.deliver(watchEventMessage(event));
    }
    for (const connection of disconnected) {
      this.#clients.get(connection)?.hangUp('the domain was released');
      this.#clients.delete(connection);
    }
  }

  #hangUp(connection: Connection): void {
    if (connection.isOpen) this.#store.disconnect(connection);
    this.#clients.delete(connection);
  }
}

class InProcessTransport implements Transport {
  readonly domid: number;
  readonly #server: { handle(request: Message): void; close(): void };
  readonly #toServer: TaskQueue;
  readonly #toClient: TaskQueue;
  #receiver: TransportReceiver | undefined;
  #isOpen = true;

  constructor(
    domid: number,
    scheduler: TaskScheduler,
    server: { handle(request: Message): void; close(): void },
  ) {
    this.domid = domid;
    this.#server = server;
    this.#toServer = new TaskQueue(scheduler);
    this.#toClient = new TaskQueue(scheduler);
  }

  open(receiver: TransportReceiver): void {
    this.#receiver = receiver;
  }

  send(request: Message): void {
    this.#toServer.post(() => {
      if (this.#isOpen) this.#server.handle(request);
    });
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#server.close();
    this.#receiver?.closed('closed by the client');
  }

  /** From the server: a message for the client. */
  deliver(message: Message): void {
    this.#toClient.post(() => {
      if (this.#isOpen) this.#receiver?.received(message);
    });
  }

  /** From the server: the end, after what was delivered before. */
  hangUp(reason: string): void {
    this.#toClient.post(() => {
      if (!this.#isOpen) return;
      this.#isOpen = false;
      this.#receiver?.closed(reason);
    });
  }
}
