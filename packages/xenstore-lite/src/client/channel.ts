/** One connection of a client: matches replies to requests, and hands events to the watches that asked for them. */
import { XS_ERROR, XS_UNWATCH, XS_WATCH, XS_WATCH_EVENT } from '../wire/abi.ts';
import type { XenStoreErrorCode } from '../wire/errors.ts';
import type { Message } from '../wire/message.ts';
import { nulTerminated, onlyString, stringsIn } from '../wire/text.ts';
import type { Transport } from '../wire/transport.ts';
import { XenStoreError } from './errors.ts';
import type { Attempt } from './operations.ts';

interface Pending {
  readonly request: Message;
  readonly attempt: Attempt;
  readonly resolve: (payload: Uint8Array) => void;
  readonly reject: (error: XenStoreError) => void;
}

/** Who is told of a watch's events. */
export interface WatchListener {
  changed(path: string): void;
  /** The connection is gone. */
  closed(error: XenStoreError): void;
}

export class Channel {
  readonly #transport: Transport;
  /** Oldest first: replies come in the order of the requests. */
  readonly #pending: Pending[] = [];
  readonly #listeners = new Map<string, { path: string; listener: WatchListener }>();
  #lastReqId = 0;
  #lastToken = 0;
  #closed: string | undefined;

  constructor(transport: Transport) {
    this.#transport = transport;
    transport.open({
      received: (message) => this.#received(message),
      closed: (reason) => this.#close(reason),
    });
  }

  /** Sends a request; resolves with the payload of its reply, rejects with XenStoreError. */
  request(type: number, txId: number, payload: Uint8Array, attempt: Attempt): Promise<Uint8Array> {
    const { path, attempted } = attempt;
    if (this.#closed !== undefined) {
      return Promise.reject(new XenStoreError('EIO', path, attempted, this.#closed));
    }
    this.#lastReqId = (this.#lastReqId + 1) % 2 ** 32;
    const request: Message = { type, reqId: this.#lastReqId, txId, payload };
    return new Promise((resolve, reject) => {
      this.#pending.push({ request, attempt, resolve, reject });
      this.#transport.send(request);
    });
  }

  /** Registers a watch under a token of its own; `listener` hears its events until `stop` is called. */
  watch(path: string, listener: WatchListener): { registered: Promise<void>; stop: () => void } {
    const token = String(++this.#lastToken);
    const payload = nulTerminated([path, token]);
    this.#listeners.set(token, { path, listener });
    const registered = this.request(XS_WATCH, 0, payload, { path, attempted: 'watch' }).then(
      () => undefined,
      (error: unknown) => {
        this.#listeners.delete(token);
        throw error;
      },
    );
    const stop = () => {
      if (!this.#listeners.delete(token)) return;
      // Refused only if the watch never was or the connection is gone: either way there is nothing to undo.
      this.request(XS_UNWATCH, 0, payload, { path, attempted: 'unwatch' }).catch(() => undefined);
    };
    return { registered, stop };
  }

  close(): void {
    this.#transport.close();
  }

  #received({ type, reqId, payload }: Message): void {
    if (type === XS_WATCH_EVENT) {
      const [path, token] = stringsIn(payload);
      // None, if it was on its way when the watch was given up.
      if (path !== undefined && token !== undefined) {
        this.#listeners.get(token)?.listener.changed(path);
      }
      return;
    }
    const pending = this.#pending.shift();
    if (!pending) return;
    const { request, attempt, resolve, reject } = pending;
    const { path, attempted } = attempt;
    if (type === request.type && reqId === request.reqId) {
      resolve(payload);
    } else if (type === XS_ERROR && reqId === request.reqId) {
      const code = (onlyString(payload) ?? 'EIO') as XenStoreErrorCode;
      reject(new XenStoreError(code, path, attempted));
    } else {
      const detail = `reply of type ${type} to request ${reqId}, expected type ${request.type} to ${request.reqId}`;
      reject(new XenStoreError('EIO', path, attempted, detail));
    }
  }

  #close(reason: string): void {
    this.#closed = reason;
    for (const { attempt, reject } of this.#pending.splice(0)) {
      reject(new XenStoreError('EIO', attempt.path, attempt.attempted, reason));
    }
    const listeners = [...this.#listeners.values()];
    this.#listeners.clear();
    for (const { path, listener } of listeners) {
      listener.closed(new XenStoreError('EIO', path, 'watch', reason));
    }
  }
}
