/**
 * How slots become packets and packets become slots (io/netif.h, "Guest transmit" and "Guest receive").
 *
 * | | netif_tx (frontend to backend) | netif_rx (backend to frontend) |
 * |-|-|-|
 * | size of the first slot | the whole packet; what the other slots leave of it is the first one's | its own |
 * | size of another slot | its own | its own |
 * | more to come | NETTXF_more_data | NETRXF_more_data |
 * | extra info | follows the first slot; each says itself whether another follows | the same |
 *
 * Pure: private copies of slots in, a chain or a refusal out. Nothing is allocated per slot.
 */
import {
  NETRXF_extra_info,
  NETRXF_more_data,
  NETTXF_extra_info,
  NETTXF_more_data,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE_MAX,
  XEN_NETIF_EXTRA_TYPE_NONE,
  XEN_NETIF_MAX_TX_SIZE,
  XEN_NETIF_NR_SLOTS_MIN,
} from './abi.ts';

/** Bytes of a page, which no slot may leave. */
export const pageBytes = 4096;
/** Two addresses and a type: no packet is shorter. */
export const ethernetHeaderBytes = 14;
/** Longest packet, in bytes. */
export const maxPacketBytes = XEN_NETIF_MAX_TX_SIZE;
/** Most slots of one packet. */
export const maxSlots = XEN_NETIF_NR_SLOTS_MIN;
/** A chain longer than this is no honest mistake; between `maxSlots` and this it is only refused. */
export const fatalSlots = 21;

/** What follows from a refusal: `drop` loses the packet, `fatal` the connection. */
export type Severity = 'drop' | 'fatal';

/** Every reason for which a packet is refused, by whichever end. */
export const refusals = {
  'too short': { severity: 'drop', sentence: 'shorter than an Ethernet header (14 bytes)' },
  'too long': { severity: 'drop', sentence: 'longer than 65535 bytes' },
  'too many slots': { severity: 'drop', sentence: 'needs more than 18 slots' },
  'one slot only': {
    severity: 'drop',
    sentence: 'needs several slots, and the peer lacks feature-sg',
  },
  'sizes do not add up': { severity: 'drop', sentence: 'its slots are longer than the packet' },
  'extra info': { severity: 'drop', sentence: 'carries extra info that was not negotiated' },
  'error status': { severity: 'drop', sentence: 'the peer reported an error for one of its slots' },
  'bad fragment': { severity: 'drop', sentence: 'a received slot leaves its page' },
  'split header': { severity: 'drop', sentence: 'its Ethernet header is not in the first slot' },
  'chain broken off': { severity: 'drop', sentence: 'more data was promised and did not come' },
  'absurdly many slots': { severity: 'fatal', sentence: 'has more than 21 slots' },
  'chain past the producer': { severity: 'fatal', sentence: 'goes on where no request was made' },
  'slot crosses its page': { severity: 'fatal', sentence: 'a slot leaves its page' },
  'bad extra info': { severity: 'fatal', sentence: 'carries extra info of an unknown type' },
} as const satisfies Record<string, { severity: Severity; sentence: string }>;

export type RefusalReason = keyof typeof refusals;

/** Slots needed by a packet that is stored in whole pages. */
export const slotsFor = (lengthBytes: number): number => Math.ceil(lengthBytes / pageBytes);

/** Why a packet of `lengthBytes` in `slots` slots may not be sent, if so. */
export function refusalToSend(
  lengthBytes: number,
  slots: number,
  scatterGather: boolean,
): RefusalReason | undefined {
  if (lengthBytes < ethernetHeaderBytes) return 'too short';
  if (lengthBytes > maxPacketBytes) return 'too long';
  if (slots > maxSlots) return 'too many slots';
  if (slots > 1 && !scatterGather) return 'one slot only';
  return undefined;
}

/** What the codec looks at in a netif_tx_request. */
export interface TxSlot {
  gref: number;
  offset: number;
  flags: number;
  size: number;
}

/** What the codec looks at in a netif_rx_response. */
export interface RxSlot {
  id: number;
  offset: number;
  flags: number;
  status: number;
}

/** The slots of one packet within a batch, extra info included; reused from packet to packet. */
export class SlotChain {
  /** Index in the batch of the first slot. */
  first = 0;
  /** Slots of the chain, extra info included: the next packet begins at `first + slots`. */
  slots = 0;
  /** Slots of extra info, right after the first slot. */
  extras = 0;
  /** Bytes in the first slot. */
  firstBytes = 0;
  /** Bytes of the packet. */
  totalBytes = 0;

  /** Slots that carry data. */
  get dataSlots(): number {
    return this.slots - this.extras;
  }

  /** Index in the batch of data slot `k`. */
  dataSlot(k: number): number {
    return k === 0 ? this.first : this.first + this.extras + k;
  }

  start(first: number): void {
    this.first = first;
    this.slots = this.extras = this.firstBytes = this.totalBytes = 0;
  }
}

/**
 * Finds the packet that starts at slot `first` of a batch of `count` transmit requests. `chain` says how many slots
 * it takes even when it is refused, so that each of them can be answered (a fatal refusal takes all that are left).
 */
export function readTxChain(
  requests: readonly TxSlot[],
  count: number,
  first: number,
  chain: SlotChain,
): RefusalReason | undefined {
  chain.start(first);
  const head = requests[first]!;
  let fault = walkExtras(requests, count, chain, head.flags & NETTXF_extra_info, txExtra);
  if (fault) return fatal(chain, count, fault);

  let at = first + 1 + chain.extras;
  let restBytes = 0;
  for (let more = head.flags & NETTXF_more_data; more !== 0; at++) {
    if (at >= count) return fatal(chain, count, 'chain past the producer');
    if (at - first - chain.extras >= fatalSlots) return fatal(chain, count, 'absurdly many slots');
    const slot = requests[at]!;
    if (slot.offset + slot.size > pageBytes) fault = 'slot crosses its page';
    restBytes += slot.size;
    more = slot.flags & NETTXF_more_data;
  }
  chain.slots = at - first;
  chain.totalBytes = head.size;
  chain.firstBytes = head.size - restBytes;
  if (fault) return fatal(chain, count, fault);
  if (chain.dataSlots > maxSlots) return 'too many slots';
  if (chain.firstBytes < 0) return 'sizes do not add up';
  if (head.offset + chain.firstBytes > pageBytes) {
    return fatal(chain, count, 'slot crosses its page');
  }
  if (chain.totalBytes < ethernetHeaderBytes) return 'too short';
  return chain.extras > 0 ? 'extra info' : undefined;
}

/**
 * Finds the packet that starts at slot `first` of a batch of `count` receive responses. A backend publishes a packet
 * as a whole, so one that goes on after the batch is broken. Nothing here is fatal: a frontend drops, and goes on
 * after the packet.
 */
export function readRxChain(
  responses: readonly RxSlot[],
  count: number,
  first: number,
  chain: SlotChain,
): RefusalReason | undefined {
  chain.start(first);
  const head = responses[first]!;
  const extraFault = walkExtras(responses, count, chain, head.flags & NETRXF_extra_info, rxExtra);
  if (extraFault === 'chain past the producer') {
    chain.slots = count - first;
    return 'chain broken off';
  }
  let fault: RefusalReason | undefined = extraFault ? 'extra info' : checkRxSlot(head);
  let totalBytes = head.status;
  let at = first + 1 + chain.extras;
  for (let more = head.flags & NETRXF_more_data; more !== 0; at++) {
    if (at >= count) {
      chain.slots = count - first;
      return 'chain broken off';
    }
    const slot = responses[at]!;
    fault ??= checkRxSlot(slot);
    totalBytes += slot.status;
    more = slot.flags & NETRXF_more_data;
  }
  chain.slots = at - first;
  chain.firstBytes = head.status;
  chain.totalBytes = totalBytes;
  if (fault) return fault;
  if (chain.dataSlots > maxSlots) return 'too many slots';
  if (totalBytes < ethernetHeaderBytes) return 'too short';
  if (totalBytes > maxPacketBytes) return 'too long';
  return chain.extras > 0 ? 'extra info' : undefined;
}

/** The `size` of slot `k` of a transmit chain: the first one carries the total. */
export const txSize = (k: number, fragmentBytes: number, totalBytes: number): number =>
  k === 0 ? totalBytes : fragmentBytes;

/** The flags of slot `k` of `slots` of a transmit chain. */
export const txFlags = (k: number, slots: number): number => (k < slots - 1 ? NETTXF_more_data : 0);

/** The flags of slot `k` of `slots` of a receive chain. */
export const rxFlags = (k: number, slots: number): number => (k < slots - 1 ? NETRXF_more_data : 0);

function fatal(chain: SlotChain, count: number, reason: RefusalReason): RefusalReason {
  chain.slots = count - chain.first;
  return reason;
}

function checkRxSlot({ offset, status }: RxSlot): RefusalReason | undefined {
  if (status < 0) return 'error status';
  return offset + status > pageBytes ? 'bad fragment' : undefined;
}

/** An extra info lies over a slot: its type is the first byte, its flags are the second (struct netif_extra_info). */
type ExtraBytes<S> = (slot: S) => number;
const txExtra: ExtraBytes<TxSlot> = (slot) => slot.gref & 0xffff;
const rxExtra: ExtraBytes<RxSlot> = (slot) => slot.id;

/**
 * Counts the extra infos behind the first slot in `chain`. All of them are walked over even if one is of an unknown
 * type, so that the caller knows where the packet goes on.
 */
function walkExtras<S>(
  slots: readonly S[],
  count: number,
  chain: SlotChain,
  present: number,
  bytesOf: ExtraBytes<S>,
): RefusalReason | undefined {
  let fault: RefusalReason | undefined;
  for (let more = present !== 0; more;) {
    const at = chain.first + 1 + chain.extras;
    if (at >= count) return 'chain past the producer';
    const extra = bytesOf(slots[at]!);
    const type = extra & 0xff;
    if (type === XEN_NETIF_EXTRA_TYPE_NONE || type >= XEN_NETIF_EXTRA_TYPE_MAX) {
      fault = 'bad extra info';
    }
    more = ((extra >>> 8) & XEN_NETIF_EXTRA_FLAG_MORE) !== 0;
    chain.extras++;
  }
  return fault;
}
