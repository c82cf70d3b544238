/** Messages of the wire protocol: struct xsd_sockmsg and the payload behind it. io/xs_wire.h. */
import { XENSTORE_PAYLOAD_MAX, xsdSockmsg } from './abi.ts';

// The header has no type that differs between the ABIs.
const Header = xsdSockmsg.x86_64;

/** One request, reply or event. */
export interface Message {
  /** XS_READ, … (enum xsd_sockmsg_type). */
  readonly type: number;
  /** Chosen by the client, echoed in the reply; 0 in events. */
  readonly reqId: number;
  /** 0 outside transactions; echoed in the reply. */
  readonly txId: number;
  /** At most XENSTORE_PAYLOAD_MAX bytes. */
  readonly payload: Uint8Array;
}

/** The bytes of a message. Throws RangeError if the payload is too long to be sent. */
export function encodeMessage({ type, reqId, txId, payload }: Message): Uint8Array {
  if (payload.length > XENSTORE_PAYLOAD_MAX) {
    throw new RangeError(
      `xenstore message of type ${type}: payload of ${payload.length} bytes, allowed are ${XENSTORE_PAYLOAD_MAX}`,
    );
  }
  const bytes = new Uint8Array(Header.size + payload.length);
  const header = { type, req_id: reqId, tx_id: txId, len: payload.length };
  Header.encode(new DataView(bytes.buffer), 0, header);
  bytes.set(payload, Header.size);
  return bytes;
}

/** What `MessageParser.push` found: whole messages, and whether the peer broke the protocol. */
export interface Parsed {
  readonly messages: readonly Message[];
  /** Announced payload length beyond XENSTORE_PAYLOAD_MAX: nothing after it can be understood, hang up. */
  readonly tooLong: number | undefined;
}

/** Puts messages together from a stream cut anywhere. Holds at most one incomplete message. */
export class MessageParser {
  readonly #buffer = new Uint8Array(Header.size + XENSTORE_PAYLOAD_MAX);
  readonly #header = Header.cursor().at(new DataView(this.#buffer.buffer), 0);
  #filled = 0;
  #tooLong: number | undefined;

  /** Takes the next bytes of the stream (copied) and answers what they complete. */
  push(chunk: Uint8Array): Parsed {
    const messages: Message[] = [];
    let taken = 0;
    while (this.#tooLong === undefined) {
      const missing = this.#wantedBytes() - this.#filled;
      const part = chunk.subarray(taken, taken + missing);
      this.#buffer.set(part, this.#filled);
      this.#filled += part.length;
      taken += part.length;
      if (part.length < missing) break;
      if (this.#filled === Header.size && this.#header.len > XENSTORE_PAYLOAD_MAX) {
        this.#tooLong = this.#header.len;
      } else if (this.#filled === this.#wantedBytes()) {
        messages.push(this.#take());
      }
    }
    return { messages, tooLong: this.#tooLong };
  }

  #wantedBytes(): number {
    return this.#filled < Header.size ? Header.size : Header.size + this.#header.len;
  }

  #take(): Message {
    const { type, req_id: reqId, tx_id: txId } = this.#header;
    const payload = this.#buffer.slice(Header.size, this.#filled);
    this.#filled = 0;
    return { type, reqId, txId, payload };
  }
}
