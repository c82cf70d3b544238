/** How a client reaches the store: messages out, messages in. A ring or a socket fits as well as the store in this process. */
import type { Message } from './message.ts';

export interface TransportReceiver {
  /** A reply or an event. Replies come in the order of the requests. */
  received(message: Message): void;
  /** No more will come, `reason` in words. */
  closed(reason: string): void;
}

export interface Transport {
  /** Whose connection it is. */
  readonly domid: number;
  /** Called once, before the first `send`. */
  open(receiver: TransportReceiver): void;
  send(request: Message): void;
  close(): void;
}
