/**
 * Sequential access to the fields of a record: every read or write moves on by the field's size, so that
 * no offset is written down anywhere.
 */

export class FieldReader {
  readonly #view: DataView;
  readonly #littleEndian: boolean;
  #at = 0;

  constructor(bytes: Uint8Array, littleEndian: boolean) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#littleEndian = littleEndian;
  }

  /** Bytes not yet read. */
  get left(): number {
    return this.#view.byteLength - this.#at;
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2), this.#littleEndian);
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4), this.#littleEndian);
  }

  i64(): bigint {
    return this.#view.getBigInt64(this.#advance(8), this.#littleEndian);
  }

  /** The next `lengthBytes` bytes, as a view of the record. */
  bytes(lengthBytes: number): Uint8Array {
    const { buffer, byteOffset } = this.#view;
    return new Uint8Array(buffer, byteOffset + this.#advance(lengthBytes), lengthBytes);
  }

  skip(lengthBytes: number): this {
    this.#advance(lengthBytes);
    return this;
  }

  #advance(lengthBytes: number): number {
    const at = this.#at;
    this.#at += lengthBytes;
    return at;
  }
}

/** Appends little-endian fields to a record of known size. */
export class FieldWriter {
  readonly record: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(lengthBytes: number) {
    this.record = new Uint8Array(lengthBytes);
    this.#view = new DataView(this.record.buffer);
  }

  u8(value: number): this {
    this.#view.setUint8(this.#at, value);
    this.#at += 1;
    return this;
  }

  u16(value: number): this {
    this.#view.setUint16(this.#at, value, true);
    this.#at += 2;
    return this;
  }

  u32(value: number): this {
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
    return this;
  }

  i64(value: bigint): this {
    this.#view.setBigInt64(this.#at, value, true);
    this.#at += 8;
    return this;
  }

  bytes(from: Uint8Array): this {
    this.record.set(from, this.#at);
    this.#at += from.length;
    return this;
  }

  /** Zero bytes up to a multiple of four. */
  pad(): this {
    this.#at = padded(this.#at);
    return this;
  }
}

/** `lengthBytes` rounded up to the 32-bit boundary that pcapng aligns everything to. */
export const padded = (lengthBytes: number): number => (lengthBytes + 3) & ~3;
