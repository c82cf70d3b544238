/**
 * A packet inside one domain: a list of fragments in that domain's own pages. Drivers hand packets over; whoever has
 * one last releases it to the pool it came from.
 */
import { bankOffset } from '@ringside/gnttab-core';
import type { GuestMemory } from '@ringside/gnttab-core';
import type { Addressed } from '../bridge.ts';
import { readMac } from '../mac.ts';
import { ethernetHeaderBytes, pageBytes, slotsFor } from '../packet.ts';
import type { FramePool } from './frame-pool.ts';
import type { Frame } from './frame-pool.ts';

/** Fragments in order, one per frame. Reused: the array never shrinks, `count` says how many frames count. */
export class LocalPacket implements Addressed {
  readonly frames: Frame[] = [];
  count = 0;
  totalBytes = 0;
  destination = 0;
  source = 0;

  append(frame: Frame, offsetBytes: number, sizeBytes: number): void {
    frame.offsetBytes = offsetBytes;
    frame.sizeBytes = sizeBytes;
    this.frames[this.count++] = frame;
    this.totalBytes += sizeBytes;
  }

  /** Forgets the fragments, whose frames went elsewhere. */
  clear(): void {
    this.count = 0;
    this.totalBytes = 0;
  }

  /** Reads the addresses; false if the first fragment does not hold a whole Ethernet header. */
  readHeader(memory: GuestMemory): boolean {
    const first = this.frames[0];
    if (this.count === 0 || first!.sizeBytes < ethernetHeaderBytes) return false;
    const address = memory.translate(first!.page.va + first!.offsetBytes, 'read');
    const { u8 } = memory.bankOf(address);
    const at = bankOffset(address);
    this.destination = readMac(u8, at);
    this.source = readMac(u8, at + 6);
    return true;
  }

  /** Copies the bytes out to `into` from `at` on. */
  copyTo(memory: GuestMemory, into: Uint8Array, at: number): void {
    if (this.count === 1 && into.length === this.totalBytes) {
      const { page, offsetBytes } = this.frames[0]!;
      memory.read(page.va + offsetBytes, into);
      return;
    }
    for (let k = 0; k < this.count; k++) {
      const { page, offsetBytes, sizeBytes } = this.frames[k]!;
      memory.read(page.va + offsetBytes, into.subarray(at, at + sizeBytes));
      at += sizeBytes;
    }
  }
}

/** Packets and the frames under them, of one domain. */
export class PacketPool {
  readonly frames: FramePool;
  readonly #free: LocalPacket[] = [];

  constructor(frames: FramePool) {
    this.frames = frames;
  }

  get memory(): GuestMemory {
    return this.frames.memory;
  }

  /** A packet without fragments. */
  create(): LocalPacket {
    return this.#free.pop() ?? new LocalPacket();
  }

  /** A packet of `sizeBytes` uninitialised bytes in whole pages; undefined if there is no memory for it. */
  allocate(sizeBytes: number): LocalPacket | undefined {
    const packet = this.create();
    for (let left = sizeBytes; left > 0; left -= pageBytes) {
      const frame = this.frames.takeFull();
      if (!frame) {
        this.release(packet);
        return undefined;
      }
      packet.append(frame, 0, Math.min(left, pageBytes));
    }
    return packet;
  }

  /** A packet with these bytes, and nothing but zeros behind them; undefined if there is no memory for it. */
  store(bytes: Uint8Array): LocalPacket | undefined {
    const packet = this.allocate(bytes.length);
    if (!packet) return undefined;
    if (packet.count === 1) {
      this.frames.write(packet.frames[0]!, bytes);
      return packet;
    }
    for (let k = 0; k < packet.count; k++) {
      this.frames.write(packet.frames[k]!, bytes.subarray(k * pageBytes, (k + 1) * pageBytes));
    }
    return packet;
  }

  /** A second packet with the same bytes; undefined if there is no memory for it. */
  clone(packet: LocalPacket): LocalPacket | undefined {
    const bytes = new Uint8Array(packet.totalBytes);
    packet.copyTo(this.memory, bytes, 0);
    const copy = this.store(bytes);
    if (!copy) return undefined;
    copy.destination = packet.destination;
    copy.source = packet.source;
    return copy;
  }

  /** Takes back a packet and the frames under it. */
  release(packet: LocalPacket): void {
    for (let k = 0; k < packet.count; k++) this.frames.putUsed(packet.frames[k]!);
    this.retire(packet);
  }

  /** Takes back a packet whose frames went elsewhere. */
  retire(packet: LocalPacket): void {
    packet.clear();
    this.#free.push(packet);
  }
}

/** Slots a packet takes when it is laid out anew in whole pages. */
export const slotsOf = (packet: LocalPacket): number => slotsFor(packet.totalBytes);
