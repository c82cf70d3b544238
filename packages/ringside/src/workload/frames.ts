/**
 * Frames to send, which follow from a sequence number so that the other end can tell what every byte must be: UDP
 * datagrams and ICMP echoes that any analyser reads. Sources: RFC 894, RFC 791, RFC 768, RFC 792.
 */
import type { Mac } from '@ringside/netif';
import { JobError } from './job-error.ts';
import { fillWords } from './pattern.ts';

/** One end of a conversation. */
export interface Station {
  readonly mac: Mac;
  /** IPv4 address as a number: 10.0.0.1 is 0x0a000001. */
  readonly address: number;
}

/** What is in a frame. */
export type FrameKind = 'udp' | 'echo request' | 'echo reply';

const IP = 14;
const TRANSPORT = IP + 20;
const PAYLOAD = TRANSPORT + 8;
/** Shortest and longest frame that can be made: no payload; what a 16-bit size field of netif holds. */
export const frameLimits = { min: PAYLOAD, max: 0xffff } as const;

const PROTOCOL = { udp: 17, 'echo request': 1, 'echo reply': 1 } as const;
const ICMP_TYPE = { 'echo request': 8, 'echo reply': 0 } as const;
const UDP_PORT = 5001;
const ICMP_IDENTIFIER = 0x7273;

/** Makes the frames of one conversation in one direction. */
export class FrameMaker {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #words: Uint32Array;
  readonly #kind: FrameKind;
  readonly #seed: number;
  readonly #header: Uint8Array;

  /** Frames of `lengthBytes`, from `source` to `destination`. Throws JobError outside `frameLimits`. */
  constructor(
    kind: FrameKind,
    source: Station,
    destination: Station,
    lengthBytes: number,
    seed: number,
  ) {
    if (!(lengthBytes >= frameLimits.min && lengthBytes <= frameLimits.max)) {
      throw new JobError(
        `size ${lengthBytes}; allowed: frames of ${frameLimits.min} to ${frameLimits.max} bytes`,
      );
    }
    this.#words = new Uint32Array(Math.ceil(lengthBytes / 4));
    this.#bytes = new Uint8Array(this.#words.buffer, 0, lengthBytes);
    this.#view = new DataView(this.#words.buffer, 0, lengthBytes);
    this.#kind = kind;
    this.#seed = seed;
    this.#header = headerOf(kind, source, destination, lengthBytes);
  }

  /** The frame with this number; valid until the next one is made. */
  frame(sequence: number): Uint8Array {
    const bytes = this.#bytes;
    fillWords(this.#words, this.#seed, sequence);
    bytes.set(this.#header);
    const view = this.#view;
    view.setUint16(IP + 4, sequence & 0xffff);
    view.setUint16(IP + 10, checksum(view, IP, TRANSPORT));
    if (this.#kind !== 'udp') {
      view.setUint16(TRANSPORT + 6, sequence & 0xffff);
      view.setUint16(TRANSPORT + 2, checksum(view, TRANSPORT, bytes.length));
    }
    return bytes;
  }
}

/** Everything up to the payload, with checksums and sequence numbers left 0. */
function headerOf(
  kind: FrameKind,
  source: Station,
  destination: Station,
  lengthBytes: number,
): Uint8Array {
  const header = new Uint8Array(PAYLOAD);
  const view = new DataView(header.buffer);
  setMac(view, 0, destination.mac);
  setMac(view, 6, source.mac);
  view.setUint16(12, 0x0800);
  view.setUint8(IP, 0x45);
  view.setUint16(IP + 2, lengthBytes - IP);
  view.setUint16(IP + 6, 0x4000); // don't fragment
  view.setUint8(IP + 8, 64);
  view.setUint8(IP + 9, PROTOCOL[kind]);
  view.setUint32(IP + 12, source.address);
  view.setUint32(IP + 16, destination.address);
  if (kind === 'udp') {
    view.setUint16(TRANSPORT, UDP_PORT);
    view.setUint16(TRANSPORT + 2, UDP_PORT);
    view.setUint16(TRANSPORT + 4, lengthBytes - TRANSPORT); // its checksum stays 0: none
  } else {
    view.setUint8(TRANSPORT, ICMP_TYPE[kind]);
    view.setUint16(TRANSPORT + 4, ICMP_IDENTIFIER);
  }
  return header;
}

function setMac(view: DataView, offsetBytes: number, mac: Mac): void {
  view.setUint16(offsetBytes, Math.floor(mac / 2 ** 32));
  view.setUint32(offsetBytes + 2, mac % 2 ** 32);
}

/** The Internet checksum of bytes `from` to `to`, RFC 1071; the field itself must be 0. */
export function checksum(view: DataView, from: number, to: number): number {
  let sum = 0;
  for (let at = from; at + 1 < to; at += 2) sum += view.getUint16(at);
  if ((to - from) % 2 === 1) sum += view.getUint8(to - 1) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x1_0000);
  return ~sum & 0xffff;
}
