/** Network split driver: frontend, backend, bridge and packet captures. */
export { backendKeys, deviceKeys, frontendKeys } from './keys.ts';
export { Bridge } from './bridge.ts';
export type { Addressed, BridgeOptions, BridgePort, PortOptions, Verdict } from './bridge.ts';
export { broadcastMac, formatMac, isGroup, parseMac, readMac } from './mac.ts';
export type { Mac } from './mac.ts';
export * from './packet.ts';
export { netifRxLayout, netifTxLayout } from './rings.ts';
export type { NetifRxRequest, NetifRxResponse, NetifTxRequest, NetifTxResponse } from './rings.ts';
export { dropReasons } from './stats.ts';
export { NET_TRACE } from './trace.ts';
export type { DropReason, Traffic } from './stats.ts';
export type { Mode, Modes, VifTraffic } from './vif.ts';

export { connectNetfront, Netfront, NetfrontError } from './front/netfront.stream.ts';
export type { NetfrontOptions, NetfrontStats, SendReport } from './front/netfront.stream.ts';
export type { RefusedFrame, SendOutcome } from './front/data-path.ts';
export { Netback, startNetback } from './back/netback.stream.ts';
export type { NetbackOptions } from './back/netback.stream.ts';
export type { BackVif, Offer } from './back/vif.stream.ts';
export { VifBridge } from './back/vif-bridge.ts';
export type { VifBridgeOptions } from './back/vif-bridge.ts';

export { CaptureError, captureFaults } from './pcap/capture.ts';
export type { CapturedFrame, CaptureFault, CaptureInterface } from './pcap/capture.ts';
export { CaptureReader, parseCapture, readCapture } from './pcap/reader.ts';
export { encodePcapng, encodePcapngFrame, encodePcapngHeader } from './pcap/writer.ts';
