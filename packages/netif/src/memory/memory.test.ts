import { bootGuest, createDomain, createMachine } from '@ringside/gnttab-core';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Guest } from '@ringside/gnttab-core';
import { FramePool } from './frame-pool.ts';
import { PacketPool } from './local-packet.ts';

let guest: Guest;
let frames: FramePool;
let packets: PacketPool;

beforeEach(() => {
  guest = bootGuest(createDomain(createMachine(), { pages: 64 }));
  frames = new FramePool(guest.memory);
  packets = new PacketPool(frames);
});

const level = () => guest.domain.totPages;
const pageOf = (va: number) => {
  const bytes = new Uint8Array(4096);
  guest.memory.read(va, bytes);
  return bytes;
};

describe('the pool of frames keeps the reservation', () => {
  test('a page that sends its frame away and one that receives a frame need no hypercall', () => {
    const sending = frames.takeFull()!;
    const receiving = frames.takeEmpty()!;
    const before = level();
    const { reservationChanges } = guest.domain.counters();
    for (let i = 0; i < 100; i++) {
      const mfn = guest.memory.detachForTransfer(sending.page);
      guest.memory.adopt(receiving.page, mfn);
      frames.putEmpty(sending);
      frames.putFull(receiving);
      expect([frames.takeEmpty(), frames.takeFull()]).toEqual([sending, receiving]);
      guest.memory.adopt(sending.page, guest.memory.detachForTransfer(receiving.page));
    }
    expect([level(), guest.domain.counters().reservationChanges]).toEqual([
      before,
      reservationChanges,
    ]);
  });

  test('taking empty pages gives frames back to Xen, taking full ones asks for them', () => {
    const empty = Array.from({ length: 40 }, () => frames.takeEmpty()!);
    expect(level()).toBe(64 - 40);
    for (const frame of empty) frames.putEmpty(frame);
    const full = Array.from({ length: 40 }, () => frames.takeFull()!);
    expect(level()).toBe(64);
    expect(full.every(({ page }) => pageOf(page.va).every((byte) => byte === 0))).toBe(true);
  });

  test('when the domain has no page left there is none, and at the end all come back', () => {
    const all = Array.from({ length: 64 }, () => frames.takeFull()!);
    expect([frames.takeFull(), frames.takeEmpty(), frames.lent]).toEqual([
      undefined,
      undefined,
      64,
    ]);
    for (const frame of all) frames.putFull(frame);
    frames.takeEmpty();
    frames.close();
    expect([guest.memory.freeCount, frames.lent]).toEqual([63, 1]);
  });
});

describe('packets in pages', () => {
  const bytesOf = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 31) & 255);

  test.each([
    [1, 1],
    [4096, 1],
    [4097, 2],
    [65_535, 16],
  ])('%i bytes lie in %i pages, and come out as they went in', (length, pages) => {
    const packet = packets.store(bytesOf(length))!;
    expect([packet.count, packet.totalBytes]).toEqual([pages, length]);
    const out = new Uint8Array(length + 2);
    packet.copyTo(guest.memory, out, 1);
    expect(out.subarray(1, -1)).toEqual(bytesOf(length));
    const copy = packets.clone(packet)!;
    copy.copyTo(guest.memory, out, 1);
    expect(out.subarray(1, -1)).toEqual(bytesOf(length));
    packets.release(packet);
    packets.release(copy);
    expect(frames.lent).toBe(0);
  });

  test('a page used again holds nothing of the packet before', () => {
    packets.release(packets.store(new Uint8Array(4096).fill(0xa5))!);
    const packet = packets.store(bytesOf(60))!;
    const page = pageOf(packet.frames[0]!.page.va);
    expect(page.subarray(0, 60)).toEqual(bytesOf(60));
    expect(page.subarray(60).every((byte) => byte === 0)).toBe(true);
  });

  test('a packet that does not fit takes nothing', () => {
    const held = Array.from({ length: 60 }, () => frames.takeFull()!);
    expect(packets.store(bytesOf(5 * 4096))).toBeUndefined();
    expect(frames.lent).toBe(held.length);
  });

  test('the addresses are read from the first fragment, which must hold them', () => {
    const packet = packets.store(Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 0]))!;
    expect(packet.readHeader(guest.memory)).toBe(true);
    expect([packet.destination, packet.source]).toEqual([0x010203040506, 0x0708090a0b0c]);
    expect(packets.store(new Uint8Array(13))!.readHeader(guest.memory)).toBe(false);
    expect(packets.create().readHeader(guest.memory)).toBe(false);
  });
});
