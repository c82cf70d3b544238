import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { blkifRequest, blkifResponse } from './abi.ts';
import { blkifLayout } from './blkif-layout.ts';

const u8 = fc.nat(0xff);
const u32 = fc.nat(0xffff_ffff);

describe.each(['x86_64', 'i386'] as const)('the blkif ring, %s', (abi) => {
  const layout = blkifLayout(abi);
  const view = new DataView(new ArrayBuffer(256));

  test('has 32 slots in a page', () => {
    expect(Math.floor((4096 - 64) / layout.slotBytes)).toBeGreaterThanOrEqual(32);
    expect(layout.slotBytes).toBe(abi === 'x86_64' ? 112 : 108);
  });

  test('a request is in its slot as the header declares it, and comes back', () => {
    const segment = fc.record({ gref: u32, first_sect: u8, last_sect: u8 });
    const request = fc.record({
      operation: u8,
      handle: fc.nat(0xffff),
      id_lo: u32,
      id_hi: u32,
      sector_number_lo: u32,
      sector_number_hi: u32,
      seg: fc.array(segment, { maxLength: 11 }),
    });
    fc.assert(
      fc.property(request, (fields) => {
        const from = { ...fields, nr_segments: fields.seg.length };
        new Uint8Array(view.buffer).fill(0);
        layout.writeRequest(view, 8, from);
        const plain = blkifRequest[abi].decode(view, 8);
        expect(plain.id).toBe((BigInt(from.id_hi) << 32n) | BigInt(from.id_lo));
        expect(plain.sector_number).toBe(
          (BigInt(from.sector_number_hi) << 32n) | BigInt(from.sector_number_lo),
        );
        expect(plain.seg.slice(0, from.nr_segments)).toEqual(from.seg);
        const into = layout.newRequest();
        layout.readRequest(view, 8, into);
        expect({ ...into, seg: into.seg.slice(0, into.nr_segments) }).toEqual(from);
      }),
    );
  });

  test.each([12, 255])('of a request that claims %i segments, 11 are looked at', (claimed) => {
    new Uint8Array(view.buffer).fill(0);
    view.setUint8(1, claimed);
    const into = layout.newRequest();
    layout.readRequest(view, 0, into);
    expect([into.nr_segments, into.seg.length]).toEqual([claimed, 11]);
  });

  test('a response is in its slot as the header declares it, and comes back', () => {
    const response = fc.record({
      id_lo: u32,
      id_hi: u32,
      operation: u8,
      status: fc.integer({ min: -32768, max: 32767 }),
    });
    fc.assert(
      fc.property(response, (from) => {
        layout.writeResponse(view, 8, from);
        const { id, operation, status } = blkifResponse[abi].decode(view, 8);
        expect({ id, operation, status }).toEqual({
          id: (BigInt(from.id_hi) << 32n) | BigInt(from.id_lo),
          operation: from.operation,
          status: from.status,
        });
        const into = layout.newResponse();
        layout.readResponse(view, 8, into);
        expect(into).toEqual(from);
      }),
    );
  });
});
