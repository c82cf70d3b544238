/** io/netif.h: the transmit, receive and control rings of the network protocol, and its constants. */
import {
  array,
  i16,
  sringTable,
  struct,
  structs,
  u16,
  u32,
  u8,
  union,
  unions,
} from '@ringside/gnttab-core/abi';

/** io/netif.h: slots of one packet that every backend must take. */
export const XEN_NETIF_NR_SLOTS_MIN = 18;
/** io/netif.h: `size` is 16 bits wide, so no packet is longer. */
export const XEN_NETIF_MAX_TX_SIZE = 0xffff;

/** io/netif.h, NETTXF_*: flags of a transmit request. */
/** The checksum field holds only the pseudo header's sum. */
export const NETTXF_csum_blank = 0x1;
/** The packet is known to be intact. */
export const NETTXF_data_validated = 0x2;
/** The packet goes on in the next request. */
export const NETTXF_more_data = 0x4;
/** An extra info slot follows. */
export const NETTXF_extra_info = 0x8;

/** io/netif.h, NETRXF_*: flags of a receive response. */
export const NETRXF_data_validated = 0x1;
export const NETRXF_csum_blank = 0x2;
export const NETRXF_more_data = 0x4;
export const NETRXF_extra_info = 0x8;
/** Deprecated form of segmentation offload. */
export const NETRXF_gso_prefix = 0x10;

/** io/netif.h, NETIF_RSP_*: the status of a response. Received data has its length instead. */
export const NETIF_RSP_DROPPED = -2;
export const NETIF_RSP_ERROR = -1;
export const NETIF_RSP_OKAY = 0;
/** Answers a slot that was no request (extra info). */
export const NETIF_RSP_NULL = 1;

/** io/netif.h, netif_extra_info `type`. */
export const XEN_NETIF_EXTRA_TYPE_NONE = 0;
export const XEN_NETIF_EXTRA_TYPE_GSO = 1;
export const XEN_NETIF_EXTRA_TYPE_MCAST_ADD = 2;
export const XEN_NETIF_EXTRA_TYPE_MCAST_DEL = 3;
export const XEN_NETIF_EXTRA_TYPE_HASH = 4;
export const XEN_NETIF_EXTRA_TYPE_MAX = 5;

/** io/netif.h, netif_extra_info `flags`: another extra info slot follows. */
export const XEN_NETIF_EXTRA_FLAG_MORE = 0x1;

/** io/netif.h, netif_extra_info `u.gso.type`. */
export const XEN_NETIF_GSO_TYPE_NONE = 0;
export const XEN_NETIF_GSO_TYPE_TCPV4 = 1;
export const XEN_NETIF_GSO_TYPE_TCPV6 = 2;

/** netif_tx_request, io/netif.h: the first of a packet has the whole packet's size. */
export const netifTxRequest = structs(
  'netif_tx_request',
  { gref: u32, offset: u16, flags: u16, id: u16, size: u16 },
  12,
);

/** netif_extra_info, io/netif.h: takes the place of a transmit request or a receive response. */
export const netifExtraInfo = structs(
  'netif_extra_info',
  {
    type: u8,
    flags: u8,
    u: union('', {
      gso: struct('', { size: u16, type: u8, pad: u8, features: u16 }),
      mcast: struct('', { addr: array(u8, 6) }),
      hash: struct('', { type: u8, algorithm: u8, value: array(u8, 4) }),
      pad: array(u16, 3),
    }),
  },
  8,
);

/** netif_tx_response, io/netif.h. */
export const netifTxResponse = structs('netif_tx_response', { id: u16, status: i16 }, 4);

/** netif_rx_request, io/netif.h: a page to receive into. */
export const netifRxRequest = structs('netif_rx_request', { id: u16, pad: u16, gref: u32 }, 8);

/** netif_rx_response, io/netif.h: `status` is the length in bytes, or negative. */
export const netifRxResponse = structs(
  'netif_rx_response',
  { id: u16, offset: u16, flags: u16, status: i16 },
  8,
);

/** netif_tx_sring_entry, io/netif.h: one slot of the transmit ring. */
export const netifTxSringEntry = unions(
  'netif_tx_sring_entry',
  { req: netifTxRequest, rsp: netifTxResponse },
  12,
);

/** netif_rx_sring_entry, io/netif.h: one slot of the receive ring. */
export const netifRxSringEntry = unions(
  'netif_rx_sring_entry',
  { req: netifRxRequest, rsp: netifRxResponse },
  8,
);

/** netif_tx_sring, io/netif.h: the shared page, declared with one slot. */
export const netifTxSring = structs('netif_tx_sring', sringTable(netifTxSringEntry), 76);

/** netif_rx_sring, io/netif.h: the shared page, declared with one slot. */
export const netifRxSring = structs('netif_rx_sring', sringTable(netifRxSringEntry), 72);

/** io/netif.h, XEN_NETIF_CTRL_TYPE_*: requests of the control ring. */
export const XEN_NETIF_CTRL_TYPE_INVALID = 0;
export const XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS = 1;
export const XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS = 2;
export const XEN_NETIF_CTRL_TYPE_SET_HASH_KEY = 3;
export const XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE = 4;
export const XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE = 5;
export const XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING = 6;
export const XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM = 7;
export const XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE = 8;
export const XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING = 9;
export const XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING = 10;

/** io/netif.h, XEN_NETIF_CTRL_STATUS_*: their answers. */
export const XEN_NETIF_CTRL_STATUS_SUCCESS = 0;
export const XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED = 1;
export const XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER = 2;
export const XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW = 3;

/** io/netif.h, hash types: as a number, in extra info. */
export const _XEN_NETIF_CTRL_HASH_TYPE_IPV4 = 0;
export const _XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP = 1;
export const _XEN_NETIF_CTRL_HASH_TYPE_IPV6 = 2;
export const _XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP = 3;

/** io/netif.h, hash types: as a bit, in the control requests. */
export const XEN_NETIF_CTRL_HASH_TYPE_IPV4 = 0x1;
export const XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP = 0x2;
export const XEN_NETIF_CTRL_HASH_TYPE_IPV6 = 0x4;
export const XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP = 0x8;

/** io/netif.h, hash algorithms. */
export const XEN_NETIF_CTRL_HASH_ALGORITHM_NONE = 0;
export const XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ = 1;

/** io/netif.h, xen_netif_gref `flags`: map the static grant read-only. */
export const XEN_NETIF_CTRLF_GREF_readonly = 0x1;

/** xen_netif_ctrl_request, io/netif.h. */
export const xenNetifCtrlRequest = structs(
  'xen_netif_ctrl_request',
  { id: u16, type: u16, data: array(u32, 3) },
  16,
);

/** xen_netif_ctrl_response, io/netif.h. */
export const xenNetifCtrlResponse = structs(
  'xen_netif_ctrl_response',
  { id: u16, type: u16, status: u32, data: u32 },
  12,
);

/** xen_netif_gref, io/netif.h: one static grant of a list. */
export const xenNetifGref = structs('xen_netif_gref', { ref: u32, flags: u16, status: u16 }, 8);

/** xen_netif_ctrl_sring_entry, io/netif.h: one slot of the control ring. */
export const xenNetifCtrlSringEntry = unions(
  'xen_netif_ctrl_sring_entry',
  { req: xenNetifCtrlRequest, rsp: xenNetifCtrlResponse },
  16,
);

/** xen_netif_ctrl_sring, io/netif.h: the shared page, declared with one slot. */
export const xenNetifCtrlSring = structs(
  'xen_netif_ctrl_sring',
  sringTable(xenNetifCtrlSringEntry),
  80,
);
