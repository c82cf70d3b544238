/**
 * The two rings of io/netif.h as ring layouts: netif_tx carries what the frontend sends, netif_rx what it receives.
 * With `tx-flip-ring-ref` a second netif_rx ring carries what the frontend sends, its ends exchanged.
 */
import type { RingLayout } from '@ringside/gnttab-core';
import {
  netifRxRequest,
  netifRxResponse,
  netifRxSringEntry,
  netifTxRequest,
  netifTxResponse,
  netifTxSringEntry,
} from './abi.ts';

/** netif_tx_request. */
export interface NetifTxRequest {
  gref: number;
  /** Bytes from the start of the page. */
  offset: number;
  /** NETTXF_*. */
  flags: number;
  id: number;
  /** Bytes: of the whole packet in its first slot, of the slot in the others. */
  size: number;
}

/** netif_tx_response. */
export interface NetifTxResponse {
  id: number;
  /** NETIF_RSP_*. */
  status: number;
}

/** netif_rx_request. */
export interface NetifRxRequest {
  id: number;
  gref: number;
}

/** netif_rx_response. */
export interface NetifRxResponse {
  id: number;
  /** Bytes from the start of the page. */
  offset: number;
  /** NETRXF_*. */
  flags: number;
  /** Bytes received, or a negative NETIF_RSP_*. */
  status: number;
}

const txRequest = netifTxRequest.x86_64.cursor();
const txResponse = netifTxResponse.x86_64.cursor();
const rxRequest = netifRxRequest.x86_64.cursor();
const rxResponse = netifRxResponse.x86_64.cursor();

/** No structure of the header has a 64-bit field, so this is the layout of every ABI. */
export const netifTxLayout: RingLayout<NetifTxRequest, NetifTxResponse> = {
  name: 'netif_tx',
  slotBytes: netifTxSringEntry.x86_64.size,
  requestBytes: netifTxRequest.x86_64.size,
  responseBytes: netifTxResponse.x86_64.size,
  newRequest: () => ({ gref: 0, offset: 0, flags: 0, id: 0, size: 0 }),
  newResponse: () => ({ id: 0, status: 0 }),
  readRequest(view, offsetBytes, into) {
    const from = txRequest.at(view, offsetBytes);
    into.gref = from.gref;
    into.offset = from.offset;
    into.flags = from.flags;
    into.id = from.id;
    into.size = from.size;
  },
  writeRequest(view, offsetBytes, from) {
    const into = txRequest.at(view, offsetBytes);
    into.gref = from.gref;
    into.offset = from.offset;
    into.flags = from.flags;
    into.id = from.id;
    into.size = from.size;
  },
  readResponse(view, offsetBytes, into) {
    const from = txResponse.at(view, offsetBytes);
    into.id = from.id;
    into.status = from.status;
  },
  writeResponse(view, offsetBytes, from) {
    const into = txResponse.at(view, offsetBytes);
    into.id = from.id;
    into.status = from.status;
  },
};

/** As `netifTxLayout`. */
export const netifRxLayout: RingLayout<NetifRxRequest, NetifRxResponse> = {
  name: 'netif_rx',
  slotBytes: netifRxSringEntry.x86_64.size,
  requestBytes: netifRxRequest.x86_64.size,
  responseBytes: netifRxResponse.x86_64.size,
  newRequest: () => ({ id: 0, gref: 0 }),
  newResponse: () => ({ id: 0, offset: 0, flags: 0, status: 0 }),
  readRequest(view, offsetBytes, into) {
    const from = rxRequest.at(view, offsetBytes);
    into.id = from.id;
    into.gref = from.gref;
  },
  writeRequest(view, offsetBytes, from) {
    const into = rxRequest.at(view, offsetBytes);
    into.id = from.id;
    into.gref = from.gref;
  },
  readResponse(view, offsetBytes, into) {
    const from = rxResponse.at(view, offsetBytes);
    into.id = from.id;
    into.offset = from.offset;
    into.flags = from.flags;
    into.status = from.status;
  },
  writeResponse(view, offsetBytes, from) {
    const into = rxResponse.at(view, offsetBytes);
    into.id = from.id;
    into.offset = from.offset;
    into.flags = from.flags;
    into.status = from.status;
  },
};
