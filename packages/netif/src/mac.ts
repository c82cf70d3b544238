/**
 * Ethernet addresses as 48-bit integers, first octet in front: cheap to compare and to use as map keys.
 */

export type Mac = number;

export const broadcastMac: Mac = 0xffff_ffff_ffff;

/** The address in the six bytes at `offsetBytes`. */
export function readMac(bytes: Uint8Array, offsetBytes: number): Mac {
  const high = (bytes[offsetBytes]! << 8) | bytes[offsetBytes + 1]!;
  const low =
    (bytes[offsetBytes + 2]! << 24) |
    (bytes[offsetBytes + 3]! << 16) |
    (bytes[offsetBytes + 4]! << 8) |
    bytes[offsetBytes + 5]!;
  return high * 2 ** 32 + (low < 0 ? low + 2 ** 32 : low);
}

/** True for broadcast and multicast addresses: the lowest bit of the first octet is set. */
export const isGroup = (mac: Mac): boolean => (Math.floor(mac / 2 ** 40) & 1) === 1;

/** `00:16:3e:01:02:03`, as XenStore has it. */
export function formatMac(mac: Mac): string {
  return mac
    .toString(16)
    .padStart(12, '0')
    .replace(/..(?!$)/g, '$&:');
}

/** The address in `text`, or undefined if it is none. */
export function parseMac(text: string): Mac | undefined {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return undefined;
  return Number.parseInt(text.replaceAll(':', ''), 16);
}
