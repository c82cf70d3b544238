/** What the network drivers write into the machine's trace. */
import { defineTraceKind } from '@ringside/gnttab-core';

/** A vif is named by its frontend's domain and its handle; `reason` is an index into `dropReasons`. */
export const NET_TRACE = {
  frontSent: defineTraceKind(96, 'netfront_sent', ['front', 'handle', 'length_bytes', 'slots']),
  frontReceived: defineTraceKind(97, 'netfront_received', [
    'front',
    'handle',
    'length_bytes',
    'slots',
  ]),
  backTook: defineTraceKind(98, 'netback_took', ['front', 'handle', 'length_bytes', 'slots']),
  backDelivered: defineTraceKind(99, 'netback_delivered', [
    'front',
    'handle',
    'length_bytes',
    'slots',
  ]),
  dropped: defineTraceKind(100, 'net_dropped', ['front', 'handle', 'reason']),
} as const;
