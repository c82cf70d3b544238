/** Packets in any split into slots, at any offsets, arrive as one piece, however they cross (NB-03, NB-19, NB-21, NB-36). */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GnttabTransfer } from '@ringside/gnttab-core';
import { connectNetfront, startNetback } from '@ringside/netif';
import { NETTXF_more_data } from '@ringside/netif/abi';
import { rawFront, type RawFront } from './raw.ts';
import { attach, collect, frame, resources, rig, until, type Rig } from './rig.ts';

/** One slot: where its bytes begin in their page, and how many there are. */
const slot = fc
  .integer({ min: 0, max: 4095 })
  .chain((offset) =>
    fc.record({ offset: fc.constant(offset), size: fc.integer({ min: 0, max: 4096 - offset }) }),
  );
const packet = fc.array(slot, { minLength: 1, maxLength: 18 }).filter((slots) => {
  const total = slots.reduce((sum, { size }) => sum + size, 0);
  return total >= 14 && total <= 65_535;
});
type Slots = { offset: number; size: number }[];

const totalOf = (slots: Slots): number => slots.reduce((sum, { size }) => sum + size, 0);

/** Sends one packet by access and copy. */
function sendGranted(front: RawFront, slots: Slots, bytes: Uint8Array): void {
  let done = 0;
  const total = totalOf(slots);
  front.transmit(
    ...slots.map(({ offset, size }, k) => {
      const page = new Uint8Array(4096);
      page.set(bytes.subarray(done, done + size), offset);
      done += size;
      const flags = k < slots.length - 1 ? NETTXF_more_data : 0;
      return { gref: front.grant(page).ref, offset, flags, size: k === 0 ? total : size };
    }),
  );
}

/** Sends one packet by handing over its pages. */
async function sendFlipped(
  net: Rig,
  front: RawFront,
  slots: Slots,
  bytes: Uint8Array,
): Promise<void> {
  const { guest } = front.member;
  const ring = front.txFlip!;
  await until(net, () => ring.unconsumedRequests >= slots.length);
  const requests = ring.drainRequests(slots.length).items;
  let done = 0;
  const pages = slots.map(() => guest.memory.allocPage());
  const ops = slots.map(({ offset, size }, k) => {
    const page = pages[k]!;
    guest.memory.write(page.va + offset, bytes.subarray(done, done + size));
    done += size;
    const op = new GnttabTransfer();
    op.mfn = guest.memory.detachForTransfer(page);
    op.domid = net.driver.guest.id;
    op.ref = requests[k]!.gref;
    return op;
  });
  guest.hypercalls.gnttabTransfer(ops);
  guest.memory.refill(pages);
  guest.memory.freePages(pages);
  slots.forEach(({ offset, size }, k) => {
    const flags = k < slots.length - 1 ? NETTXF_more_data : 0;
    ring.put({ id: requests[k]!.id, offset, flags, status: size });
  });
  ring.pushResponses();
  front.port.notify();
}

describe.each([
  { tx: 'copy', rx: 'copy' },
  { tx: 'copy', rx: 'flip' },
  { tx: 'flip', rx: 'copy' },
  { tx: 'flip', rx: 'flip' },
] as const)('tx by $tx, rx by $rx', ({ tx, rx }) => {
  test('any packets, in any split', async () => {
    const property = fc.asyncProperty(
      fc.array(packet, { minLength: 1, maxLength: 6 }),
      async (packets) => {
        const net = await rig({ seed: 1, guestPages: 1024 });
        const [driver] = resources(net);
        const netback = startNetback(net.driver);
        const front = await rawFront(net, net.guests[0], { txFlip: tx === 'flip' });
        await attach(net, net.guests[1]);
        const receiver = await connectNetfront({ ...net.guests[1], handle: 0, rx });
        const received = collect(receiver);
        const whole = packets.map((slots, i) => frame(totalOf(slots), i));
        for (const [i, slots] of packets.entries()) {
          if (tx === 'copy') sendGranted(front, slots, whole[i]!);
          else await sendFlipped(net, front, slots, whole[i]!);
        }
        // Flipped packets keep their slots, and the header must be whole in the first one that is not empty.
        const passes = (slots: Slots) =>
          tx === 'copy' || slots.find(({ size }) => size > 0)!.size >= 14;
        const expected = whole.filter((_, i) => passes(packets[i]!));
        const { traffic } = netback.vifs.get(`backend/vif/${net.guests[0].guest.id}/0`)!;
        await until(net, () => traffic.tx.frames + traffic.tx.droppedFrames === packets.length);
        await until(net, () => received.length >= expected.length);
        expect(received).toEqual(expected);
        expect(traffic.tx.droppedFrames).toBe(packets.length - expected.length);
        await receiver.close();
        await netback.close();
        expect(resources(net)[0]).toEqual(driver);
      },
    );
    await fc.assert(property, { numRuns: 15 });
  });
});
