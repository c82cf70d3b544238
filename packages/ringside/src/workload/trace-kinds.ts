/** What workloads add to the trace: each request from end to end. */
import { defineTraceKind } from '@ringside/gnttab-core';

/** Numbers of the kinds, from 128. */
export const WORKLOAD_TRACE = {
  diskSubmit: defineTraceKind(
    128,
    'disk_submit',
    ['request', 'operation', 'sector512', 'length_bytes'],
    { name: 'disk request', edge: 'begin' },
  ),
  diskDone: defineTraceKind(129, 'disk_done', ['request', 'status'], {
    name: 'disk request',
    edge: 'end',
  }),
  frameSend: defineTraceKind(130, 'frame_send', ['frame', 'length_bytes']),
  frameReceive: defineTraceKind(131, 'frame_receive', ['frame', 'length_bytes']),
  pingSend: defineTraceKind(132, 'ping_send', ['sequence'], { name: 'ping', edge: 'begin' }),
  pingReply: defineTraceKind(133, 'ping_reply', ['sequence'], { name: 'ping', edge: 'end' }),
} as const;
