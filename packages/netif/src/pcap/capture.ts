/**
 * What a packet capture is, whatever its file format: frames with times, or one typed error.
 */

/** One Ethernet frame of a capture. */
export interface CapturedFrame {
  /** The captured bytes; a private copy. */
  readonly bytes: Uint8Array;
  /** Length on the wire; more than `bytes.length` when the capture cut the frame at its snap length. */
  readonly originalBytes: number;
  /** Nanoseconds since 1970; undefined where the format carries none (pcapng's Simple Packet Block). */
  readonly timestampNs: bigint | undefined;
  /** Index of the interface within its section; 0 in a classic pcap. */
  readonly interfaceId: number;
}

/** An interface frames were captured on. */
export interface CaptureInterface {
  readonly name: string;
  /** Longest frame kept, in bytes; 0 means no limit. */
  readonly snapBytes: number;
}

/** A capture format, as a sequence of records that begin with a prefix which tells their length. */
export interface CaptureFormat {
  /** Bytes that must be there before the length of the next record is known. */
  readonly prefixBytes: number;
  /** True until the header of the file has been decoded. */
  readonly inHeader: boolean;
  /** The whole length of the record that starts with `prefix`. */
  lengthBytes(prefix: Uint8Array, offsetBytes: number): number;
  /** The frame in a record, if it is one that carries a frame. */
  decode(record: Uint8Array, offsetBytes: number): CapturedFrame | undefined;
}

/** Everything that can be wrong with a capture, each with its sentence. */
export const captureFaults = {
  empty: 'the capture is empty',
  'unknown magic': 'this is neither a pcap nor a pcapng file',
  'unsupported version': 'the format version is not supported (pcap 2, pcapng 1)',
  'unsupported linktype': 'only Ethernet (linktype 1) is supported',
  'truncated header': 'the file ends inside its header',
  'truncated record': 'the file ends inside a record',
  'absurd length': 'a length field is impossible',
  'unknown interface': 'a packet names an interface that was not described',
} as const;

export type CaptureFault = keyof typeof captureFaults;

/** A malformed capture: what is wrong, and at which byte of the file. */
export class CaptureError extends Error {
  override readonly name = 'CaptureError';
  readonly reason: CaptureFault;
  readonly offsetBytes: number;

  constructor(reason: CaptureFault, offsetBytes: number, detail = '') {
    super(`${captureFaults[reason]}${detail && `: ${detail}`} (at byte ${offsetBytes})`);
    this.reason = reason;
    this.offsetBytes = offsetBytes;
  }
}

/** DLT/LINKTYPE_ETHERNET, the only link type that is read or written here. */
export const LINKTYPE_ETHERNET = 1;

/** Longest frame a capture may hold: MAXIMUM_SNAPLEN of libpcap. */
export const maxFrameBytes = 262_144;
