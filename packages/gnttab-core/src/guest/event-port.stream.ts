/** One bound event channel port, as its driver sees it. */
import { type Observable, Subject } from 'rxjs';
import type { Port } from '../machine/page.ts';

/** What a port needs of the guest kernel. */
interface PortOperations {
  send(): void;
  suppressed(): void;
  mask(): void;
  unmask(): void;
  close(): void;
}

/** A port of this guest's with another end: what allocUnbound() and bindInterdomain() of EventPorts give. */
export class EventPort {
  /** Its number: what the other end binds to. */
  readonly port: Port;
  /**
   * "Look again": an event carries nothing else, and several may arrive as one. The first after binding is spurious.
   * Completes when the port is closed.
   */
  readonly events$: Observable<void>;
  readonly #events = new Subject<void>();
  readonly #operations: PortOperations;
  #closed = false;

  /** For EventPorts, which has the hypercalls. */
  constructor(port: Port, operations: PortOperations) {
    this.port = port;
    this.events$ = this.#events;
    this.#operations = operations;
  }

  /** EVTCHNOP_send: tells the other end to look. Throws EventChannelError. */
  notify(): void {
    if (!this.#closed) this.#operations.send();
  }

  /** Notifies if the ring's event check says that the other end waits for it; counts it as suppressed otherwise. */
  notifyIf(needed: boolean): void {
    if (needed) this.notify();
    else this.#operations.suppressed();
  }

  /** Holds events back; they stay pending. */
  mask(): void {
    this.#operations.mask();
  }

  /** EVTCHNOP_unmask: lets events through, one that is pending at once. */
  unmask(): void {
    this.#operations.unmask();
  }

  /** EVTCHNOP_close: no more events, here or at the other end. A second call does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#operations.close();
    this.#events.complete();
  }

  /** The upcall found the port pending. */
  deliver(): void {
    this.#events.next();
  }
}
