/** One client of the store: a domain's, or one of the control domain's tools. */
import type { Domains } from './domains.ts';
import { homeOf } from './path.ts';
import type { Subject } from './permissions.ts';
import type { Transaction } from './transactions.ts';

export class Connection implements Subject {
  /** Counts connections; watchers are told in this order. */
  readonly id: number;
  readonly domid: number;
  readonly privileged: boolean;
  /** What relative paths are relative to. */
  readonly home: string;
  readonly transactions = new Map<number, Transaction>();
  /** False once disconnected, or the domain was released. */
  isOpen = true;
  readonly #domains: Domains;
  #lastTxId = 0;

  constructor(id: number, domid: number, domains: Domains) {
    this.id = id;
    this.domid = domid;
    this.privileged = domid === 0;
    this.home = homeOf(domid);
    this.#domains = domains;
  }

  get target(): number | undefined {
    return this.#domains.targetOf(this.domid);
  }

  /** Opens a transaction under the next free number: 1, 2, … and on past 2^32. */
  addTransaction(transaction: Transaction): number {
    do {
      this.#lastTxId = (this.#lastTxId + 1) % 2 ** 32;
    } while (this.#lastTxId === 0 || this.transactions.has(this.#lastTxId));
    this.transactions.set(this.#lastTxId, transaction);
    return this.#lastTxId;
  }
}
