/**
 * Reading pcapng: a sequence of blocks, each with its length at both ends.
 * Source: draft-ietf-opsawg-pcapng, "PCAP Now Generic Capture File Format".
 */
import { CaptureError, LINKTYPE_ETHERNET } from './capture.ts';
import type { CapturedFrame, CaptureFormat } from './capture.ts';
import { FieldReader, padded } from './fields.ts';

/** Block types, section 4 of the draft. */
export const SHB = 0x0a0d0d0a;
export const IDB = 1;
/** Packet Block: obsolete, but old files have it. */
const PB = 2;
const SPB = 3;
export const EPB = 6;

/** Byte-Order Magic of a Section Header Block. */
export const byteOrderMagic = 0x1a2b3c4d;
/** Option codes of an Interface Description Block. */
export const options = { opt_endofopt: 0, if_name: 2, if_tsresol: 9, if_tsoffset: 14 } as const;

/** Block type, length, and what tells the byte order if it is a Section Header Block. */
const prefixBytes = 12;
/** Type and length in front, length behind. */
export const blockOverheadBytes = 12;
/** No block of a sane capture is longer: 16 MiB, as Wireshark has it. */
const maxBlockBytes = 16 * 1024 * 1024;

interface Interface {
  readonly snapBytes: number;
  readonly offsetNs: bigint;
  /** nanoseconds = ticks * multiplier / divisor */
  readonly multiplier: bigint;
  readonly divisor: bigint;
}

/** The format of a file that starts with `magic` (its first four bytes, little-endian), if it is pcapng. */
export function pcapngFormat(magic: number): CaptureFormat | undefined {
  return magic === SHB ? new Pcapng() : undefined; // the value is a palindrome: the same in both byte orders
}

class Pcapng implements CaptureFormat {
  readonly prefixBytes = prefixBytes;
  inHeader = true;
  #littleEndian = true;
  #interfaces: Interface[] = [];

  lengthBytes(prefix: Uint8Array, offsetBytes: number): number {
    if (new FieldReader(prefix, true).u32() === SHB) {
      this.#littleEndian = byteOrderOf(prefix, offsetBytes);
    }
    const lengthBytes = new FieldReader(prefix, this.#littleEndian).skip(4).u32();
    if (lengthBytes < blockOverheadBytes || lengthBytes % 4 !== 0 || lengthBytes > maxBlockBytes) {
      throw new CaptureError(
        'absurd length',
        offsetBytes,
        `a block of ${lengthBytes} bytes, allowed are multiples of 4 from ${blockOverheadBytes} to ${maxBlockBytes}`,
      );
    }
    return lengthBytes;
  }

  decode(block: Uint8Array, offsetBytes: number): CapturedFrame | undefined {
    const fields = new FieldReader(block, this.#littleEndian);
    const type = fields.u32();
    const lengthBytes = fields.u32();
    const body = fields.bytes(lengthBytes - blockOverheadBytes);
    const trailer = fields.u32();
    if (trailer !== lengthBytes) {
      throw new CaptureError(
        'absurd length',
        offsetBytes,
        `the block says ${lengthBytes} bytes in front and ${trailer} behind`,
      );
    }
    const bounded = new Bounded(body, this.#littleEndian, offsetBytes);
    switch (type) {
      case SHB:
        this.#section(bounded);
        return undefined;
      case IDB:
        this.#interfaces.push(describedInterface(bounded));
        return undefined;
      case EPB:
        return this.#packet(bounded, bounded.need(20).u32());
      case PB:
        return this.#packet(bounded, bounded.need(20).u16(), 2);
      case SPB:
        return this.#simplePacket(bounded);
      default:
        return undefined;
    }
  }

  #section(block: Bounded): void {
    const major = block.need(16).skip(4).u16();
    if (major !== 1) {
      throw new CaptureError('unsupported version', block.offsetBytes, `pcapng ${major}`);
    }
    this.inHeader = false;
    this.#interfaces = [];
  }

  #packet(block: Bounded, interfaceId: number, dropsCountBytes = 0): CapturedFrame {
    const { offsetNs, multiplier, divisor } = this.#interface(interfaceId, block);
    block.fields.skip(dropsCountBytes);
    const ticks = (BigInt(block.fields.u32()) << 32n) | BigInt(block.fields.u32());
    const capturedBytes = block.fields.u32();
    const originalBytes = block.fields.u32();
    const timestampNs = (ticks * multiplier) / divisor + offsetNs;
    const bytes = block.need(capturedBytes).bytes(capturedBytes).slice();
    return { bytes, originalBytes, timestampNs, interfaceId };
  }

  #simplePacket(block: Bounded): CapturedFrame {
    const { snapBytes } = this.#interface(0, block);
    const originalBytes = block.need(4).u32();
    const capturedBytes = snapBytes === 0 ? originalBytes : Math.min(snapBytes, originalBytes);
    const bytes = block.need(capturedBytes).bytes(capturedBytes).slice();
    return { bytes, originalBytes, timestampNs: undefined, interfaceId: 0 };
  }

  #interface(id: number, block: Bounded): Interface {
    const found = this.#interfaces[id];
    if (!found) {
      throw new CaptureError('unknown interface', block.offsetBytes, `interface ${id}`);
    }
    return found;
  }
}

/** The body of a block; reading past it is the file's fault and named as such. */
class Bounded {
  readonly fields: FieldReader;
  readonly offsetBytes: number;

  constructor(body: Uint8Array, littleEndian: boolean, offsetBytes: number) {
    this.fields = new FieldReader(body, littleEndian);
    this.offsetBytes = offsetBytes;
  }

  need(lengthBytes: number): FieldReader {
    if (this.fields.left < lengthBytes) {
      throw new CaptureError(
        'absurd length',
        this.offsetBytes,
        `${lengthBytes} bytes wanted, ${this.fields.left} left in the block`,
      );
    }
    return this.fields;
  }
}

function byteOrderOf(prefix: Uint8Array, offsetBytes: number): boolean {
  for (const littleEndian of [true, false]) {
    if (new FieldReader(prefix, littleEndian).skip(8).u32() === byteOrderMagic) return littleEndian;
  }
  throw new CaptureError('unknown magic', offsetBytes, 'no byte-order magic in the section header');
}

function describedInterface(block: Bounded): Interface {
  const linktype = block.need(8).u16();
  if (linktype !== LINKTYPE_ETHERNET) {
    throw new CaptureError('unsupported linktype', block.offsetBytes, `found ${linktype}`);
  }
  const snapBytes = block.fields.skip(2).u32();
  let offsetNs = 0n;
  let resolution = 6;
  while (block.fields.left >= 4) {
    const code = block.fields.u16();
    const lengthBytes = block.fields.u16();
    if (code === options.opt_endofopt) break;
    block.need(padded(lengthBytes));
    if (code === options.if_tsresol && lengthBytes === 1) {
      resolution = block.fields.u8();
      block.fields.skip(3);
    } else if (code === options.if_tsoffset && lengthBytes === 8) {
      offsetNs = block.fields.i64() * 1_000_000_000n;
    } else {
      block.fields.skip(padded(lengthBytes));
    }
  }
  const exponent = BigInt(resolution & 0x7f);
  const divisor = resolution & 0x80 ? 2n ** exponent : 10n ** exponent;
  return { snapBytes, offsetNs, multiplier: 1_000_000_000n, divisor };
}
