/**
 * The classic pcap format: a 24-byte header, then records of 16 bytes and the frame.
 * Source: draft-ietf-opsawg-pcap, "PCAP Capture File Format".
 */
import { CaptureError, LINKTYPE_ETHERNET, maxFrameBytes } from './capture.ts';
import type { CapturedFrame, CaptureFormat } from './capture.ts';
import { FieldReader } from './fields.ts';

const headerBytes = 24;
const recordHeaderBytes = 16;

/** Magic numbers as read in little-endian order: byte order and unit of the fraction of a second. */
const magics = new Map([
  [0xa1b2c3d4, { littleEndian: true, fractionNs: 1000n }],
  [0xa1b23c4d, { littleEndian: true, fractionNs: 1n }],
  [0xd4c3b2a1, { littleEndian: false, fractionNs: 1000n }],
  [0x4d3cb2a1, { littleEndian: false, fractionNs: 1n }],
]);

/** The format of a file that starts with `magic` (its first four bytes, little-endian), if it is pcap. */
export function pcapFormat(magic: number): CaptureFormat | undefined {
  const variant = magics.get(magic);
  return variant && new Pcap(variant.littleEndian, variant.fractionNs);
}

class Pcap implements CaptureFormat {
  readonly #littleEndian: boolean;
  readonly #fractionNs: bigint;
  #headerSeen = false;

  constructor(littleEndian: boolean, fractionNs: bigint) {
    this.#littleEndian = littleEndian;
    this.#fractionNs = fractionNs;
  }

  get prefixBytes(): number {
    return this.#headerSeen ? recordHeaderBytes : headerBytes;
  }

  get inHeader(): boolean {
    return !this.#headerSeen;
  }

  lengthBytes(prefix: Uint8Array, offsetBytes: number): number {
    if (!this.#headerSeen) return headerBytes;
    const capturedBytes = new FieldReader(prefix, this.#littleEndian).skip(8).u32();
    if (capturedBytes > maxFrameBytes) {
      throw new CaptureError(
        'absurd length',
        offsetBytes,
        `a frame of ${capturedBytes} bytes, at most ${maxFrameBytes} are allowed`,
      );
    }
    return recordHeaderBytes + capturedBytes;
  }

  decode(record: Uint8Array, offsetBytes: number): CapturedFrame | undefined {
    const fields = new FieldReader(record, this.#littleEndian);
    if (!this.#headerSeen) {
      this.#decodeHeader(fields, offsetBytes);
      return undefined;
    }
    const seconds = BigInt(fields.u32());
    const fraction = BigInt(fields.u32());
    const capturedBytes = fields.u32();
    const originalBytes = fields.u32();
    return {
      bytes: fields.bytes(capturedBytes).slice(),
      originalBytes,
      timestampNs: seconds * 1_000_000_000n + fraction * this.#fractionNs,
      interfaceId: 0,
    };
  }

  #decodeHeader(fields: FieldReader, offsetBytes: number): void {
    const major = fields.skip(4).u16();
    if (major !== 2) throw new CaptureError('unsupported version', offsetBytes, `pcap ${major}`);
    const linktype = fields.skip(14).u32() & 0xffff; // the upper half describes the frame check sequence
    if (linktype !== LINKTYPE_ETHERNET) {
      throw new CaptureError('unsupported linktype', offsetBytes, `found ${linktype}`);
    }
    this.#headerSeen = true;
  }
}
