/** The shared info page and vcpu_info in words. */
import { type Abi, sharedInfo, vcpuInfo, XEN_LEGACY_MAX_VCPUS } from '@ringside/gnttab-core/abi';
import { hexBytes, hexNumber } from '../words.ts';
import type { NamedBytes } from './named-bytes.ts';

/** Ports of a description. */
const PORTS_SHOWN = 64;
const BITMAP_BYTES = PORTS_SHOWN / 8;

/** The name of a byte of the shared info page, if it has one. */
export function sharedInfoField(abi: Abi, dom: number, offset: number): NamedBytes | undefined {
  const owner = `domain ${dom}`;
  const { evtchn_pending, evtchn_mask, wc_version } = sharedInfo[abi].offset;
  const vcpu = Math.floor(offset / vcpuInfo[abi].size);
  if (vcpu < XEN_LEGACY_MAX_VCPUS) {
    return vcpuInfoField(
      abi,
      `${owner} vCPU ${vcpu}`,
      vcpu * vcpuInfo[abi].size,
      offset % vcpuInfo[abi].size,
    );
  }
  if (offset < evtchn_mask) return portBits(`${owner} evtchn_pending`, evtchn_pending, offset);
  if (offset < wc_version) return portBits(`${owner} evtchn_mask`, evtchn_mask, offset);
  return undefined;
}

/** The field of a vcpu_info at byte `start` of its page that has the byte `offset` of it. */
export function vcpuInfoField(
  abi: Abi,
  owner: string,
  start: number,
  offset: number,
): NamedBytes | undefined {
  const field = vcpuInfo[abi].fields.find(
    (one) => offset >= one.offset && offset < one.offset + one.size,
  );
  if (field === undefined) return undefined;
  return {
    name: `${owner}: ${field.path}`,
    offset: start + field.offset,
    size: field.size,
    words: numberIn,
  };
}

function portBits(name: string, start: number, offset: number): NamedBytes {
  const cell = Math.floor((offset - start) / BITMAP_BYTES);
  const first = cell * PORTS_SHOWN;
  return {
    name: `${name} of ports ${first} to ${first + PORTS_SHOWN - 1}`,
    offset: start + cell * BITMAP_BYTES,
    size: BITMAP_BYTES,
    words: (bytes) => {
      const set = Array.from({ length: PORTS_SHOWN }, (_, i) => i).filter(
        (i) => (bytes.getUint8(i >>> 3) & (1 << (i & 7))) !== 0,
      );
      return set.length === 0 ? 'none' : set.map((i) => first + i).join(' ');
    },
  };
}

function numberIn(bytes: DataView): string {
  if (bytes.byteLength === 1) return hexNumber(bytes.getUint8(0));
  if (bytes.byteLength === 4) return hexNumber(bytes.getUint32(0, true));
  if (bytes.byteLength === 8) return hexNumber(bytes.getBigUint64(0, true));
  return hexBytes(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}
