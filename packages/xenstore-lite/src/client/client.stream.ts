/** The client that drivers and toolstack use: one connection of one domain. */
import { Observable } from 'rxjs';
import {
  XS_INTRODUCE,
  XS_IS_DOMAIN_INTRODUCED,
  XS_RELEASE,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
} from '../wire/abi.ts';
import { nulTerminated, onlyString } from '../wire/text.ts';
import type { Transport } from '../wire/transport.ts';
import { Channel } from './channel.ts';
import { isXenStoreError, XenStoreError } from './errors.ts';
import { XenStoreOperations } from './operations.ts';
import type { Attempt } from './operations.ts';

/** How often `transaction` begins anew after EAGAIN, unless told otherwise. */
const DEFAULT_ATTEMPTS = 50;

/** A scope in which all requests carry one transaction id. */
export class XenStoreTransaction extends XenStoreOperations {
  readonly #channel: Channel;
  readonly #txId: number;

  constructor(channel: Channel, txId: number) {
    super();
    this.#channel = channel;
    this.#txId = txId;
  }

  protected override request(type: number, payload: Uint8Array, attempt: Attempt) {
    return this.#channel.request(type, this.#txId, payload, attempt);
  }
}

export class XenStoreClient extends XenStoreOperations {
  /** Whose connection it is. */
  readonly domid: number;
  readonly #channel: Channel;

  constructor(transport: Transport) {
    super();
    this.domid = transport.domid;
    this.#channel = new Channel(transport);
  }

  /**
   * Runs `body` in a transaction: all that it reads fits together, all that it writes appears at once. If something it
   * looked at changed meanwhile (EAGAIN), it runs again, so it must have no effects but on the store. If it throws, the
   * transaction is aborted. Rejects with EAGAIN after `attempts` runs.
   */
  async transaction<T>(
    body: (tx: XenStoreTransaction) => Promise<T>,
    { attempts = DEFAULT_ATTEMPTS }: { attempts?: number } = {},
  ): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const txId = await this.#startTransaction();
      let result: T;
      try {
        result = await body(new XenStoreTransaction(this.#channel, txId));
      } catch (error) {
        // The body's error is the news; a connection lost meanwhile has aborted the transaction anyway.
        await this.#endTransaction(txId, 'F').catch(() => undefined);
        throw error;
      }
      try {
        await this.#endTransaction(txId, 'T');
        return result;
      } catch (error) {
        if (!isXenStoreError(error, 'EAGAIN') || attempt >= attempts) throw error;
      }
    }
  }

  /**
   * Emits the path of everything that changes at or below `path` (or `@introduceDomain`, `@releaseDomain`), and once at
   * the beginning, when the watch is in place. Relative if `path` was. Each subscription is a watch of its own; giving it
   * up withdraws the watch. Errors with XenStoreError if the store refuses it or the connection is lost.
   */
  watch$(path: string): Observable<string> {
    return new Observable<string>((subscriber) => {
      const { registered, stop } = this.#channel.watch(path, {
        changed: (changedPath) => subscriber.next(changedPath),
        closed: (error) => subscriber.error(error),
      });
      registered.catch((error: unknown) => subscriber.error(error));
      return stop;
    });
  }

  /** Tells the store of a domain (domain 0 only): its shared page and the event channel of its ring. */
  async introduce(domid: number, gfn: number, port: number): Promise<void> {
    await this.#aboutDomain(XS_INTRODUCE, domid, 'introduce domain', [gfn, port]);
  }

  /** Tells the store that a domain is gone (domain 0 only): its connections and the nodes it owns go with it. */
  async release(domid: number): Promise<void> {
    await this.#aboutDomain(XS_RELEASE, domid, 'release domain');
  }

  /** Whether a domain is introduced (domain 0 only). */
  async isDomainIntroduced(domid: number): Promise<boolean> {
    const reply = await this.#aboutDomain(XS_IS_DOMAIN_INTRODUCED, domid, 'ask for domain');
    return onlyString(reply) === 'T';
  }

  /** Closes the connection: watches and transactions go, what is under way rejects with EIO. */
  close(): void {
    this.#channel.close();
  }

  protected override request(type: number, payload: Uint8Array, attempt: Attempt) {
    return this.#channel.request(type, 0, payload, attempt);
  }

  #aboutDomain(type: number, domid: number, attempted: string, more: readonly number[] = []) {
    const payload = nulTerminated([domid, ...more].map(String));
    return this.request(type, payload, { path: String(domid), attempted });
  }

  async #startTransaction(): Promise<number> {
    const attempt = { path: '/', attempted: 'start a transaction on' };
    const reply = await this.request(XS_TRANSACTION_START, nulTerminated(['']), attempt);
    const txId = Number(onlyString(reply));
    if (Number.isInteger(txId) && txId > 0) return txId;
    throw new XenStoreError('EIO', attempt.path, attempt.attempted, 'the reply is no number');
  }

  async #endTransaction(txId: number, verdict: 'T' | 'F'): Promise<void> {
    const attempted = verdict === 'T' ? 'commit a transaction on' : 'abort a transaction on';
    await this.#channel.request(XS_TRANSACTION_END, txId, nulTerminated([verdict]), {
      path: '/',
      attempted,
    });
  }
}
