/**
 * Writing pcapng: one section, interfaces with nanosecond resolution, one Enhanced Packet Block per frame.
 * Source: draft-ietf-opsawg-pcapng, sections 4.1 to 4.3.
 */
import { LINKTYPE_ETHERNET } from './capture.ts';
import type { CapturedFrame, CaptureInterface } from './capture.ts';
import { FieldWriter, padded } from './fields.ts';
import { blockOverheadBytes, byteOrderMagic, EPB, IDB, options, SHB } from './pcapng.ts';

const utf8 = new TextEncoder();

/** What starts the file: the section header and a description of every interface. */
export function* encodePcapngHeader(
  interfaces: readonly CaptureInterface[],
): Generator<Uint8Array> {
  yield block(SHB, 16, (body) => {
    body.u32(byteOrderMagic).u16(1).u16(0).i64(-1n); // a section of unknown length
  });
  for (const { name, snapBytes } of interfaces) {
    const nameBytes = utf8.encode(name);
    yield block(IDB, 8 + 4 + padded(nameBytes.length) + 8 + 4, (body) => {
      body.u16(LINKTYPE_ETHERNET).u16(0).u32(snapBytes);
      body.u16(options.if_name).u16(nameBytes.length).bytes(nameBytes).pad();
      body.u16(options.if_tsresol).u16(1).u8(9).pad();
      body.u16(options.opt_endofopt).u16(0);
    });
  }
}

/** One frame; a frame without a time is written with time 0. */
export function encodePcapngFrame(frame: CapturedFrame): Uint8Array {
  const { bytes, originalBytes, timestampNs = 0n, interfaceId } = frame;
  return block(EPB, 20 + padded(bytes.length), (body) => {
    body.u32(interfaceId);
    body.u32(Number((timestampNs >> 32n) & 0xffff_ffffn)).u32(Number(timestampNs & 0xffff_ffffn));
    body.u32(bytes.length).u32(originalBytes).bytes(bytes).pad();
  });
}

/** A whole capture, piece by piece. */
export function* encodePcapng(
  interfaces: readonly CaptureInterface[],
  frames: Iterable<CapturedFrame>,
): Generator<Uint8Array> {
  yield* encodePcapngHeader(interfaces);
  for (const frame of frames) yield encodePcapngFrame(frame);
}

function block(type: number, bodyBytes: number, fill: (body: FieldWriter) => void): Uint8Array {
  const lengthBytes = bodyBytes + blockOverheadBytes;
  const fields = new FieldWriter(lengthBytes).u32(type).u32(lengthBytes);
  fill(fields);
  return fields.u32(lengthBytes).record;
}
